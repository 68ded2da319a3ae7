// Moving pictures of pictures alone. Source: spec engine.md 11.2, 11.3.
#include <cmath>
#include <functional>

#include "common/graph/frames.h"
#include "worker/nodes/frame_reader.h"
#include "worker/nodes/media_support.h"

namespace atelier::nodes {
namespace {

// `settings` of a file whose pictures have so many channels.
using MakeSettings = std::function<media::VideoSettings(int channels)>;

Status EmitAnimation(NodeContext& ctx, const Value& images, const std::string& prefix, const std::string& extension,
                     const MakeSettings& settings_for) {
  return Guard([&]() -> Status {
    ASSIGN_OR_RETURN(FrameReader reader, FrameReader::Open("images", images));
    if (!reader.first().defined()) return InvalidArgument("input \"images\": there is no picture");
    media::VideoSettings settings = settings_for(reader.first().size(3) == 4 ? 4 : 3);
    settings.width = static_cast<int>(reader.first().size(2));
    settings.height = static_cast<int>(reader.first().size(1));
    ASSIGN_OR_RETURN(const auto encoder, media::VideoEncoder::Open(settings));
    for (int64_t i = 0;; ++i) {
      ASSIGN_OR_RETURN(at::Tensor frame, reader.At(i));
      if (!frame.defined()) break;
      if (frame.size(3) < 3) frame = frame.narrow(3, 0, 1).expand({-1, -1, -1, 3});
      if (settings.channels == 3) frame = frame.narrow(3, 0, 3);
      const std::vector<uint8_t> bytes = FrameBytes(frame, 0, false, false);
      RETURN_IF_ERROR(encoder->Add(bytes.data(), bytes.size()));
      RETURN_IF_ERROR(ctx.Step(i + 1, reader.known()));
    }
    ASSIGN_OR_RETURN(std::string bytes, encoder->Finish());
    OutputFile file = MediaFile(prefix, extension, std::move(bytes));
    file.width = settings.width;
    file.height = settings.height;
    ctx.Emit(std::move(file));
    return OkStatus();
  });
}

struct SaveWebm {
  Value images;
  std::string filename_prefix = "ComfyUI", codec = "vp9";
  double fps = 24, crf = 32;

  static void Describe(NodeSchema<SaveWebm>& s) {
    s.Name("SaveWEBM").Category("image/video").OutputNode().Description("Saves pictures as a WebM video.");
    s.Input<&SaveWebm::images>("images").Type("IMAGE").Tooltip("The frames.");
    s.Input<&SaveWebm::filename_prefix>("filename_prefix").Default("ComfyUI").Tooltip("Folder and name.");
    s.Input<&SaveWebm::codec>("codec").OneOf({"vp9", "av1"}).Tooltip("How pictures are kept.");
    s.Input<&SaveWebm::fps>("fps").Default(24.0).Range(0.01, 1000.0).Step(0.01).Tooltip("Frames a second.");
    s.Input<&SaveWebm::crf>("crf").Default(32.0).Range(0, 63.0).Step(1).Tooltip(
        "Quality: a lower number is better and larger.");
    DeclareFrames(s, {.role = "sink", .input = "images", .encoding = "u8"});
  }
  Status Run(NodeContext& ctx) const {
    media::VideoSettings settings;
    settings.muxer = "webm";
    settings.fps = std::round(fps * 1000) / 1000;
    settings.filters = "scale=flags=bilinear";
    settings.options["crf"] = std::to_string(static_cast<int64_t>(crf));
    settings.encoder = codec == "av1" ? "libsvtav1" : "libvpx-vp9";
    settings.pixel_format = codec == "av1" ? "yuv420p10le" : "yuv420p";
    if (codec == "av1")
      settings.options["preset"] = "6";
    else
      settings.options["b"] = "0";
    return EmitAnimation(ctx, images, filename_prefix, ".webm", [&](int) { return settings; });
  }
};
ATELIER_REGISTER_NODE_AS(SaveWebm, "SaveWEBM");

struct SaveAnimatedWebp {
  Value images;
  std::string filename_prefix = "ComfyUI", method = "default";
  double fps = 6;
  bool lossless = true;
  int64_t quality = 80;

  static void Describe(NodeSchema<SaveAnimatedWebp>& s) {
    s.Name("SaveAnimatedWEBP").Category("image/animation").OutputNode();
    s.Description("Saves pictures as one moving WebP picture.");
    s.Input<&SaveAnimatedWebp::images>("images").Type("IMAGE").Tooltip("The frames.");
    s.Input<&SaveAnimatedWebp::filename_prefix>("filename_prefix").Default("ComfyUI").Tooltip("Folder and name.");
    s.Input<&SaveAnimatedWebp::fps>("fps").Default(6.0).Range(0.01, 1000.0).Step(0.01).Tooltip("Frames a second.");
    s.Input<&SaveAnimatedWebp::lossless>("lossless").Default(true).Tooltip("Keep every pixel as it is.");
    s.Input<&SaveAnimatedWebp::quality>("quality").Default(80).Range(0, 100).Tooltip("Of pictures with loss.");
    s.Input<&SaveAnimatedWebp::method>("method")
        .OneOf({"default", "fastest", "slowest"})
        .Tooltip("How long to try for a small file.");
    DeclareFrames(s, {.role = "sink", .input = "images", .encoding = "u8"});
  }
  media::VideoSettings SettingsFor(int channels) const {
    media::VideoSettings settings;
    settings.muxer = "webp";
    settings.encoder = "libwebp_anim";
    settings.channels = channels;
    settings.pixel_format = lossless ? "bgra" : settings.channels == 4 ? "yuva420p" : "yuv420p";
    settings.fps = fps;
    settings.options = {{"lossless", lossless ? "1" : "0"},
                        {"quality", std::to_string(quality)},
                        {"compression_level", method == "fastest"   ? "0"
                                              : method == "slowest" ? "6"
                                                                    : "4"}};
    settings.file_options["loop"] = "0";
    return settings;
  }
  Status Run(NodeContext& ctx) const {
    return EmitAnimation(ctx, images, filename_prefix, ".webp", [this](int channels) { return SettingsFor(channels); });
  }
};
ATELIER_REGISTER_NODE_AS(SaveAnimatedWebp, "SaveAnimatedWEBP");

struct SaveAnimatedPng {
  Value images;
  std::string filename_prefix = "ComfyUI";
  double fps = 6;
  int64_t compress_level = 4;

  static void Describe(NodeSchema<SaveAnimatedPng>& s) {
    s.Name("SaveAnimatedPNG").Category("image/animation").OutputNode();
    s.Description("Saves pictures as one moving PNG picture.");
    s.Input<&SaveAnimatedPng::images>("images").Type("IMAGE").Tooltip("The frames.");
    s.Input<&SaveAnimatedPng::filename_prefix>("filename_prefix").Default("ComfyUI").Tooltip("Folder and name.");
    s.Input<&SaveAnimatedPng::fps>("fps").Default(6.0).Range(0.01, 1000.0).Step(0.01).Tooltip("Frames a second.");
    s.Input<&SaveAnimatedPng::compress_level>("compress_level").Default(4).Range(0, 9).Tooltip("How small to make it.");
    DeclareFrames(s, {.role = "sink", .input = "images", .encoding = "u8"});
  }
  media::VideoSettings SettingsFor(int channels) const {
    media::VideoSettings settings;
    settings.muxer = "apng";
    settings.encoder = "apng";
    settings.channels = channels;
    settings.pixel_format = settings.channels == 4 ? "rgba" : "rgb24";
    settings.fps = fps;
    settings.options["compression_level"] = std::to_string(compress_level);
    settings.file_options["plays"] = "0";
    return settings;
  }
  Status Run(NodeContext& ctx) const {
    return EmitAnimation(ctx, images, filename_prefix, ".png", [this](int channels) { return SettingsFor(channels); });
  }
};
ATELIER_REGISTER_NODE_AS(SaveAnimatedPng, "SaveAnimatedPNG");

}  // namespace
}  // namespace atelier::nodes
