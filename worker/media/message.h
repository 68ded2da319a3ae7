// What a worker and its decoding process say to each other: a JSON text and bytes, over a socket. Neither end trusts
// the sizes that the other tells. docs/security.md, "Media".
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/json/json.h"
#include "worker/media/decoder.h"

namespace atelier::media {

struct MediaMessage {
  Json head;  // an object with the text "kind"
  std::vector<uint8_t> body;
  const std::string& kind() const { return head["kind"].get_ref<const std::string&>(); }
};

/// Errors: UNAVAILABLE when the other end is gone. Thread: one at a time for each socket.
Status Send(int socket, const Json& head, const void* body = nullptr, size_t size = 0);

/// Waits at most `timeout_ms` for each part of a message (-1: for ever). Errors: UNAVAILABLE when the other end is
/// gone, DEADLINE_EXCEEDED, INVALID_ARGUMENT (no message, or a body beyond `body_max`). Thread: as Send.
Status Receive(int socket, int timeout_ms, uint64_t body_max, MediaMessage& message);

/// What is told as a head, and back. The ways back throw nlohmann's exceptions over a head of another form; an unknown
/// code of a status comes back as INTERNAL.
Json HeadOf(const Status& status);
Status StatusOf(const Json& head);
Json HeadOf(const MediaInfo& info);
MediaInfo InfoOf(const Json& head);

}  // namespace atelier::media
