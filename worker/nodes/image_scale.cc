// Resizes pictures. Source: spec engine.md 7.2.
#include <algorithm>
#include <cmath>
#include <limits>

#include "common/graph/frames.h"
#include "worker/nodes/resize.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct ImageScale {
  Image image;
  std::string upscale_method;
  int64_t width = 512, height = 512;
  std::string crop = "disabled";

  static void Describe(NodeSchema<ImageScale>& s) {
    s.Name("Upscale Image").Category("image/upscaling").Description("Resizes pictures to a size.");
    s.Input<&ImageScale::image>("image").Tooltip("The pictures.");
    s.Input<&ImageScale::upscale_method>("upscale_method")
        .OneOf(ImageResizeMethods())
        .Tooltip("How pixels are interpolated.");
    s.Input<&ImageScale::width>("width").Default(512).Range(0, 16384).Step(1).Tooltip("0: by the aspect.");
    s.Input<&ImageScale::height>("height").Default(512).Range(0, 16384).Step(1).Tooltip("0: by the aspect.");
    s.Input<&ImageScale::crop>("crop").OneOf(CropMethods()).Tooltip("center cuts to the new aspect first.");
    PerFrame(s, "image");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    if (width == 0 && height == 0) return image;
    const auto w = static_cast<double>(image.pixels.size(2)), h = static_cast<double>(image.pixels.size(1));
    int64_t to_width = width, to_height = height;
    if (width == 0)
      to_width = std::max<int64_t>(1, RoundHalfEven(w * static_cast<double>(height) / h));
    else if (height == 0)
      to_height = std::max<int64_t>(1, RoundHalfEven(h * static_cast<double>(width) / w));
    ASSIGN_OR_RETURN(at::Tensor pixels, ResizePixels(image.pixels, to_width, to_height, upscale_method, crop));
    return Image{std::move(pixels)};
  }
};
ATELIER_REGISTER_NODE(ImageScale);

struct ImageScaleBy {
  Image image;
  std::string upscale_method;
  double scale_by = 1.0;

  static void Describe(NodeSchema<ImageScaleBy>& s) {
    s.Name("Upscale Image By").Category("image/upscaling").Description("Resizes pictures by a factor.");
    s.Input<&ImageScaleBy::image>("image").Tooltip("The pictures.");
    s.Input<&ImageScaleBy::upscale_method>("upscale_method")
        .OneOf(ImageResizeMethods())
        .Tooltip("How pixels are interpolated.");
    s.Input<&ImageScaleBy::scale_by>("scale_by").Default(1.0).Range(0.01, 8.0).Step(0.01).Tooltip("The factor.");
    PerFrame(s, "image");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    const int64_t to_width = RoundHalfEven(static_cast<double>(image.pixels.size(2)) * scale_by);
    const int64_t to_height = RoundHalfEven(static_cast<double>(image.pixels.size(1)) * scale_by);
    ASSIGN_OR_RETURN(at::Tensor pixels, ResizePixels(image.pixels, to_width, to_height, upscale_method, "disabled"));
    return Image{std::move(pixels)};
  }
};
ATELIER_REGISTER_NODE(ImageScaleBy);

struct ImageScaleToTotalPixels {
  Image image;
  std::string upscale_method;
  double megapixels = 1.0;

  static void Describe(NodeSchema<ImageScaleToTotalPixels>& s) {
    s.Name("Scale Image to Total Pixels").Category("image/upscaling");
    s.Description("Resizes pictures to about a number of pixels, aspect kept.");
    s.Input<&ImageScaleToTotalPixels::image>("image").Tooltip("The pictures.");
    s.Input<&ImageScaleToTotalPixels::upscale_method>("upscale_method")
        .OneOf(ImageResizeMethods())
        .Tooltip("How pixels are interpolated.");
    s.Input<&ImageScaleToTotalPixels::megapixels>("megapixels")
        .Default(1.0)
        .Range(0.01, 16.0)
        .Step(0.01)
        .Tooltip("The size in units of 1024 x 1024 pixels.");
    PerFrame(s, "image");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    const auto w = static_cast<double>(image.pixels.size(2)), h = static_cast<double>(image.pixels.size(1));
    const double total = std::trunc(megapixels * 1024 * 1024), scale = std::sqrt(total / (w * h));
    ASSIGN_OR_RETURN(at::Tensor pixels, ResizePixels(image.pixels, RoundHalfEven(w * scale), RoundHalfEven(h * scale),
                                                     upscale_method, "disabled"));
    return Image{std::move(pixels)};
  }
};
ATELIER_REGISTER_NODE(ImageScaleToTotalPixels);

struct ImageScaleToMaxDimension {
  Image image;
  std::string upscale_method = "area";
  int64_t largest_size = 512;

  static void Describe(NodeSchema<ImageScaleToMaxDimension>& s) {
    s.Name("ImageScaleToMaxDimension")
        .Category("image/upscaling")
        .Description("Resizes pictures so that the longer side has a length, aspect kept.");
    s.Input<&ImageScaleToMaxDimension::image>("image").Tooltip("The pictures.");
    s.Input<&ImageScaleToMaxDimension::upscale_method>("upscale_method")
        .OneOf({"area", "lanczos", "bilinear", "nearest-exact", "bilinear", "bicubic"})
        .Tooltip("How pixels are interpolated.");
    s.Input<&ImageScaleToMaxDimension::largest_size>("largest_size")
        .Default(512)
        .Range(0, 16384)
        .Step(1)
        .Tooltip("Length of the longer side in pixels.");
    PerFrame(s, "image");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    const auto w = static_cast<double>(image.pixels.size(2)), h = static_cast<double>(image.pixels.size(1));
    const auto largest = static_cast<double>(largest_size);
    const int64_t to_width = w < h ? RoundHalfEven((w / h) * largest) : largest_size;
    const int64_t to_height = h < w ? RoundHalfEven((h / w) * largest) : largest_size;
    ASSIGN_OR_RETURN(at::Tensor pixels, ResizePixels(image.pixels, to_width, to_height, upscale_method, "disabled"));
    return Image{std::move(pixels)};
  }
};
ATELIER_REGISTER_NODE(ImageScaleToMaxDimension);

// The sizes that FLUX.1 Kontext was trained for, published by its makers.
constexpr int64_t kKontextSizes[][2] = {{672, 1568}, {688, 1504}, {720, 1456},  {752, 1392}, {800, 1328}, {832, 1248},
                                        {880, 1184}, {944, 1104}, {1024, 1024}, {1104, 944}, {1184, 880}, {1248, 832},
                                        {1328, 800}, {1392, 752}, {1456, 720},  {1504, 688}, {1568, 672}};

struct FluxKontextImageScale {
  Image image;

  static void Describe(NodeSchema<FluxKontextImageScale>& s) {
    s.Name("FluxKontextImageScale")
        .Category("advanced/conditioning/flux")
        .Description("Resizes pictures to the size of nearest aspect that FLUX.1 Kontext was trained for.");
    s.Input<&FluxKontextImageScale::image>("image").Tooltip("The pictures.");
    PerFrame(s, "image");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    const double aspect = static_cast<double>(image.pixels.size(2)) / static_cast<double>(image.pixels.size(1));
    int64_t to_width = 0, to_height = 0;
    double best = std::numeric_limits<double>::infinity();
    for (const auto& [width, height] : kKontextSizes) {
      const double distance = std::abs(aspect - static_cast<double>(width) / static_cast<double>(height));
      if (distance >= best) continue;
      best = distance;
      to_width = width;
      to_height = height;
    }
    ASSIGN_OR_RETURN(at::Tensor pixels, ResizePixels(image.pixels, to_width, to_height, "lanczos", "center"));
    return Image{std::move(pixels)};
  }
};
ATELIER_REGISTER_NODE(FluxKontextImageScale);

}  // namespace
}  // namespace atelier::nodes
