// The wall clock of the master's shell.
#pragma once

#include <chrono>
#include <cstdint>

namespace atelier {

/// Milliseconds since 1970. Thread: any.
inline int64_t UnixMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace atelier
