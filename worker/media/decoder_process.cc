// decoder.h: in a process of its own since DecodeInProcesses(), else in this one.
#include <atomic>
#include <cstring>

#include "common/base/limits.h"
#include "common/media/process.h"
#include "worker/media/decode_here.h"
#include "worker/media/info_message.h"

namespace atelier::media {
namespace {

constexpr uint64_t kFrameBytesMax = static_cast<uint64_t>(limits::kImagePixelsMax) * 8;
constexpr int kChannelsMax = 64;

std::atomic<bool> in_processes = false;

class RemoteVideo : public VideoDecoder {
 public:
  RemoteVideo(std::unique_ptr<MediaProcess> process, bool deep) : process_(std::move(process)), deep_(deep) {}

  StatusOr<bool> Next(VideoFrame& frame) override {
    answer_.body.swap(frame.data);
    RETURN_IF_ERROR(process_->Ask({{"kind", "next"}}, kFrameBytesMax, answer_));
    if (answer_.kind() == "end") return false;
    int width = 0, height = 0;
    RETURN_IF_ERROR(MediaProcess::Understand([&]() -> Status {
      width = answer_.head.at("width").get<int>();
      height = answer_.head.at("height").get<int>();
      if (Status legal = CheckImageSize(width, height, 4); !legal.ok()) return legal;
      if (answer_.body.size() != static_cast<size_t>(width) * static_cast<size_t>(height) * (deep_ ? 8 : 3))
        return InvalidArgument("the process that decodes the file gave ", answer_.body.size(),
                               " bytes for a picture of ", width, "x", height);
      return OkStatus();
    }));
    frame.width = width;
    frame.height = height;
    frame.data.swap(answer_.body);
    return true;
  }
  StatusOr<bool> Skip() override {
    RETURN_IF_ERROR(process_->Ask({{"kind", "skip"}}, 0, answer_));
    return answer_.kind() != "end";
  }

 private:
  const std::unique_ptr<MediaProcess> process_;
  const bool deep_;
  MediaMessage answer_;
};

}  // namespace

void DecodeInProcesses(bool yes) {
  in_processes = yes;
  KeepMediaProcessWaiting(yes);
}

StatusOr<MediaInfo> Probe(std::string_view bytes) {
  if (!in_processes) {
    BytesInMemory source(bytes);
    return ProbeHere(&source);
  }
  ASSIGN_OR_RETURN(const auto process, MediaProcess::Start(bytes));
  MediaMessage answer;
  RETURN_IF_ERROR(process->Ask(process->Request("probe"), 0, answer));
  MediaInfo info;
  RETURN_IF_ERROR(MediaProcess::Understand([&] {
    info = InfoOf(answer.head);
    return OkStatus();
  }));
  return info;
}

StatusOr<std::unique_ptr<VideoDecoder>> VideoDecoder::Open(std::string_view bytes, const VideoDecodeOptions& options) {
  if (!in_processes) return OpenVideoHere(std::make_unique<BytesInMemory>(bytes), options);
  ASSIGN_OR_RETURN(auto process, MediaProcess::Start(bytes));
  Json request = process->Request("video");
  request.update(
      {{"deep", options.deep}, {"upright", options.upright}, {"start", options.start}, {"filters", options.filters}});
  MediaMessage answer;
  RETURN_IF_ERROR(process->Ask(request, 0, answer));
  return std::unique_ptr<VideoDecoder>(std::make_unique<RemoteVideo>(std::move(process), options.deep));
}

StatusOr<std::optional<AudioSamples>> DecodeAudio(std::string_view bytes, double start, double seconds) {
  if (!in_processes) {
    BytesInMemory source(bytes);
    return DecodeAudioHere(&source, start, seconds);
  }
  ASSIGN_OR_RETURN(const auto process, MediaProcess::Start(bytes));
  Json request = process->Request("audio");
  request.update({{"start", start}, {"seconds", seconds}});
  MediaMessage answer;
  RETURN_IF_ERROR(process->Ask(request, static_cast<uint64_t>(limits::kTensorBytesMax), answer));
  if (answer.kind() == "end") return std::optional<AudioSamples>();
  AudioSamples audio;
  RETURN_IF_ERROR(MediaProcess::Understand([&]() -> Status {
    audio.channels = answer.head.at("channels").get<int>();
    audio.sample_rate = answer.head.at("sample_rate").get<int>();
    if (audio.channels < 1 || audio.channels > kChannelsMax || audio.sample_rate < 1 ||
        answer.body.size() % (sizeof(float) * static_cast<size_t>(audio.channels)) != 0)
      return InvalidArgument("the process that decodes the file gave ", answer.body.size(), " bytes for sound of ",
                             audio.channels, " channels");
    return OkStatus();
  }));
  audio.samples.resize(answer.body.size() / sizeof(float));
  std::memcpy(audio.samples.data(), answer.body.data(), answer.body.size());
  return std::optional(std::move(audio));
}

}  // namespace atelier::media
