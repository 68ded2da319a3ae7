// The version of the wire (docs/protocol.md). No gRPC here.
#pragma once

#include <cstdint>

namespace atelier {

/// What this program speaks; raised by every change that an older peer would not understand. Each program also speaks
/// the version before its own, so that a cluster is upgraded one machine after the other (docs/protocol.md,
/// "Versions").
inline constexpr uint32_t kProtocolVersion = 2;
inline constexpr uint32_t kProtocolOldest = 1;

/// The program's version, for people.
inline constexpr const char* kProgramVersion = "0.1.0";

/// The error detail of a refusal (UNAVAILABLE) by a master that stands by; the message names the active one.
inline constexpr const char* kStandbyDetail = "standby";

/// Where a master listens unless told otherwise.
inline constexpr const char* kDefaultMasterAddress = "127.0.0.1:50188";

}  // namespace atelier
