#include "worker/media/message.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>

namespace atelier::media {
namespace {

constexpr uint32_t kHeadBytesMax = 64 << 10;
constexpr int kCodeMax = 16;  // of StatusCode

struct Sizes {
  uint32_t head = 0;
  uint32_t zero = 0;
  uint64_t body = 0;
};

Status Gone() { return Unavailable("the other end is gone"); }

Status ReadAll(int socket, int timeout_ms, void* to, size_t size) {
  auto* at = static_cast<uint8_t*>(to);
  while (size > 0) {
    pollfd fd{socket, POLLIN, 0};
    const int ready = poll(&fd, 1, timeout_ms);
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return MakeStatus(StatusCode::kDeadlineExceeded, "nothing came for ", timeout_ms / 1000, " s");
    const ssize_t n = recv(socket, at, size, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Gone();
    at += n;
    size -= static_cast<size_t>(n);
  }
  return OkStatus();
}

}  // namespace

Status Send(int socket, const Json& head, const void* body, size_t size) {
  std::string text = DumpJson(head);
  Sizes sizes{static_cast<uint32_t>(text.size()), 0, size};
  iovec parts[] = {{&sizes, sizeof sizes}, {text.data(), text.size()}, {const_cast<void*>(body), size}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 3;
  while (message.msg_iovlen > 0) {
    const ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
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

Status Receive(int socket, int timeout_ms, uint64_t body_max, MediaMessage& message) {
  Sizes sizes;
  RETURN_IF_ERROR(ReadAll(socket, timeout_ms, &sizes, sizeof sizes));
  if (sizes.head > kHeadBytesMax || sizes.body > body_max)
    return InvalidArgument("a message of ", sizes.head, " and ", sizes.body, " bytes, expected at most ", kHeadBytesMax,
                           " and ", body_max);
  std::string text(sizes.head, '\0');
  RETURN_IF_ERROR(ReadAll(socket, timeout_ms, text.data(), text.size()));
  ASSIGN_OR_RETURN(message.head, ParseJson(text));
  if (!message.head.is_object() || !message.head.contains("kind") || !message.head["kind"].is_string())
    return InvalidArgument("a message without a kind");
  message.body.resize(static_cast<size_t>(sizes.body));
  return ReadAll(socket, timeout_ms, message.body.data(), message.body.size());
}

Json HeadOf(const Status& status) {
  return {{"kind", "status"}, {"code", static_cast<int>(status.code())}, {"message", std::string(Message(status))}};
}

Status StatusOf(const Json& head) {
  const int code = head.value("code", 0);
  return MakeStatus(code > 0 && code <= kCodeMax ? static_cast<StatusCode>(code) : StatusCode::kInternal,
                    head.value("message", ""));
}
Json HeadOf(const MediaInfo& info) {
  Json head{{"kind", "info"}, {"container", info.container}, {"seconds", info.seconds}};
  if (info.video.has_value())
    head["video"] = {{"width", info.video->width},   {"height", info.video->height},
                     {"fps", info.video->fps},       {"average_fps", info.video->average_fps},
                     {"frames", info.video->frames}, {"seconds", info.video->seconds},
                     {"alpha", info.video->alpha},   {"codec", info.video->codec}};
  if (info.audio.has_value())
    head["audio"] = {{"channels", info.audio->channels}, {"sample_rate", info.audio->sample_rate}};
  return head;
}

MediaInfo InfoOf(const Json& head) {
  MediaInfo info;
  info.container = head.at("container").get<std::string>();
  info.seconds = head.at("seconds").get<double>();
  if (head.contains("video")) {
    const Json& video = head["video"];
    info.video = VideoInfo{video.at("width").get<int>(),      video.at("height").get<int>(),
                           video.at("fps").get<double>(),     video.at("average_fps").get<double>(),
                           video.at("frames").get<int64_t>(), video.at("seconds").get<double>(),
                           video.at("alpha").get<bool>(),     video.at("codec").get<std::string>()};
  }
  if (head.contains("audio"))
    info.audio = AudioInfo{head["audio"].at("channels").get<int>(), head["audio"].at("sample_rate").get<int>()};
  return info;
}

}  // namespace atelier::media
