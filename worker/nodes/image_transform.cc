// Parts, turns and joins of pictures. Source: spec engine.md 7.2, 11.2, golden image_post, image_composite.
#include <algorithm>
#include <cmath>

#include "common/graph/frames.h"
#include "worker/nodes/composite.h"
#include "worker/nodes/resize.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct ImageCrop {
  Image image;
  int64_t width = 512;
  int64_t height = 512;
  int64_t x = 0;
  int64_t y = 0;

  static void Describe(NodeSchema<ImageCrop>& s) {
    s.Name("Image Crop").Category("image/transform").Description("Cuts a rectangle out of pictures.");
    s.Input<&ImageCrop::image>("image").Tooltip("The pictures.");
    s.Input<&ImageCrop::width>("width").Default(512).Range(1, 16384).Step(1).Tooltip("Width of the part in pixels.");
    s.Input<&ImageCrop::height>("height").Default(512).Range(1, 16384).Step(1).Tooltip("Height of the part in pixels.");
    s.Input<&ImageCrop::x>("x").Default(0).Range(0, 16384).Step(1).Tooltip("Columns from the left.");
    s.Input<&ImageCrop::y>("y").Default(0).Range(0, 16384).Step(1).Tooltip("Rows from the top.");
    PerFrame(s, "image");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    return Guard([&] {
      const int64_t left = std::min(x, image.pixels.size(2) - 1), top = std::min(y, image.pixels.size(1) - 1);
      return Image{image.pixels.slice(1, top, top + height).slice(2, left, left + width).contiguous()};
    });
  }
};
ATELIER_REGISTER_NODE(ImageCrop);

struct ImageFlip {
  Image image;
  std::string flip_method = "x-axis: vertically";

  static void Describe(NodeSchema<ImageFlip>& s) {
    s.Name("ImageFlip").Category("image/transform").Description("Mirrors pictures.");
    s.Input<&ImageFlip::image>("image").Tooltip("The pictures.");
    s.Input<&ImageFlip::flip_method>("flip_method")
        .OneOf({"x-axis: vertically", "y-axis: horizontally"})
        .Tooltip("Which way to mirror.");
    PerFrame(s, "image");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    return Guard([&] { return Image{image.pixels.flip({flip_method.rfind("x-axis", 0) == 0 ? 1 : 2}).contiguous()}; });
  }
};
ATELIER_REGISTER_NODE(ImageFlip);

struct ImageRotate {
  Image image;
  std::string rotation = "none";

  static void Describe(NodeSchema<ImageRotate>& s) {
    s.Name("ImageRotate").Category("image/transform").Description("Turns pictures clockwise.");
    s.Input<&ImageRotate::image>("image").Tooltip("The pictures.");
    s.Input<&ImageRotate::rotation>("rotation")
        .OneOf({"none", "90 degrees", "180 degrees", "270 degrees"})
        .Tooltip("How far, clockwise.");
    PerFrame(s, "image");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    return Guard([&] {
      const int64_t quarters = rotation[0] == '9' ? 1 : rotation[0] == '1' ? 2 : rotation[0] == '2' ? 3 : 0;
      return Image{image.pixels.rot90(quarters, {2, 1}).contiguous()};
    });
  }
};
ATELIER_REGISTER_NODE(ImageRotate);

// Pictures with black around them, centred, to `size` along `dim`.
at::Tensor PadTo(const at::Tensor& pixels, int64_t dim, int64_t size) {
  const int64_t missing = size - pixels.size(dim), before = missing / 2, after = missing - before;
  if (missing == 0) return pixels;
  if (dim == 1) return at::constant_pad_nd(pixels, {0, 0, 0, 0, before, after}, 0.0);
  return at::constant_pad_nd(pixels, {0, 0, before, after}, 0.0);
}

// The last picture repeated up to `items`.
at::Tensor RepeatLast(const at::Tensor& pixels, int64_t items) {
  if (pixels.size(0) >= items) return pixels;
  const at::Tensor last = pixels.narrow(0, pixels.size(0) - 1, 1);
  return at::cat({pixels, last.expand({items - pixels.size(0), -1, -1, -1})}, 0);
}

// One pixel of a named colour, f32 [C].
at::Tensor ColourOf(const std::string& name, int64_t channels) {
  const bool white = name == "white";
  const float rgb[3] = {white || name == "red" ? 1.0F : 0.0F, white || name == "green" ? 1.0F : 0.0F,
                        white || name == "blue" ? 1.0F : 0.0F};
  at::Tensor colour = at::ones({channels}, at::kFloat);
  for (int64_t c = 0; c < std::min<int64_t>(3, channels); ++c) colour[c].fill_(rgb[c]);
  return colour;
}

struct ImageStitch {
  Image image1;
  std::string direction = "right";
  bool match_image_size = true;
  int64_t spacing_width = 0;
  std::string spacing_color = "white";
  std::optional<Image> image2;

  static void Describe(NodeSchema<ImageStitch>& s) {
    s.Name("Image Stitch").Category("image/transform").Description("Puts two pictures beside each other.");
    s.Input<&ImageStitch::image1>("image1").Tooltip("The first pictures.");
    s.Input<&ImageStitch::direction>("direction")
        .OneOf({"right", "down", "left", "up"})
        .Default("right")
        .Tooltip("Where the second picture goes.");
    s.Input<&ImageStitch::match_image_size>("match_image_size")
        .Default(true)
        .Tooltip("Scales the second picture to the side that touches; else black fills up.");
    s.Input<&ImageStitch::spacing_width>("spacing_width")
        .Default(0)
        .Range(0, 1024)
        .Step(2)
        .Tooltip("Width of the gap between them, made even.");
    s.Input<&ImageStitch::spacing_color>("spacing_color")
        .OneOf({"white", "black", "red", "green", "blue"})
        .Default("white")
        .Tooltip("Colour of the gap.");
    s.Input<&ImageStitch::image2>("image2").Tooltip("The second pictures; without them the first ones are the result.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image1", image1));
    if (!image2) return image1;
    RETURN_IF_ERROR(CheckPixels("image2", *image2));
    const bool beside = direction == "left" || direction == "right";
    const int64_t along = beside ? 2 : 1, across = beside ? 1 : 2;
    const int64_t items = std::max(image1.pixels.size(0), image2->pixels.size(0));
    at::Tensor first = RepeatLast(image1.pixels, items), second = RepeatLast(image2->pixels, items);
    if (match_image_size) {
      const double aspect = static_cast<double>(second.size(2)) / static_cast<double>(second.size(1));
      int64_t width = first.size(2), height = first.size(1);
      if (beside)
        width = static_cast<int64_t>(static_cast<double>(height) * aspect);
      else
        height = static_cast<int64_t>(static_cast<double>(width) / aspect);
      ASSIGN_OR_RETURN(second, ResizePixels(second, width, height, "lanczos", "disabled"));
    }
    const int64_t gap = spacing_width + spacing_width % 2, size = std::max(first.size(across), second.size(across));
    const int64_t channels = std::max(first.size(3), second.size(3));
    RETURN_IF_ERROR(
        CheckTensorSize("stitched picture", {items, size, first.size(along) + second.size(along) + gap, channels}));
    return Guard([&] {
      first = WithChannels(PadTo(first, across, size), channels);
      second = WithChannels(PadTo(second, across, size), channels);
      std::vector<at::Tensor> parts = {first};
      if (gap > 0) {
        at::Tensor space = ColourOf(spacing_color, channels);
        parts.push_back(beside ? space.expand({items, size, gap, channels})
                               : space.expand({items, gap, size, channels}));
      }
      parts.push_back(second);
      if (direction == "left" || direction == "up") std::reverse(parts.begin(), parts.end());
      return Image{at::cat(parts, along).contiguous()};
    });
  }
};
ATELIER_REGISTER_NODE(ImageStitch);

struct ResizeAndPadImage {
  Image image;
  int64_t target_width = 512;
  int64_t target_height = 512;
  std::string padding_color = "white";
  std::string interpolation = "area";

  static void Describe(NodeSchema<ResizeAndPadImage>& s) {
    s.Name("ResizeAndPadImage")
        .Category("image/transform")
        .Description("Scales pictures into a frame, aspect kept, and fills up with one colour.");
    s.Input<&ResizeAndPadImage::image>("image").Tooltip("The pictures.");
    s.Input<&ResizeAndPadImage::target_width>("target_width")
        .Default(512)
        .Range(1, 16384)
        .Step(1)
        .Tooltip("Width of the frame in pixels.");
    s.Input<&ResizeAndPadImage::target_height>("target_height")
        .Default(512)
        .Range(1, 16384)
        .Step(1)
        .Tooltip("Height of the frame in pixels.");
    s.Input<&ResizeAndPadImage::padding_color>("padding_color")
        .OneOf({"white", "black"})
        .Tooltip("Colour around the picture.");
    s.Input<&ResizeAndPadImage::interpolation>("interpolation")
        .OneOf({"area", "bicubic", "nearest-exact", "bilinear", "lanczos"})
        .Tooltip("How pixels are interpolated.");
    PerFrame(s, "image");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    const auto w = static_cast<double>(image.pixels.size(2)), h = static_cast<double>(image.pixels.size(1));
    const double scale = std::min(static_cast<double>(target_width) / w, static_cast<double>(target_height) / h);
    const auto width = static_cast<int64_t>(w * scale), height = static_cast<int64_t>(h * scale);
    RETURN_IF_ERROR(CheckTensorSize("padded picture", {image.pixels.size(0), target_height, target_width, 4}));
    ASSIGN_OR_RETURN(const at::Tensor scaled, ResizePixels(image.pixels, width, height, interpolation, "disabled"));
    return Guard([&] {
      at::Tensor frame = at::full({image.pixels.size(0), target_height, target_width, image.pixels.size(3)},
                                  padding_color == "white" ? 1.0 : 0.0, at::kFloat);
      frame.narrow(1, (target_height - height) / 2, height).narrow(2, (target_width - width) / 2, width).copy_(scaled);
      return Image{frame};
    });
  }
};
ATELIER_REGISTER_NODE(ResizeAndPadImage);

struct ImagePadForOutpaint {
  Image image;
  int64_t left = 0;
  int64_t top = 0;
  int64_t right = 0;
  int64_t bottom = 0;
  int64_t feathering = 40;

  static void Describe(NodeSchema<ImagePadForOutpaint>& s) {
    s.Name("Pad Image for Outpainting")
        .Category("image")
        .Description("Adds grey around pictures, and a mask of what is to be painted.");
    s.Input<&ImagePadForOutpaint::image>("image").Tooltip("The pictures.");
    s.Input<&ImagePadForOutpaint::left>("left").Default(0).Range(0, 16384).Step(8).Tooltip(
        "Columns to add on the left.");
    s.Input<&ImagePadForOutpaint::top>("top").Default(0).Range(0, 16384).Step(8).Tooltip("Rows to add at the top.");
    s.Input<&ImagePadForOutpaint::right>("right").Default(0).Range(0, 16384).Step(8).Tooltip(
        "Columns to add on the right.");
    s.Input<&ImagePadForOutpaint::bottom>("bottom").Default(0).Range(0, 16384).Step(8).Tooltip(
        "Rows to add at the bottom.");
    s.Input<&ImagePadForOutpaint::feathering>("feathering")
        .Default(40)
        .Range(0, 16384)
        .Step(1)
        .Tooltip("How far the mask reaches into the old picture.");
    s.Output<Image>("IMAGE").Output<Mask>("MASK");
  }
  StatusOr<std::tuple<Image, Mask>> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    const int64_t h = image.pixels.size(1), w = image.pixels.size(2);
    RETURN_IF_ERROR(CheckTensorSize("padded picture", {image.pixels.size(0), h + top + bottom, w + left + right, 4}));
    return Guard([&] {
      at::Tensor frame =
          at::full({image.pixels.size(0), h + top + bottom, w + left + right, image.pixels.size(3)}, 0.5, at::kFloat);
      frame.narrow(1, top, h).narrow(2, left, w).copy_(image.pixels);
      at::Tensor inside = at::zeros({h, w}, at::kFloat);
      if (feathering > 0 && feathering * 2 < h && feathering * 2 < w) {
        // Distance to the nearest side that grew.
        const at::Tensor row = at::arange(h, at::kFloat), column = at::arange(w, at::kFloat);
        const at::Tensor far = at::full({1}, static_cast<double>(std::max(h, w)), at::kFloat);
        const at::Tensor from_top = top != 0 ? row : far.expand({h}), from_left = left != 0 ? column : far.expand({w});
        const at::Tensor from_bottom = bottom != 0 ? static_cast<double>(h) - row : far.expand({h});
        const at::Tensor from_right = right != 0 ? static_cast<double>(w) - column : far.expand({w});
        const at::Tensor distance = at::minimum(at::minimum(from_top, from_bottom).unsqueeze(1),
                                                at::minimum(from_left, from_right).unsqueeze(0));
        const auto f = static_cast<double>(feathering);
        const at::Tensor v = (f - distance.to(at::kDouble)) / f;
        inside = at::where(distance < f, v * v, at::zeros_like(v)).to(at::kFloat);
      }
      at::Tensor mask = at::ones({h + top + bottom, w + left + right}, at::kFloat);
      mask.narrow(0, top, h).narrow(1, left, w).copy_(inside);
      return std::tuple(Image{frame}, Mask{mask.unsqueeze(0)});
    });
  }
};
ATELIER_REGISTER_NODE(ImagePadForOutpaint);

struct SplitImageWithAlpha {
  Image image;

  static void Describe(NodeSchema<SplitImageWithAlpha>& s) {
    s.Name("Split Image with Alpha")
        .Category("mask/compositing")
        .Description("Takes pictures and their transparency apart.");
    s.Input<&SplitImageWithAlpha::image>("image").Tooltip("The pictures.");
    s.Output<Image>("IMAGE").Output<Mask>("MASK");
  }
  StatusOr<std::tuple<Image, Mask>> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    return Guard([&] {
      const at::Tensor& p = image.pixels;
      const at::Tensor mask = p.size(3) > 3 ? 1.0 - p.select(3, 3) : at::zeros_like(p.select(3, 0));
      return std::tuple(Image{p.slice(3, 0, 3).contiguous()}, Mask{mask.contiguous()});
    });
  }
};
ATELIER_REGISTER_NODE(SplitImageWithAlpha);

}  // namespace
}  // namespace atelier::nodes
