// Masks and pictures into each other. Source: spec engine.md 11.2.
#include "common/graph/frames.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct MaskToImage {
  Mask mask;

  static void Describe(NodeSchema<MaskToImage>& s) {
    s.Name("Convert Mask to Image").Category("mask").Cheap().Description("Shows a mask as a grey picture.");
    s.Input<&MaskToImage::mask>("mask").Tooltip("The mask.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    return Guard([&] {
      const at::Tensor m = mask.values.reshape({-1, mask.values.size(-2), mask.values.size(-1), 1});
      return Image{m.expand({-1, -1, -1, 3}).contiguous()};
    });
  }
};
ATELIER_REGISTER_NODE(MaskToImage);

struct ImageToMask {
  Image image;
  std::string channel = "red";

  static void Describe(NodeSchema<ImageToMask>& s) {
    s.Name("Convert Image to Mask").Category("mask").Cheap().Description("Takes one channel of pictures as a mask.");
    s.Input<&ImageToMask::image>("image").Tooltip("The pictures.");
    s.Input<&ImageToMask::channel>("channel")
        .OneOf({"red", "green", "blue", "alpha"})
        .Tooltip("Which channel to take.");
    s.Output<Mask>("MASK");
  }
  StatusOr<Mask> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    const int64_t index = channel == "red" ? 0 : channel == "green" ? 1 : channel == "blue" ? 2 : 3;
    if (index >= image.pixels.size(3))
      return InvalidArgument("image has ", image.pixels.size(3), " channels, none is ", channel);
    return Guard([&] { return Mask{image.pixels.select(3, index).contiguous()}; });
  }
};
ATELIER_REGISTER_NODE(ImageToMask);

struct SolidMask {
  double value = 1.0;
  int64_t width = 512, height = 512;

  static void Describe(NodeSchema<SolidMask>& s) {
    s.Name("SolidMask").Category("mask").Cheap().Description("A mask of one value.");
    s.Input<&SolidMask::value>("value").Default(1.0).Range(0.0, 1.0).Step(0.01).Tooltip("The value everywhere.");
    s.Input<&SolidMask::width>("width").Default(512).Range(1, 16384).Step(1).Tooltip("Width in pixels.");
    s.Input<&SolidMask::height>("height").Default(512).Range(1, 16384).Step(1).Tooltip("Height in pixels.");
    s.Output<Mask>("MASK");
  }
  StatusOr<Mask> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckTensorSize("mask", {1, height, width}));
    return Guard([&] { return Mask{at::full({1, height, width}, value, at::kFloat)}; });
  }
};
ATELIER_REGISTER_NODE(SolidMask);

struct InvertMask {
  Mask mask;

  static void Describe(NodeSchema<InvertMask>& s) {
    s.Name("InvertMask").Category("mask").Cheap().Description("1 minus the mask.");
    s.Input<&InvertMask::mask>("mask").Tooltip("The mask.");
    s.Output<Mask>("MASK");
  }
  StatusOr<Mask> Run(NodeContext&) const {
    return Guard([&] { return Mask{1.0 - mask.values}; });
  }
};
ATELIER_REGISTER_NODE(InvertMask);

struct ImageInvert {
  Image image;

  static void Describe(NodeSchema<ImageInvert>& s) {
    s.Name("Invert Image").Category("image").Cheap().Description("1 minus the picture.");
    s.Input<&ImageInvert::image>("image").Tooltip("The pictures.");
    PerFrame(s, "image");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    return Guard([&] { return Image{1.0 - image.pixels}; });
  }
};
ATELIER_REGISTER_NODE(ImageInvert);

struct GetImageSize {
  Image image;

  static void Describe(NodeSchema<GetImageSize>& s) {
    s.Name("Get Image Size").Category("image").Cheap().Description("Width, height and number of pictures.");
    s.Input<&GetImageSize::image>("image").Tooltip("The pictures.");
    s.Output<int64_t>("width").Output<int64_t>("height").Output<int64_t>("batch_size");
  }
  StatusOr<std::tuple<int64_t, int64_t, int64_t>> Run(NodeContext&) const {
    return std::tuple(image.pixels.size(2), image.pixels.size(1), image.pixels.size(0));
  }
};
ATELIER_REGISTER_NODE(GetImageSize);

}  // namespace
}  // namespace atelier::nodes
