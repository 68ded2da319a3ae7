// atelier-media: reads one file for a command that does not trust it. Started by common/media/process.cc with a socket
// as descriptor 3; there is nothing to run by hand.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <optional>

#include "common/base/limits.h"
#include "common/media/message.h"
#include "worker/media/container_here.h"
#include "worker/media/decode_here.h"
#include "worker/media/info_message.h"
#include "worker/media_process/confine.h"

namespace atelier::media {
namespace {

constexpr int kSocket = 3;

// The command at the other end. When it is gone, so is this.
class Asker {
 public:
  void Tell(const Json& head, const void* body = nullptr, size_t size = 0) {
    if (!Send(kSocket, head, body, size).ok()) _exit(0);
  }
  // Bytes of the file, which the asker reads out.
  int Fetch(int64_t offset, uint8_t* to, int count) {
    Tell({{"kind", "read"}, {"offset", offset}, {"count", count}});
    while (Hear(kPartBytesMax).kind() != "bytes") early_ = got_.head;  // asked while this decoded ahead
    const size_t n = std::min(got_.body.size(), static_cast<size_t>(count));
    std::memcpy(to, got_.body.data(), n);
    return static_cast<int>(n);
  }
  // The first request; its body is given out once.
  const MediaMessage& First() { return Hear(kTagsBytesMax); }
  // The next one.
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

class AskersFile : public ByteSource {
 public:
  AskersFile(Asker* asker, int64_t size) : asker_(asker), size_(size) {}
  int64_t size() const override { return size_; }
  int Read(int64_t offset, uint8_t* to, int count) override { return asker_->Fetch(offset, to, count); }

 private:
  Asker* const asker_;
  const int64_t size_;
};

// A file that the asker keeps.
class AskersOutput : public ByteSink {
 public:
  explicit AskersOutput(Asker* asker) : asker_(asker) {}
  bool Write(int64_t offset, const uint8_t* from, int count) override {
    for (size_t left = static_cast<size_t>(count); left > 0;) {
      const size_t part = std::min<size_t>(left, kPartBytesMax);
      asker_->Tell({{"kind", "write"}, {"offset", offset}}, from, part);
      offset += static_cast<int64_t>(part);
      from += part;
      left -= part;
    }
    return true;
  }

 private:
  Asker* const asker_;
};

Status Video(Asker& asker, std::unique_ptr<ByteSource> file, const Json& request) {
  VideoDecodeOptions options;
  options.deep = request.at("deep").get<bool>();
  options.upright = request.at("upright").get<bool>();
  options.start = request.at("start").get<double>();
  options.filters = request.at("filters").get<std::string>();
  ASSIGN_OR_RETURN(const auto decoder, OpenVideoHere(std::move(file), options));
  asker.Tell({{"kind", "opened"}});
  VideoFrame frame;
  std::optional<StatusOr<bool>> ahead;  // of `frame`, which nobody has asked for yet
  while (true) {
    const bool wanted = asker.Request()["kind"] == "next";
    const StatusOr<bool> there = ahead.has_value() ? *ahead : wanted ? decoder->Next(frame) : decoder->Skip();
    ahead.reset();
    RETURN_IF_ERROR(there.status());
    if (!*there) {
      asker.Tell({{"kind", "end"}});
    } else if (!wanted) {
      asker.Tell({{"kind", "skipped"}});
    } else {
      asker.Tell({{"kind", "frame"}, {"width", frame.width}, {"height", frame.height}}, frame.data.data(),
                 frame.data.size());
      // Who took one frame mostly wants the next, and works on this one meanwhile.
      if (options.filters.empty()) ahead = decoder->Next(frame);
    }
  }
}

Status Audio(Asker& asker, ByteSource* file, const Json& request) {
  ASSIGN_OR_RETURN(const auto audio,
                   DecodeAudioHere(file, request.at("start").get<double>(), request.at("seconds").get<double>()));
  if (!audio.has_value()) {
    asker.Tell({{"kind", "end"}});
    return OkStatus();
  }
  asker.Tell({{"kind", "audio"}, {"channels", audio->channels}, {"sample_rate", audio->sample_rate}},
             audio->samples.data(), audio->samples.size() * sizeof(float));
  return OkStatus();
}

Status Serve(Asker& asker) {
  const MediaMessage& first = asker.First();
  const Json request = first.head;
  auto file = std::make_unique<AskersFile>(&asker, request.at("size").get<int64_t>());
  const std::string kind = first.kind();
  if (kind == "video") return Video(asker, std::move(file), request);
  if (kind == "audio") return Audio(asker, file.get(), request);
  if (kind == "probe") {
    ASSIGN_OR_RETURN(const MediaInfo info, ProbeHere(file.get()));
    asker.Tell(HeadOf(info));
    return OkStatus();
  }
  if (kind == "summary") {
    ASSIGN_OR_RETURN(const Summary summary, ReadSummaryHere(file.get()));
    asker.Tell({{"kind", "summary"}, {"width", summary.width}, {"height", summary.height}, {"frames", summary.frames}});
    return OkStatus();
  }
  if (kind == "tags") {
    ASSIGN_OR_RETURN(const Tags tags, ReadTagsHere(file.get()));
    ASSIGN_OR_RETURN(const std::string packed, PackTags(tags));
    asker.Tell({{"kind", "tags"}}, packed.data(), packed.size());
    return OkStatus();
  }
  if (kind == "add_tags") {
    ASSIGN_OR_RETURN(const Tags tags, UnpackTags(first.text()));
    AskersOutput output(&asker);
    RETURN_IF_ERROR(AddTagsHere(file.get(), request.at("extension").get<std::string>(), tags, &output));
    asker.Tell({{"kind", "end"}});
    return OkStatus();
  }
  return InvalidArgument("unknown request \"", kind, "\"; the commands are not of one version");
}

// Where memory runs out, this is to end, not who started it. May fail: then the kernel chooses.
void GoFirst() {
  const int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (score < 0) return;
  static_cast<void>(!write(score, "1000", 4));
  close(score);
}

// The memory that it may take, in the first argument or as a tensor.
uint64_t MemoryOf(int argc, char** argv) {
  const uint64_t most = static_cast<uint64_t>(limits::kTensorBytesMax);
  const uint64_t told = argc < 2 ? 0 : std::strtoull(argv[1], nullptr, 10);
  return told == 0 ? most : std::min(told, most);
}

int Main(int argc, char** argv) {
  struct stat info {};
  if (fstat(kSocket, &info) != 0 || !S_ISSOCK(info.st_mode)) {
    std::fputs("atelier-media is started by the other commands; there is nothing to run by hand\n", stderr);
    return 2;
  }
  close_range(kSocket + 1, ~0U, 0);
  Asker asker;
  GoFirst();
  Status status = Confine(MemoryOf(argc, argv), argc < 3 ? 0 : std::strtoull(argv[2], nullptr, 10));
  try {
    if (status.ok()) status = Serve(asker);
  } catch (const std::bad_alloc&) {
    status = ResourceExhausted("the file needs more memory than the process that reads it may take");
  }
  if (!status.ok()) asker.Tell(HeadOf(status));
  _exit(0);
}

}  // namespace
}  // namespace atelier::media

int main(int argc, char** argv) { return atelier::media::Main(argc, argv); }
