// Takes from the calling process all that decoding does not need.
#pragma once

#include <cstdint>

#include "common/base/status.h"

namespace atelier::media {

/// From now on the process may compute (so many seconds of processor; 0: any), take so much memory, start threads, and
/// read and write what it has open; whatever opens, connects, runs or looks at other processes ends it, but that
/// opening a file is refused. For good. REQUIRES: the process has one thread. Errors: FAILED_PRECONDITION when the
/// kernel does not do that.
Status Confine(uint64_t memory_bytes, uint64_t cpu_seconds = 0);

}  // namespace atelier::media
