// The bound on texts that nodes make.
#pragma once

#include <cstddef>

#include "common/base/status.h"

namespace atelier::nodes {

inline constexpr size_t kTextBytesMax = size_t{16} << 20;

/// OK when a text of so many bytes may be made. Errors: RESOURCE_EXHAUSTED. Thread: any.
inline Status CheckTextSize(size_t bytes) {
  if (bytes > kTextBytesMax)
    return ResourceExhausted("a text of ", bytes, " bytes exceeds the limit of ", kTextBytesMax >> 20, " MiB");
  return OkStatus();
}

}  // namespace atelier::nodes
