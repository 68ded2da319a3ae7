// What a video's header says, without decoding.
#pragma once

#include <cstdint>
#include <string_view>

#include "common/base/status.h"

namespace atelier::media {

struct Summary {
  int width = 0, height = 0;  // pixels, as they lie in the file
  int64_t frames = 0;         // as the file says, else by its length; decoding may find others. 0: unknown
};

/// Errors: INVALID_ARGUMENT (no container that can be read, or no video in it), RESOURCE_EXHAUSTED. Thread: any.
StatusOr<Summary> ReadSummary(std::string_view bytes);

}  // namespace atelier::media
