// What a video's header says, without decoding. A process of its own reads the file (process.h).
#pragma once

#include <cstdint>
#include <string_view>

#include "common/base/status.h"

namespace atelier::media {

struct Summary {
  int width = 0, height = 0;  // pixels, as they lie in the file
  int64_t frames = 0;         // as the file says, else by its length; decoding may find others. 0: unknown
};

/// Errors: INVALID_ARGUMENT (no container that can be read, or no video in it), FAILED_PRECONDITION when there is no
/// process to read it, RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED after 2 minutes. Thread: any.
StatusOr<Summary> ReadSummary(std::string_view bytes);

}  // namespace atelier::media
