// Videos as values: from pictures and sound, to files. Source: spec engine.md 11.3.
#include <algorithm>
#include <cmath>

#include "common/graph/frames.h"
#include "worker/engine/frame_source.h"
#include "worker/nodes/frame_reader.h"
#include "worker/nodes/media_support.h"

namespace atelier::nodes {
namespace {

struct CreateVideo {
  Value images;
  double fps = 30;
  std::optional<Audio> audio;

  static void Describe(NodeSchema<CreateVideo>& s) {
    s.Name("Create Video").Category("image/video").Description("Makes a video of pictures.");
    s.Input<&CreateVideo::images>("images").Type("IMAGE").Tooltip("The images to create a video from.");
    s.Input<&CreateVideo::fps>("fps").Default(30.0).Range(1.0, 120.0).Step(1.0).Tooltip("Frames a second.");
    s.Input<&CreateVideo::audio>("audio").Tooltip("The audio to add to the video.");
    DeclareFrames(s, {.role = "pass", .input = "images"});
    s.Output<Video>("VIDEO");
  }
  StatusOr<Video> Run(NodeContext&) const {
    Video video;
    if (images.Get<FrameWindows>() != nullptr) {
      video.windows = images;
    } else {
      const auto* pictures = images.Get<Image>();
      if (pictures == nullptr) return InvalidArgument("input \"images\": expected pictures");
      RETURN_IF_ERROR(CheckPixels("images", *pictures));
      video.images = *pictures;
    }
    if (audio.has_value() && HasSound(*audio)) video.audio = audio;
    video.fps = fps;
    return video;
  }
};
ATELIER_REGISTER_NODE(CreateVideo);

// As the reference: fps to 1/1000, pixels cut off, H.264 at its default quality, AAC. Sets the file's size.
StatusOr<std::string> EncodeMp4(NodeContext& ctx, const Video& video, OutputFile* file) {
  const Value pictures = video.windows.present() ? video.windows : Value::Of<Image>("IMAGE", video.images);
  ASSIGN_OR_RETURN(FrameReader reader, FrameReader::Open("video", pictures));
  if (!reader.first().defined()) return InvalidArgument("input \"video\": there are no frames");
  media::VideoSettings settings;
  settings.muxer = "mp4";
  settings.encoder = "libx264";
  settings.pixel_format = "yuv420p";
  settings.filters = "scale=flags=bilinear";
  settings.fps = std::round(video.fps * 1000) / 1000;
  settings.width = static_cast<int>(reader.first().size(2));
  settings.height = static_cast<int>(reader.first().size(1));
  file->width = settings.width;
  file->height = settings.height;
  ASSIGN_OR_RETURN(const auto encoder, media::VideoEncoder::Open(settings));
  int64_t frames = 0;
  for (;; ++frames) {
    ASSIGN_OR_RETURN(at::Tensor frame, reader.At(frames));
    if (!frame.defined()) break;
    if (frame.size(3) < 3) frame = frame.narrow(3, 0, 1).expand({-1, -1, -1, 3});
    const std::vector<uint8_t> bytes = FrameBytes(frame.narrow(3, 0, 3), 0, false, false);
    RETURN_IF_ERROR(encoder->Add(bytes.data(), bytes.size()));
    RETURN_IF_ERROR(ctx.Step(frames + 1, reader.known()));
  }
  ASSIGN_OR_RETURN(std::string silent, encoder->Finish());
  if (!video.audio.has_value() || !HasSound(*video.audio)) return silent;
  Audio audio = *video.audio;
  const auto samples = static_cast<int64_t>(
      std::ceil(static_cast<double>(audio.sample_rate) / settings.fps * static_cast<double>(frames)));
  audio.waveform = audio.waveform.narrow(2, 0, std::min(samples, audio.waveform.size(2)));
  ASSIGN_OR_RETURN(const media::AudioSamples sound, ToSamples(audio));
  return media::AddAudioTrack(silent, "mp4", sound, {"", "aac", 0, 0, {}}, false);
}

double RateOf(const media::MediaInfo& info) { return info.video->average_fps > 0 ? info.video->average_fps : 1.0; }

// Pictures and sound of a file.
StatusOr<Video> Components(NodeContext& ctx, const Video& video) {
  if (video.file == nullptr) return video;
  ASSIGN_OR_RETURN(const media::MediaInfo info, media::Probe(*video.file));
  Video out;
  ASSIGN_OR_RETURN(const at::Tensor frames, DecodeAllFrames(ctx, *video.file));
  out.images.pixels = frames.to(at::kFloat).div_(255.0);
  out.fps = RateOf(info);
  ASSIGN_OR_RETURN(const auto sound, media::DecodeAudio(*video.file));
  if (sound.has_value()) out.audio = ToAudio(*sound);
  return out;
}

struct SaveVideo {
  Video video;
  std::string filename_prefix = "video/ComfyUI", format = "auto", codec = "auto";

  static void Describe(NodeSchema<SaveVideo>& s) {
    s.Name("Save Video").Category("image/video").OutputNode().Description("Saves a video to the output folder.");
    s.Input<&SaveVideo::video>("video").Tooltip("The video to save.");
    s.Input<&SaveVideo::filename_prefix>("filename_prefix")
        .Default("video/ComfyUI")
        .Tooltip("May hold %date:yyyy-MM-dd% and the like.");
    s.Input<&SaveVideo::format>("format").OneOf({"auto", "mp4"}).Default("auto").Tooltip("The container.");
    s.Input<&SaveVideo::codec>("codec").OneOf({"auto", "h264"}).Default("auto").Tooltip("How pictures are kept.");
    DeclareFrames(s, {.role = "sink", .input = "video", .encoding = "u8"});
  }
  Status Run(NodeContext& ctx) const {
    return Guard([&]() -> Status {
      OutputFile file = MediaFile(filename_prefix, ".mp4", "");
      if (video.file != nullptr) {
        ASSIGN_OR_RETURN(const media::MediaInfo info, media::Probe(*video.file));
        if (!info.video.has_value()) return InvalidArgument("input \"video\": the file has no pictures");
        file.width = info.video->width;
        file.height = info.video->height;
        // A file that is what is asked for stays as it is.
        if (info.container.find("mp4") != std::string::npos && (codec == "auto" || info.video->codec == "h264")) {
          file.bytes = *video.file;
          ctx.Emit(std::move(file));
          return OkStatus();
        }
      }
      ASSIGN_OR_RETURN(const Video parts, Components(ctx, video));
      ASSIGN_OR_RETURN(file.bytes, EncodeMp4(ctx, parts, &file));
      ctx.Emit(std::move(file));
      return OkStatus();
    });
  }
};
ATELIER_REGISTER_NODE(SaveVideo);

struct LoadVideo {
  std::string file;

  static void Describe(NodeSchema<LoadVideo>& s) {
    s.Name("Load Video").Category("image/video").Cheap().Description("Takes a video of the input folder as it is.");
    s.Input<&LoadVideo::file>("file").FromFolder("input").ImageUpload().Tooltip("A file of the input folder.");
    s.Output<Video>("VIDEO");
  }
  StatusOr<Video> Run(NodeContext& ctx) const {
    ASSIGN_OR_RETURN(std::string bytes, ctx.InputFile(file));
    StatusOr<media::MediaInfo> info = media::Probe(bytes);
    if (info.ok() && !info->video.has_value()) info = InvalidArgument("the file has no video");
    if (!info.ok()) return Annotate(info.status(), Cat("input file \"", file, "\""));
    Video video;
    video.file = std::make_shared<const std::string>(std::move(bytes));
    return video;
  }
};
ATELIER_REGISTER_NODE(LoadVideo);

Audio AudioOrNone(const std::optional<Audio>& audio) {
  return audio.value_or(Audio{at::zeros({1, 2, 0}, at::kFloat), 44100});
}

struct GetVideoComponents {
  Video video;

  static void Describe(NodeSchema<GetVideoComponents>& s) {
    s.Name("Get Video Components").Category("image/video").Description("Takes a video apart.");
    s.Input<&GetVideoComponents::video>("video").Tooltip("The video to extract components from.");
    DeclareFrames(s, {.role = "source"});
    s.Output<Image>("images").Output<Audio>("audio").Output<double>("fps");
  }
  StatusOr<std::tuple<Image, Audio, double>> Run(NodeContext& ctx) const {
    return Guard([&]() -> StatusOr<std::tuple<Image, Audio, double>> {
      ASSIGN_OR_RETURN(Video parts, Components(ctx, video));
      return std::tuple(std::move(parts.images), AudioOrNone(parts.audio), parts.fps);
    });
  }
};
ATELIER_REGISTER_NODE(GetVideoComponents);

// The frames of a file, window by window.
class FileFrames : public engine::FrameSource {
 public:
  explicit FileFrames(std::shared_ptr<const std::string> file) : file_(std::move(file)) {}

  StatusOr<at::Tensor> Read(int64_t start, int64_t count) override {
    if (decoder_ == nullptr || start < position_) {
      ASSIGN_OR_RETURN(decoder_, media::VideoDecoder::Open(*file_));
      position_ = 0;
    }
    for (; position_ < start; ++position_) {
      ASSIGN_OR_RETURN(const bool there, decoder_->Skip());
      if (!there) return at::Tensor();
    }
    std::vector<at::Tensor> frames;
    media::VideoFrame frame;
    for (; count == 0 || static_cast<int64_t>(frames.size()) < count; ++position_) {
      ASSIGN_OR_RETURN(const bool got, decoder_->Next(frame));
      if (!got) break;
      if (count == 0) count = FramesPerWindow(frame.height, frame.width, kTakenWindowBytes);
      frames.push_back(FrameTensor(frame));
    }
    if (!frames.empty()) return at::cat(frames, 0).to(at::kFloat).div_(255.0);
    return start == 0 ? StatusOr<at::Tensor>(InvalidArgument("the video has no frames")) : at::Tensor();
  }

 private:
  const std::shared_ptr<const std::string> file_;
  std::unique_ptr<media::VideoDecoder> decoder_;
  int64_t position_ = 0;
};

// The planner's half of GetVideoComponents: opens the video.
struct GetVideoComponentsOpen {
  Video video;

  static void Describe(NodeSchema<GetVideoComponentsOpen>& s) {
    s.Name("Get Video Components Open").Category("image/video").Internal();
    s.Description("Opens a video to read it window by window; made by the planner.");
    s.Input<&GetVideoComponentsOpen::video>("video").Tooltip("The video.");
    s.Output<engine::FrameFile>("FRAME_FILE");
  }
  StatusOr<engine::FrameFile> Run(NodeContext&) const {
    if (video.file == nullptr) return InvalidArgument("input \"video\": it is no file");
    return engine::FrameFile{std::make_shared<FileFrames>(video.file)};
  }
};
ATELIER_REGISTER_NODE(GetVideoComponentsOpen);

// The other half: what is told beside the frames, and how many windows they make.
struct GetVideoComponentsRest {
  Video video;

  static void Describe(NodeSchema<GetVideoComponentsRest>& s) {
    s.Name("Get Video Components Rest").Category("image/video").Internal();
    s.Description("What a video holds beside its frames; made by the planner.");
    s.Input<&GetVideoComponentsRest::video>("video").Tooltip("The video.");
    s.Output<std::string>("extent").Output<Audio>("audio").Output<double>("fps");
  }
  StatusOr<std::tuple<std::string, Audio, double>> Run(NodeContext& ctx) const {
    if (video.file == nullptr) return InvalidArgument("input \"video\": it is no file");
    return Guard([&]() -> StatusOr<std::tuple<std::string, Audio, double>> {
      ASSIGN_OR_RETURN(const media::MediaInfo info, media::Probe(*video.file));
      ASSIGN_OR_RETURN(const auto decoder, media::VideoDecoder::Open(*video.file));
      int64_t count = 0;
      for (;; ++count) {
        if (ctx.cancelled()) return Cancelled("cancelled");
        ASSIGN_OR_RETURN(const bool there, decoder->Skip());
        if (!there) break;
      }
      if (count == 0) return InvalidArgument("the video has no frames");
      std::optional<Audio> audio;
      ASSIGN_OR_RETURN(const auto sound, media::DecodeAudio(*video.file));
      if (sound.has_value()) audio = ToAudio(*sound);
      const int64_t window = FramesPerWindow(info.video->height, info.video->width);
      return std::tuple(Cat(count, " ", window), AudioOrNone(audio), RateOf(info));
    });
  }
};
ATELIER_REGISTER_NODE(GetVideoComponentsRest);

}  // namespace
}  // namespace atelier::nodes
