// The version of the wire (docs/protocol.md). No gRPC here.
#pragma once

#include <cstdint>

namespace atelier {

/// Master and worker talk only when theirs are equal. Raised by every change that an older peer would misread.
inline constexpr uint32_t kProtocolVersion = 1;

/// The program's version, for people.
inline constexpr const char* kProgramVersion = "0.1.0";

/// Where a master listens unless told otherwise.
inline constexpr const char* kDefaultMasterAddress = "127.0.0.1:50188";

}  // namespace atelier
