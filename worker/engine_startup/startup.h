// What main.cc needs of the engine, without torch: two makers of the same, one over libtorch, one of the fake worker.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace atelier {

struct EngineSetup {
  std::string device = "auto";   // auto, cpu, cuda:N
  int threads = 0;               // CPU threads of one operation; 0: the machine's cores
  int64_t models_bytes_max = 0;  // of loaded weights; 0: the engine's choice
  std::vector<std::string> model_roots;
  bool media_process = true;  // videos and sound are decoded in processes of their own (docs/security.md, "Media")
};

struct EngineInfo {
  std::string device;                     // "cpu", "cuda:0"
  std::string device_name;                // for people
  uint64_t memory_bytes = 0;              // of a GPU; 0 for the CPU
  std::function<uint64_t()> memory_free;  // of a GPU; null for the CPU. Thread: any
  /// Hooks of SessionOptions of the same names; null where there is nothing to do.
  std::function<void(const std::function<void()>& body)> executor_scope;
  std::function<void()> on_cancel;
  std::function<void(std::string_view point)> on_point;
};

/// Chooses the device and readies the engine. Errors: INVALID_ARGUMENT or NOT_FOUND for the device. Thread: main, once,
/// before any node runs.
StatusOr<EngineInfo> StartEngine(const EngineSetup& setup);

}  // namespace atelier
