// Videos as values: from pictures and sound, to files. Source: spec engine.md 11.3.
#include <algorithm>
#include <cmath>

#include "worker/nodes/media_support.h"

namespace atelier::nodes {
namespace {

struct CreateVideo {
  Image images;
  double fps = 30;
  std::optional<Audio> audio;

  static void Describe(NodeSchema<CreateVideo>& s) {
    s.Name("Create Video").Category("image/video").Description("Makes a video of pictures.");
    s.Input<&CreateVideo::images>("images").Tooltip("The images to create a video from.");
    s.Input<&CreateVideo::fps>("fps").Default(30.0).Range(1.0, 120.0).Step(1.0).Tooltip("Frames a second.");
    s.Input<&CreateVideo::audio>("audio").Tooltip("The audio to add to the video.");
    s.Output<Video>("VIDEO");
  }
  StatusOr<Video> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("images", images));
    Video video;
    video.images = images;
    if (audio.has_value() && HasSound(*audio)) video.audio = audio;
    video.fps = fps;
    return video;
  }
};
ATELIER_REGISTER_NODE(CreateVideo);

// As the reference: fps to 1/1000, pixels cut off, H.264 at its default quality, AAC.
StatusOr<std::string> EncodeMp4(NodeContext& ctx, const Video& video) {
  at::Tensor pixels = video.images.pixels;
  if (pixels.size(3) < 3) pixels = pixels.narrow(3, 0, 1).expand({-1, -1, -1, 3});
  pixels = pixels.narrow(3, 0, 3);
  media::VideoSettings settings;
  settings.muxer = "mp4";
  settings.encoder = "libx264";
  settings.pixel_format = "yuv420p";
  settings.filters = "scale=flags=bilinear";
  settings.fps = std::round(video.fps * 1000) / 1000;
  settings.width = static_cast<int>(pixels.size(2));
  settings.height = static_cast<int>(pixels.size(1));
  ASSIGN_OR_RETURN(const auto encoder, media::VideoEncoder::Open(settings));
  const int64_t frames = pixels.size(0);
  for (int64_t i = 0; i < frames; ++i) {
    const std::vector<uint8_t> bytes = FrameBytes(pixels, i, false, false);
    RETURN_IF_ERROR(encoder->Add(bytes.data(), bytes.size()));
    RETURN_IF_ERROR(ctx.Step(i + 1, frames));
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

// Pictures and sound of a file.
StatusOr<Video> Components(NodeContext& ctx, const Video& video) {
  if (video.file == nullptr) return video;
  ASSIGN_OR_RETURN(const media::MediaInfo info, media::Probe(*video.file));
  Video out;
  ASSIGN_OR_RETURN(const at::Tensor frames, DecodeAllFrames(ctx, *video.file));
  out.images.pixels = frames.to(at::kFloat).div_(255.0);
  out.fps = info.video->average_fps > 0 ? info.video->average_fps : 1.0;
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
      RETURN_IF_ERROR(CheckPixels("video", parts.images));
      file.width = parts.images.pixels.size(2);
      file.height = parts.images.pixels.size(1);
      ASSIGN_OR_RETURN(file.bytes, EncodeMp4(ctx, parts));
      ctx.Emit(std::move(file));
      return OkStatus();
    });
  }
};
ATELIER_REGISTER_NODE(SaveVideo);

struct LoadVideo {
  std::string file;

  static void Describe(NodeSchema<LoadVideo>& s) {
    s.Name("Load Video").Category("image/video").Description("Takes a video of the input folder as it is.");
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

struct GetVideoComponents {
  Video video;

  static void Describe(NodeSchema<GetVideoComponents>& s) {
    s.Name("Get Video Components").Category("image/video").Description("Takes a video apart.");
    s.Input<&GetVideoComponents::video>("video").Tooltip("The video to extract components from.");
    s.Output<Image>("images").Output<Audio>("audio").Output<double>("fps");
  }
  StatusOr<std::tuple<Image, Audio, double>> Run(NodeContext& ctx) const {
    return Guard([&]() -> StatusOr<std::tuple<Image, Audio, double>> {
      ASSIGN_OR_RETURN(Video parts, Components(ctx, video));
      Audio audio = parts.audio.value_or(Audio{at::zeros({1, 2, 0}, at::kFloat), 44100});
      return std::tuple(std::move(parts.images), std::move(audio), parts.fps);
    });
  }
};
ATELIER_REGISTER_NODE(GetVideoComponents);

}  // namespace
}  // namespace atelier::nodes
