// Channels and statuses of gRPC in the project's terms.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <utility>

#include "common/base/status.h"
#include "common/security/identity.h"
#include "grpcpp/grpcpp.h"

namespace atelier {

/// Arguments of channels and servers that move blobs: the library's defaults (frames of 16 KiB, a window of 64 KiB)
/// cost a third of the speed on a fast network. Thread: any.
std::array<std::pair<const char*, int>, 3> BulkArguments();

/// A channel to HOST:PORT with connections of its own (nothing shared with other channels, so that a fresh channel
/// dials at once) and the project's message bounds. Connects on first use, for at most 5 s, again after 50 ms when that
/// fails, then ever slower up to `backoff_max_ms`. With an identity over TLS: the other side must prove that it is
/// `server` under the identity's authority, whatever its address, and is shown the identity's certificate if it has
/// one; else without TLS. `ping_ms`: how often the other side is asked whether it is alive while a call waits for it,
/// and how long it may take to say so; else the call is UNAVAILABLE; 0: never. Thread: any.
std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address, int backoff_max_ms = 1000,
                                           const Identity* identity = nullptr, const char* server = kMasterName,
                                           int ping_ms = 0);

/// The same code and message, OK for OK. Thread: any.
Status FromGrpc(const grpc::Status& status);
grpc::Status ToGrpc(const Status& status);

/// Sets the time by which the call must have ended. Thread: before the call.
void SetDeadline(grpc::ClientContext& context, int64_t milliseconds);

}  // namespace atelier
