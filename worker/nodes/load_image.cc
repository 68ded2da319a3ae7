// Pictures and masks from the input folder. Source: spec engine.md 11.2.
#include "common/image/codec.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

// The channel of all frames as f32 [B,H,W]; alpha becomes 1 - alpha, and zeros 64 x 64 when there is none.
at::Tensor MaskOf(const std::vector<DecodedImage>& frames, int channel) {
  std::vector<at::Tensor> masks;
  for (const DecodedImage& frame : frames) {
    at::Tensor mask;
    if (channel < 3)
      mask = ToPixels({frame.rgb}).select(3, channel);
    else if (frame.has_alpha)
      mask = 1.0 - ToPixels({frame.alpha}).select(3, 0);
    else
      mask = at::zeros({1, 64, 64}, at::kFloat);
    masks.push_back(mask);
  }
  return at::cat(masks, 0).contiguous();
}

StatusOr<std::vector<DecodedImage>> Frames(NodeContext& ctx, const std::string& name) {
  ASSIGN_OR_RETURN(const std::string bytes, ctx.InputFile(name));
  StatusOr<std::vector<DecodedImage>> frames = DecodeFrames(bytes);
  if (!frames.ok()) return Annotate(frames.status(), Cat("input file \"", name, "\""));
  return frames;
}

StatusOr<std::tuple<Image, Mask>> PicturesAndMask(NodeContext& ctx, const std::string& image) {
  ASSIGN_OR_RETURN(const std::vector<DecodedImage> frames, Frames(ctx, image));
  return Guard([&]() -> StatusOr<std::tuple<Image, Mask>> {
    std::vector<ImageU8> pictures;
    for (const DecodedImage& frame : frames) pictures.push_back(frame.rgb);
    return std::tuple(Image{ToPixels(pictures)}, Mask{MaskOf(frames, 3)});
  });
}

struct LoadImage {
  std::string image;

  static void Describe(NodeSchema<LoadImage>& s) {
    s.Name("Load Image")
        .Category("image")
        .Description("Reads a picture of the input folder, and its transparency as a mask.");
    s.Input<&LoadImage::image>("image").FromFolder("input").ImageUpload().Tooltip("A file of the input folder.");
    s.Output<Image>("IMAGE").Output<Mask>("MASK");
  }
  StatusOr<std::tuple<Image, Mask>> Run(NodeContext& ctx) const { return PicturesAndMask(ctx, image); }
};
ATELIER_REGISTER_NODE(LoadImage);

struct LoadImageOutput {
  std::string image;

  static void Describe(NodeSchema<LoadImageOutput>& s) {
    s.Name("Load Image (from Outputs)").Category("image");
    s.Description("Reads a picture that was saved before, and its transparency as a mask.");
    s.Input<&LoadImageOutput::image>("image").FromFolder("input").ImageUpload().Tooltip(
        "A file of the output folder, as in \"a.png [output]\".");
    s.Output<Image>("IMAGE").Output<Mask>("MASK");
  }
  StatusOr<std::tuple<Image, Mask>> Run(NodeContext& ctx) const { return PicturesAndMask(ctx, image); }
};
ATELIER_REGISTER_NODE(LoadImageOutput);

struct LoadImageMask {
  std::string image, channel = "alpha";

  static void Describe(NodeSchema<LoadImageMask>& s) {
    s.Name("Load Image (as Mask)").Category("mask").Description("Reads one channel of a picture as a mask.");
    s.Input<&LoadImageMask::image>("image").FromFolder("input").ImageUpload().Tooltip("A file of the input folder.");
    s.Input<&LoadImageMask::channel>("channel")
        .OneOf({"alpha", "red", "green", "blue"})
        .Tooltip("Which channel to take; alpha is turned round.");
    s.Output<Mask>("MASK");
  }
  StatusOr<Mask> Run(NodeContext& ctx) const {
    ASSIGN_OR_RETURN(std::vector<DecodedImage> frames, Frames(ctx, image));
    frames.resize(1);
    const int index = channel == "red" ? 0 : channel == "green" ? 1 : channel == "blue" ? 2 : 3;
    return Guard([&] { return Mask{MaskOf(frames, index)}; });
  }
};
ATELIER_REGISTER_NODE(LoadImageMask);

}  // namespace
}  // namespace atelier::nodes
