// The fake worker's IMAGE: 8-bit pixels of its own.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/graph/node.h"

namespace atelier {

/// `data` holds batch * height * width * 3 bytes.
struct FakeImage {
  int64_t batch = 0, height = 0, width = 0;
  std::vector<uint8_t> data;
};
/// The fake worker's MODEL handle.
struct FakeModel {
  uint64_t hash = 0;
};
template <>
struct SocketTraits<FakeImage> {
  static constexpr std::string_view kName = "IMAGE";
};
template <>
struct SocketTraits<FakeModel> {
  static constexpr std::string_view kName = "MODEL";
};

/// An image of `batch` pictures with all bytes 0. Errors: INVALID_ARGUMENT, RESOURCE_EXHAUSTED beyond 64 Mi pixels.
/// Thread: any.
StatusOr<FakeImage> MakeFakeImage(int64_t batch, int64_t height, int64_t width);

/// A number that depends on all bits of both. Thread: any.
uint64_t Mix(uint64_t a, uint64_t b);

/// Does `steps` steps that take `delay_ms` together: reports each, waits on a condition that a cancel wakes, and obeys
/// $ATELIER_FAULT (fault.h). Errors: CANCELLED. Thread: the executor's.
Status FakeWork(NodeContext& ctx, int64_t delay_ms, int64_t steps);

}  // namespace atelier
