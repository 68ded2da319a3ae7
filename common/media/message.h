// What atelier-media and the command that started it say to each other: a JSON text and bytes, over a socket. Neither
// end trusts the sizes that the other tells. docs/security.md, "Media".
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/json/json.h"
#include "common/media/tags.h"

namespace atelier::media {

inline constexpr uint64_t kPartBytesMax = 1 << 20;    // of a file, in one message
inline constexpr uint64_t kTagsBytesMax = 512 << 20;  // of all tags of a file: two workflows as large as they may be

struct MediaMessage {
  Json head;  // an object with the text "kind"
  std::vector<uint8_t> body;
  const std::string& kind() const { return head["kind"].get_ref<const std::string&>(); }
  std::string_view text() const { return {reinterpret_cast<const char*>(body.data()), body.size()}; }
};

using MessageTime = std::chrono::steady_clock::time_point;

/// Waits at most `timeout_ms` each time that the other end takes nothing (-1: for ever), and until `until` for all.
/// Errors: UNAVAILABLE when the other end is gone, DEADLINE_EXCEEDED. Thread: one at a time for each socket.
Status Send(int socket, const Json& head, const void* body = nullptr, size_t size = 0, int timeout_ms = -1,
            MessageTime until = MessageTime::max());

/// Waits at most `timeout_ms` for each part of a message (-1: for ever), and until `until` for all. Errors: UNAVAILABLE
/// when the other end is gone, DEADLINE_EXCEEDED, INVALID_ARGUMENT (no message, or a body beyond `body_max`). Thread:
/// as Send.
Status Receive(int socket, int timeout_ms, uint64_t body_max, MediaMessage& message,
               MessageTime until = MessageTime::max());

/// A status as a head, and back. The way back throws nlohmann's exceptions over a head of another form; an unknown code
/// comes back as INTERNAL. Thread: any.
Json HeadOf(const Status& status);
Status StatusOf(const Json& head);

/// Tags as a body, any bytes in them, and back. Errors: RESOURCE_EXHAUSTED beyond kTagsBytesMax or 16,384 tags;
/// of the way back INVALID_ARGUMENT, when it makes no sense. Thread: any.
StatusOr<std::string> PackTags(const Tags& tags);
StatusOr<Tags> UnpackTags(std::string_view body);

}  // namespace atelier::media
