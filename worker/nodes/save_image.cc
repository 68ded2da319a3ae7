// PNG files of pictures; the master names and writes them. Source: spec engine.md 11.1, 11.2.
#include "common/image/codec.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

Status EmitPictures(NodeContext& ctx, const Image& images, const std::string& type, const std::string& prefix,
                    int level) {
  if (!images.pixels.defined() || images.pixels.dim() != 4)
    return InvalidArgument("images hold no [batch, height, width, channels] tensor");
  for (int64_t i = 0; i < images.pixels.size(0); ++i) {
    if (ctx.cancelled()) return Cancelled("cancelled");
    OutputFile file;
    file.type = type;
    file.prefix = prefix;
    file.extension = ".png";
    file.batch_index = i;
    file.width = images.pixels.size(2);
    file.height = images.pixels.size(1);
    ASSIGN_OR_RETURN(const ImageU8 picture, ToImageU8(images.pixels, i));
    ASSIGN_OR_RETURN(file.bytes, EncodePng(picture, level));
    ctx.Emit(std::move(file));
  }
  return OkStatus();
}

struct SaveImage {
  Image images;
  std::string filename_prefix = "ComfyUI";

  static void Describe(NodeSchema<SaveImage>& s) {
    s.Name("Save Image").Category("image").OutputNode().Description("Saves pictures to the output folder.");
    s.Input<&SaveImage::images>("images").Tooltip("The pictures.");
    s.Input<&SaveImage::filename_prefix>("filename_prefix")
        .Default("ComfyUI")
        .Tooltip("May hold %date:yyyy-MM-dd% and the like.");
  }
  Status Run(NodeContext& ctx) const {
    return Guard([&] { return EmitPictures(ctx, images, "output", filename_prefix, 4); });
  }
};
ATELIER_REGISTER_NODE(SaveImage);

struct PreviewImage {
  Image images;

  static void Describe(NodeSchema<PreviewImage>& s) {
    s.Name("Preview Image").Category("image").OutputNode().Description("Shows pictures without keeping them.");
    s.Input<&PreviewImage::images>("images").Tooltip("The pictures.");
  }
  Status Run(NodeContext& ctx) const {
    return Guard([&] { return EmitPictures(ctx, images, "temp", "ComfyUI_temp", 1); });
  }
};
ATELIER_REGISTER_NODE(PreviewImage);

struct MaskPreview {
  Mask mask;

  static void Describe(NodeSchema<MaskPreview>& s) {
    s.Name("MaskPreview").Category("mask").OutputNode().Description("Shows a mask without keeping it.");
    s.Input<&MaskPreview::mask>("mask").Tooltip("The mask; 1 marks the part that counts.");
  }
  Status Run(NodeContext& ctx) const {
    RETURN_IF_ERROR(CheckMask("mask", mask));
    return Guard([&] {
      const at::Tensor grey = mask.values.reshape({-1, mask.values.size(-2), mask.values.size(-1), 1});
      return EmitPictures(ctx, Image{grey.expand({-1, -1, -1, 3}).contiguous()}, "temp", "ComfyUI_temp", 4);
    });
  }
};
ATELIER_REGISTER_NODE(MaskPreview);

struct ImageComparer {
  std::optional<Image> image_a;
  std::optional<Image> image_b;

  static void Describe(NodeSchema<ImageComparer>& s) {
    s.Name("Image Comparer (rgthree)")
        .Category("rgthree")
        .OutputNode()
        .Description("Shows two pictures beside each other without keeping them.");
    s.Input<&ImageComparer::image_a>("image_a").Tooltip("The first pictures.");
    s.Input<&ImageComparer::image_b>("image_b").Tooltip("The second pictures.");
  }
  Status Run(NodeContext& ctx) const {
    for (const std::optional<Image>* image : {&image_a, &image_b})
      if (image->has_value())
        RETURN_IF_ERROR(Guard([&] { return EmitPictures(ctx, **image, "temp", "rgthree.compare._temp", 1); }));
    return OkStatus();
  }
};
ATELIER_REGISTER_NODE_AS(ImageComparer, "Image Comparer (rgthree)");

}  // namespace
}  // namespace atelier::nodes
