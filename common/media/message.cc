#include "common/media/message.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

namespace atelier::media {
namespace {

constexpr uint32_t kHeadBytesMax = 64 << 10;
constexpr size_t kTagsMax = 16'384;  // of one file
constexpr int kCodeMax = 16;         // of StatusCode

struct Sizes {
  uint32_t head = 0;
  uint32_t zero = 0;
  uint64_t body = 0;
};

struct TagSizes {
  uint32_t key = 0;
  uint32_t text = 0;
};

Status Gone() { return Unavailable("the other end is gone"); }

// -1: for ever. 0: `until` is over.
int WaitMs(int timeout_ms, MessageTime until) {
  if (until == MessageTime::max()) return timeout_ms;
  const int64_t left = std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now()).count();
  if (left <= 0) return 0;
  return static_cast<int>(std::min<int64_t>(left, timeout_ms < 0 ? std::numeric_limits<int>::max() : timeout_ms));
}

Status TooLong() { return DeadlineExceeded("took longer than such a file may; it is damaged, or the machine is busy"); }

Status ReadAll(int socket, int timeout_ms, MessageTime until, void* to, size_t size) {
  auto* at = static_cast<uint8_t*>(to);
  while (size > 0) {
    pollfd fd{socket, POLLIN, 0};
    const int wait = WaitMs(timeout_ms, until);
    if (wait == 0) return TooLong();
    const int ready = poll(&fd, 1, wait);
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0 && wait != timeout_ms) return TooLong();
    if (ready == 0) return DeadlineExceeded("nothing came for ", timeout_ms / 1000, " s");
    const ssize_t n = recv(socket, at, size, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Gone();
    at += n;
    size -= static_cast<size_t>(n);
  }
  return OkStatus();
}

}  // namespace

Status Send(int socket, const Json& head, const void* body, size_t size, int timeout_ms, MessageTime until) {
  std::string text = DumpJson(head);
  Sizes sizes{static_cast<uint32_t>(text.size()), 0, size};
  iovec parts[] = {{&sizes, sizeof sizes}, {text.data(), text.size()}, {const_cast<void*>(body), size}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 3;
  while (message.msg_iovlen > 0) {
    const int wait = WaitMs(timeout_ms, until);
    if (wait == 0) return TooLong();
    const ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      pollfd fd{socket, POLLOUT, 0};
      if (poll(&fd, 1, wait) != 0) continue;
      if (wait != timeout_ms) return TooLong();
      return DeadlineExceeded("takes nothing for ", timeout_ms / 1000, " s");
    }
    if (sent < 0) return Gone();
    auto n = static_cast<size_t>(sent);
    while (message.msg_iovlen > 0 && n >= message.msg_iov->iov_len) {
      n -= message.msg_iov->iov_len;
      ++message.msg_iov;
      --message.msg_iovlen;
    }
    if (message.msg_iovlen > 0) {
      message.msg_iov->iov_base = static_cast<uint8_t*>(message.msg_iov->iov_base) + n;
      message.msg_iov->iov_len -= n;
    }
  }
  return OkStatus();
}

Status Receive(int socket, int timeout_ms, uint64_t body_max, MediaMessage& message, MessageTime until) {
  Sizes sizes;
  RETURN_IF_ERROR(ReadAll(socket, timeout_ms, until, &sizes, sizeof sizes));
  if (sizes.head > kHeadBytesMax || sizes.body > body_max)
    return InvalidArgument("a message of ", sizes.head, " and ", sizes.body, " bytes, expected at most ", kHeadBytesMax,
                           " and ", body_max);
  std::string text(sizes.head, '\0');
  RETURN_IF_ERROR(ReadAll(socket, timeout_ms, until, text.data(), text.size()));
  ASSIGN_OR_RETURN(message.head, ParseJson(text));
  if (!message.head.is_object() || !message.head.contains("kind") || !message.head["kind"].is_string())
    return InvalidArgument("a message without a kind");
  message.body.resize(static_cast<size_t>(sizes.body));
  return ReadAll(socket, timeout_ms, until, message.body.data(), message.body.size());
}

Json HeadOf(const Status& status) {
  return {{"kind", "status"}, {"code", static_cast<int>(status.code())}, {"message", std::string(Message(status))}};
}

Status StatusOf(const Json& head) {
  const int code = head.value("code", 0);
  return MakeStatus(code > 0 && code <= kCodeMax ? static_cast<StatusCode>(code) : StatusCode::kInternal,
                    head.value("message", ""));
}

StatusOr<std::string> PackTags(const Tags& tags) {
  uint64_t size = 0;
  for (const auto& [key, text] : tags) size += sizeof(TagSizes) + key.size() + text.size();
  if (size > kTagsBytesMax || tags.size() > kTagsMax)
    return ResourceExhausted("the file has ", tags.size(), " texts of ", size, " bytes, at most ", kTagsMax, " of ",
                             kTagsBytesMax, " are taken");
  std::string body;
  body.reserve(static_cast<size_t>(size));
  for (const auto& [key, text] : tags) {
    const TagSizes sizes{static_cast<uint32_t>(key.size()), static_cast<uint32_t>(text.size())};
    body.append(reinterpret_cast<const char*>(&sizes), sizeof sizes).append(key).append(text);
  }
  return body;
}

StatusOr<Tags> UnpackTags(std::string_view body) {
  Tags tags;
  while (!body.empty()) {
    TagSizes sizes;
    if (body.size() < sizeof sizes || tags.size() == kTagsMax)
      return InvalidArgument("the texts of a file are cut off, or more than ", kTagsMax);
    std::memcpy(&sizes, body.data(), sizeof sizes);
    body.remove_prefix(sizeof sizes);
    if (body.size() < uint64_t{sizes.key} + sizes.text) return InvalidArgument("the texts of a file are cut off");
    tags.emplace_back(body.substr(0, sizes.key), body.substr(sizes.key, sizes.text));
    body.remove_prefix(sizes.key + sizes.text);
  }
  return tags;
}

}  // namespace atelier::media
