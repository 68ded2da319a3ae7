// atelier-media: decodes one file for a worker that does not trust it. Started by worker/media/decoder_process.cc with
// a socket as descriptor 3; there is nothing to run by hand.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <optional>

#include "common/base/limits.h"
#include "worker/media/decode_here.h"
#include "worker/media/message.h"
#include "worker/media_process/confine.h"

namespace atelier::media {
namespace {

constexpr int kSocket = 3;
constexpr uint64_t kReadMax = 1 << 20;

// The worker at the other end. When it is gone, so is this.
class Worker {
 public:
  void Tell(const Json& head, const void* body = nullptr, size_t size = 0) {
    if (!Send(kSocket, head, body, size).ok()) _exit(0);
  }
  // Bytes of the file, which the worker reads out.
  int Fetch(int64_t offset, uint8_t* to, int count) {
    Tell({{"kind", "read"}, {"offset", offset}, {"count", count}});
    while (Hear(kReadMax).kind() != "bytes") early_ = got_.head;  // asked while this decoded ahead
    const size_t n = std::min(got_.body.size(), static_cast<size_t>(count));
    std::memcpy(to, got_.body.data(), n);
    return static_cast<int>(n);
  }
  // The next request.
  Json Request() {
    if (!early_.has_value()) return Hear(0).head;
    Json request = *std::move(early_);
    early_.reset();
    return request;
  }

 private:
  const MediaMessage& Hear(uint64_t body_max) {
    if (!Receive(kSocket, -1, body_max, got_).ok()) _exit(0);
    return got_;
  }

  MediaMessage got_;
  std::optional<Json> early_;
};

class WorkersFile : public ByteSource {
 public:
  WorkersFile(Worker* worker, int64_t size) : worker_(worker), size_(size) {}
  int64_t size() const override { return size_; }
  int Read(int64_t offset, uint8_t* to, int count) override { return worker_->Fetch(offset, to, count); }

 private:
  Worker* const worker_;
  const int64_t size_;
};

Status Video(Worker& worker, std::unique_ptr<ByteSource> file, const Json& request) {
  VideoDecodeOptions options;
  options.deep = request.at("deep").get<bool>();
  options.upright = request.at("upright").get<bool>();
  options.start = request.at("start").get<double>();
  options.filters = request.at("filters").get<std::string>();
  ASSIGN_OR_RETURN(const auto decoder, OpenVideoHere(std::move(file), options));
  worker.Tell({{"kind", "opened"}});
  VideoFrame frame;
  std::optional<StatusOr<bool>> ahead;  // of `frame`, which nobody has asked for yet
  while (true) {
    const bool wanted = worker.Request()["kind"] == "next";
    const StatusOr<bool> there = ahead.has_value() ? *ahead : wanted ? decoder->Next(frame) : decoder->Skip();
    ahead.reset();
    RETURN_IF_ERROR(there.status());
    if (!*there) {
      worker.Tell({{"kind", "end"}});
    } else if (!wanted) {
      worker.Tell({{"kind", "skipped"}});
    } else {
      worker.Tell({{"kind", "frame"}, {"width", frame.width}, {"height", frame.height}}, frame.data.data(),
                  frame.data.size());
      // Who took one frame mostly wants the next, and works on this one meanwhile.
      if (options.filters.empty()) ahead = decoder->Next(frame);
    }
  }
}

Status Serve(Worker& worker) {
  const Json request = worker.Request();
  auto file = std::make_unique<WorkersFile>(&worker, request.at("size").get<int64_t>());
  const std::string kind = request["kind"].get<std::string>();
  if (kind == "video") return Video(worker, std::move(file), request);
  if (kind == "probe") {
    ASSIGN_OR_RETURN(const MediaInfo info, ProbeHere(file.get()));
    worker.Tell(HeadOf(info));
    return OkStatus();
  }
  if (kind != "audio") return InvalidArgument("unknown request \"", kind, "\"");
  ASSIGN_OR_RETURN(const auto audio,
                   DecodeAudioHere(file.get(), request.at("start").get<double>(), request.at("seconds").get<double>()));
  if (!audio.has_value()) {
    worker.Tell({{"kind", "end"}});
    return OkStatus();
  }
  worker.Tell({{"kind", "audio"}, {"channels", audio->channels}, {"sample_rate", audio->sample_rate}},
              audio->samples.data(), audio->samples.size() * sizeof(float));
  return OkStatus();
}

int Main() {
  struct stat info {};
  if (fstat(kSocket, &info) != 0 || !S_ISSOCK(info.st_mode)) {
    std::fputs("atelier-media is started by atelier-worker; there is nothing to run by hand\n", stderr);
    return 2;
  }
  close_range(kSocket + 1, ~0U, 0);
  Worker worker;
  Status status = Confine();
  try {
    if (status.ok()) status = Serve(worker);
  } catch (const std::bad_alloc&) {
    status = ResourceExhausted("the file needs more memory than a decoding process may take");
  }
  if (!status.ok()) worker.Tell(HeadOf(status));
  _exit(0);
}

}  // namespace
}  // namespace atelier::media

int main() { return atelier::media::Main(); }
