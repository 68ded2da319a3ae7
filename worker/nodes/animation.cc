// Moving pictures of pictures alone. Source: spec engine.md 11.2, 11.3.
#include <cmath>

#include "worker/nodes/media_support.h"

namespace atelier::nodes {
namespace {

Status EmitAnimation(NodeContext& ctx, const Image& images, const std::string& prefix, const std::string& extension,
                     media::VideoSettings settings) {
  RETURN_IF_ERROR(CheckPixels("images", images));
  return Guard([&]() -> Status {
    at::Tensor pixels = images.pixels;
    if (pixels.size(3) < 3) pixels = pixels.narrow(3, 0, 1).expand({-1, -1, -1, 3});
    if (settings.channels == 3) pixels = pixels.narrow(3, 0, 3);
    settings.width = static_cast<int>(pixels.size(2));
    settings.height = static_cast<int>(pixels.size(1));
    ASSIGN_OR_RETURN(const auto encoder, media::VideoEncoder::Open(settings));
    for (int64_t i = 0; i < pixels.size(0); ++i) {
      const std::vector<uint8_t> bytes = FrameBytes(pixels, i, false, false);
      RETURN_IF_ERROR(encoder->Add(bytes.data(), bytes.size()));
      RETURN_IF_ERROR(ctx.Step(i + 1, pixels.size(0)));
    }
    ASSIGN_OR_RETURN(std::string bytes, encoder->Finish());
    OutputFile file = MediaFile(prefix, extension, std::move(bytes));
    file.width = settings.width;
    file.height = settings.height;
    ctx.Emit(std::move(file));
    return OkStatus();
  });
}

int Channels(const Image& images) { return images.pixels.defined() && images.pixels.size(-1) == 4 ? 4 : 3; }

struct SaveWebm {
  Image images;
  std::string filename_prefix = "ComfyUI", codec = "vp9";
  double fps = 24, crf = 32;

  static void Describe(NodeSchema<SaveWebm>& s) {
    s.Name("SaveWEBM").Category("image/video").OutputNode().Description("Saves pictures as a WebM video.");
    s.Input<&SaveWebm::images>("images").Tooltip("The frames.");
    s.Input<&SaveWebm::filename_prefix>("filename_prefix").Default("ComfyUI").Tooltip("Folder and name.");
    s.Input<&SaveWebm::codec>("codec").OneOf({"vp9", "av1"}).Tooltip("How pictures are kept.");
    s.Input<&SaveWebm::fps>("fps").Default(24.0).Range(0.01, 1000.0).Step(0.01).Tooltip("Frames a second.");
    s.Input<&SaveWebm::crf>("crf").Default(32.0).Range(0, 63.0).Step(1).Tooltip(
        "Quality: a lower number is better and larger.");
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
    return EmitAnimation(ctx, images, filename_prefix, ".webm", settings);
  }
};
ATELIER_REGISTER_NODE_AS(SaveWebm, "SaveWEBM");

struct SaveAnimatedWebp {
  Image images;
  std::string filename_prefix = "ComfyUI", method = "default";
  double fps = 6;
  bool lossless = true;
  int64_t quality = 80;

  static void Describe(NodeSchema<SaveAnimatedWebp>& s) {
    s.Name("SaveAnimatedWEBP").Category("image/animation").OutputNode();
    s.Description("Saves pictures as one moving WebP picture.");
    s.Input<&SaveAnimatedWebp::images>("images").Tooltip("The frames.");
    s.Input<&SaveAnimatedWebp::filename_prefix>("filename_prefix").Default("ComfyUI").Tooltip("Folder and name.");
    s.Input<&SaveAnimatedWebp::fps>("fps").Default(6.0).Range(0.01, 1000.0).Step(0.01).Tooltip("Frames a second.");
    s.Input<&SaveAnimatedWebp::lossless>("lossless").Default(true).Tooltip("Keep every pixel as it is.");
    s.Input<&SaveAnimatedWebp::quality>("quality").Default(80).Range(0, 100).Tooltip("Of pictures with loss.");
    s.Input<&SaveAnimatedWebp::method>("method")
        .OneOf({"default", "fastest", "slowest"})
        .Tooltip("How long to try for a small file.");
  }
  Status Run(NodeContext& ctx) const {
    media::VideoSettings settings;
    settings.muxer = "webp";
    settings.encoder = "libwebp_anim";
    settings.channels = Channels(images);
    settings.pixel_format = lossless ? "bgra" : settings.channels == 4 ? "yuva420p" : "yuv420p";
    settings.fps = fps;
    settings.options = {{"lossless", lossless ? "1" : "0"},
                        {"quality", std::to_string(quality)},
                        {"compression_level", method == "fastest"   ? "0"
                                              : method == "slowest" ? "6"
                                                                    : "4"}};
    settings.file_options["loop"] = "0";
    return EmitAnimation(ctx, images, filename_prefix, ".webp", settings);
  }
};
ATELIER_REGISTER_NODE_AS(SaveAnimatedWebp, "SaveAnimatedWEBP");

struct SaveAnimatedPng {
  Image images;
  std::string filename_prefix = "ComfyUI";
  double fps = 6;
  int64_t compress_level = 4;

  static void Describe(NodeSchema<SaveAnimatedPng>& s) {
    s.Name("SaveAnimatedPNG").Category("image/animation").OutputNode();
    s.Description("Saves pictures as one moving PNG picture.");
    s.Input<&SaveAnimatedPng::images>("images").Tooltip("The frames.");
    s.Input<&SaveAnimatedPng::filename_prefix>("filename_prefix").Default("ComfyUI").Tooltip("Folder and name.");
    s.Input<&SaveAnimatedPng::fps>("fps").Default(6.0).Range(0.01, 1000.0).Step(0.01).Tooltip("Frames a second.");
    s.Input<&SaveAnimatedPng::compress_level>("compress_level").Default(4).Range(0, 9).Tooltip("How small to make it.");
  }
  Status Run(NodeContext& ctx) const {
    media::VideoSettings settings;
    settings.muxer = "apng";
    settings.encoder = "apng";
    settings.channels = Channels(images);
    settings.pixel_format = settings.channels == 4 ? "rgba" : "rgb24";
    settings.fps = fps;
    settings.options["compression_level"] = std::to_string(compress_level);
    settings.file_options["plays"] = "0";
    return EmitAnimation(ctx, images, filename_prefix, ".png", settings);
  }
};
ATELIER_REGISTER_NODE_AS(SaveAnimatedPng, "SaveAnimatedPNG");

}  // namespace
}  // namespace atelier::nodes
