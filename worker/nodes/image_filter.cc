// Filters of pictures: blur, sharpen, morphology, edges, colour spaces. Source: spec engine.md 11.2, 12.4
// (nodes_post_processing, nodes_morphology, nodes_canny), golden image_post; kornia's documented definitions.
#include <algorithm>
#include <cmath>

#include "worker/nodes/gaussian.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

// `pixels` [B,H,W,C] filtered with `kernel` [k,k], mirrored at the borders.
StatusOr<at::Tensor> FilterPixels(const at::Tensor& pixels, const at::Tensor& kernel) {
  const int64_t radius = kernel.size(0) / 2, channels = pixels.size(3);
  if (pixels.size(1) <= radius || pixels.size(2) <= radius)
    return InvalidArgument("picture is ", pixels.size(2), "x", pixels.size(1), ", a radius of ", radius,
                           " needs a larger one");
  const at::Tensor padded = at::reflection_pad2d(pixels.permute({0, 3, 1, 2}), {radius, radius, radius, radius});
  const at::Tensor weights = kernel.repeat({channels, 1, 1}).unsqueeze(1);
  return at::conv2d(padded, weights, at::Tensor(), at::IntArrayRef({1, 1}), at::IntArrayRef({0, 0}),
                    at::IntArrayRef({1, 1}), channels)
      .permute({0, 2, 3, 1})
      .contiguous();
}

struct ImageBlur {
  Image image;
  int64_t blur_radius = 1;
  double sigma = 1.0;

  static void Describe(NodeSchema<ImageBlur>& s) {
    s.Name("Image Blur").Category("image/postprocessing").Description("Blurs pictures.");
    s.Input<&ImageBlur::image>("image").Tooltip("The pictures.");
    s.Input<&ImageBlur::blur_radius>("blur_radius")
        .Default(1)
        .Range(1, 31)
        .Step(1)
        .Tooltip("How many pixels around count.");
    s.Input<&ImageBlur::sigma>("sigma").Default(1.0).Range(0.1, 10.0).Step(0.1).Tooltip(
        "How evenly they count, relative to the radius.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    return Guard([&]() -> StatusOr<Image> {
      ASSIGN_OR_RETURN(at::Tensor blurred, FilterPixels(image.pixels, GaussianKernel(2 * blur_radius + 1, sigma)));
      return Image{std::move(blurred)};
    });
  }
};
ATELIER_REGISTER_NODE(ImageBlur);

struct ImageSharpen {
  Image image;
  int64_t sharpen_radius = 1;
  double sigma = 1.0;
  double alpha = 1.0;

  static void Describe(NodeSchema<ImageSharpen>& s) {
    s.Name("Image Sharpen").Category("image/postprocessing").Description("Sharpens pictures.");
    s.Input<&ImageSharpen::image>("image").Tooltip("The pictures.");
    s.Input<&ImageSharpen::sharpen_radius>("sharpen_radius")
        .Default(1)
        .Range(1, 31)
        .Step(1)
        .Tooltip("How many pixels around count.");
    s.Input<&ImageSharpen::sigma>("sigma").Default(1.0).Range(0.1, 10.0).Step(0.01).Tooltip(
        "How evenly they count, relative to the radius.");
    s.Input<&ImageSharpen::alpha>("alpha").Default(1.0).Range(0.0, 5.0).Step(0.01).Tooltip("How strongly.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    return Guard([&]() -> StatusOr<Image> {
      ASSIGN_OR_RETURN(const at::Tensor sharpened,
                       FilterPixels(image.pixels, SharpenKernel(2 * sharpen_radius + 1, sigma, alpha * 10)));
      return Image{sharpened.clamp(0, 1)};
    });
  }
};
ATELIER_REGISTER_NODE(ImageSharpen);

// The largest value of the size x size window around each pixel of f32 [B,C,H,W]; nothing counts beyond the border.
at::Tensor WindowMax(const at::Tensor& samples, int64_t size) {
  const int64_t before = size / 2, after = size - before - 1;
  const at::Tensor padded = at::constant_pad_nd(samples, {before, after, before, after}, -1e4);
  return at::max_pool2d(at::max_pool2d(padded, {1, size}, {1, 1}), {size, 1}, {1, 1});
}
at::Tensor WindowMin(const at::Tensor& samples, int64_t size) { return -WindowMax(-samples, size); }

struct NamedMorphology {
  const char* name;
  at::Tensor (*apply)(const at::Tensor& samples, int64_t size);
};
constexpr NamedMorphology kMorphology[] = {
    {"erode", WindowMin},
    {"dilate", WindowMax},
    {"open", [](const at::Tensor& s, int64_t k) { return WindowMax(WindowMin(s, k), k); }},
    {"close", [](const at::Tensor& s, int64_t k) { return WindowMin(WindowMax(s, k), k); }},
    {"gradient", [](const at::Tensor& s, int64_t k) { return WindowMax(s, k) - WindowMin(s, k); }},
    {"bottom_hat", [](const at::Tensor& s, int64_t k) { return WindowMin(WindowMax(s, k), k) - s; }},
    {"top_hat", [](const at::Tensor& s, int64_t k) { return s - WindowMax(WindowMin(s, k), k); }},
};

struct Morphology {
  Image image;
  std::string operation = "erode";
  int64_t kernel_size = 3;

  static void Describe(NodeSchema<Morphology>& s) {
    s.Name("ImageMorphology")
        .Category("image/postprocessing")
        .Description("Grows, shrinks or compares light and dark areas.");
    s.Input<&Morphology::image>("image").Tooltip("The pictures.");
    s.Input<&Morphology::operation>("operation")
        .OneOf({"erode", "dilate", "open", "close", "gradient", "bottom_hat", "top_hat"})
        .Tooltip("What to do.");
    s.Input<&Morphology::kernel_size>("kernel_size")
        .Default(3)
        .Range(3, 999)
        .Step(1)
        .Tooltip("Side of the square of pixels that count.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    for (const NamedMorphology& named : kMorphology)
      if (operation == named.name)
        return Guard(
            [&] { return Image{named.apply(image.pixels.movedim(-1, 1), kernel_size).movedim(1, -1).contiguous()}; });
    return InvalidArgument("operation is \"", operation, "\", which is not known");
  }
};
ATELIER_REGISTER_NODE(Morphology);

Status CheckColours(const Image& image) {
  RETURN_IF_ERROR(CheckPixels("image", image));
  if (image.pixels.size(3) != 3) return InvalidArgument("image has ", image.pixels.size(3), " channels, expected 3");
  return OkStatus();
}

struct ImageRGBToYUV {
  Image image;

  static void Describe(NodeSchema<ImageRGBToYUV>& s) {
    s.Name("ImageRGBToYUV")
        .Category("image/batch")
        .Description("Brightness and colour differences of pictures, each as a grey picture.");
    s.Input<&ImageRGBToYUV::image>("image").Tooltip("The pictures.");
    s.Output<Image>("Y").Output<Image>("U").Output<Image>("V");
  }
  StatusOr<std::tuple<Image, Image, Image>> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckColours(image));
    return Guard([&] {
      const at::Tensor r = image.pixels.slice(3, 0, 1), g = image.pixels.slice(3, 1, 2),
                       b = image.pixels.slice(3, 2, 3);
      const at::Tensor y = 0.299 * r + 0.587 * g + 0.114 * b;
      const at::Tensor u = (b - y) * 0.564 + 0.5, v = (r - y) * 0.713 + 0.5;
      auto grey = [](const at::Tensor& t) { return Image{t.expand({-1, -1, -1, 3}).contiguous()}; };
      return std::tuple(grey(y), grey(u), grey(v));
    });
  }
};
ATELIER_REGISTER_NODE(ImageRGBToYUV);

struct ImageYUVToRGB {
  Image Y;
  Image U;
  Image V;

  static void Describe(NodeSchema<ImageYUVToRGB>& s) {
    s.Name("ImageYUVToRGB")
        .Category("image/batch")
        .Description("Puts brightness and colour differences together again.");
    s.Input<&ImageYUVToRGB::Y>("Y").Tooltip("Brightness.");
    s.Input<&ImageYUVToRGB::U>("U").Tooltip("Difference of blue.");
    s.Input<&ImageYUVToRGB::V>("V").Tooltip("Difference of red.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("Y", Y));
    RETURN_IF_ERROR(CheckPixels("U", U));
    RETURN_IF_ERROR(CheckPixels("V", V));
    if (U.pixels.sizes().slice(0, 3) != Y.pixels.sizes().slice(0, 3) ||
        V.pixels.sizes().slice(0, 3) != Y.pixels.sizes().slice(0, 3))
      return InvalidArgument("Y, U and V are ", ShapeText(Y.pixels.sizes()), ", ", ShapeText(U.pixels.sizes()), " and ",
                             ShapeText(V.pixels.sizes()), ", expected equal sizes");
    return Guard([&] {
      const at::Tensor y = Y.pixels.mean(3, true), cb = U.pixels.mean(3, true) - 0.5, cr = V.pixels.mean(3, true) - 0.5;
      return Image{at::cat({y + 1.403 * cr, y - 0.714 * cr - 0.344 * cb, y + 1.773 * cb}, 3).clamp(0, 1)};
    });
  }
};
ATELIER_REGISTER_NODE(ImageYUVToRGB);

// The neighbour of each value of f32 [B,1,H,W] at (dx, dy); 0 beyond the border.
at::Tensor Neighbour(const at::Tensor& t, int64_t dx, int64_t dy) {
  const at::Tensor padded = at::constant_pad_nd(t, {1, 1, 1, 1}, 0.0);
  return padded.narrow(2, 1 + dy, t.size(2)).narrow(3, 1 + dx, t.size(3));
}

// Neighbours by direction, 45 degrees apart, beginning on the right and turning downwards.
constexpr int kDirections[8][2] = {{1, 0}, {1, 1}, {0, 1}, {-1, 1}, {-1, 0}, {-1, -1}, {0, -1}, {1, -1}};

// Canny's edges of grey pictures f32 [B,1,H,W] as 0 and 1. Errors: CANCELLED.
StatusOr<at::Tensor> CannyEdges(const at::Tensor& grey, double low, double high, NodeContext& ctx) {
  const at::Tensor steps = at::arange(5, at::kFloat) - 2;
  const at::Tensor gauss = (-steps.pow(2) / 2.0).exp(), row = (gauss / gauss.sum()).view({1, 1, 1, 5});
  at::Tensor blurred = at::conv2d(at::reflection_pad2d(grey, {2, 2, 2, 2}), row);
  blurred = at::conv2d(blurred, row.transpose(2, 3));
  const at::Tensor across = at::tensor({-1.0F, 0.0F, 1.0F, -2.0F, 0.0F, 2.0F, -1.0F, 0.0F, 1.0F}).view({1, 1, 3, 3});
  const at::Tensor padded = at::replication_pad2d(blurred, {1, 1, 1, 1});
  const at::Tensor gx = at::conv2d(padded, across), gy = at::conv2d(padded, across.transpose(2, 3).contiguous());
  at::Tensor magnitude = (gx * gx + gy * gy + 1e-6).sqrt();
  const at::Tensor angle = at::atan2(gy, gx) * 180.0 / M_PI;
  const at::Tensor sector = (angle / 45).round();
  std::vector<at::Tensor> differences;
  for (const auto& [dx, dy] : kDirections) differences.push_back(magnitude - Neighbour(magnitude, dx, dy));
  const at::Tensor all = at::cat(differences, 1);
  const at::Tensor ahead = all.gather(1, sector.remainder(8).to(at::kLong));
  const at::Tensor behind = all.gather(1, (sector + 4).remainder(8).to(at::kLong));
  magnitude = magnitude * (at::minimum(ahead, behind) > 0).to(at::kFloat);
  const at::Tensor is_high = magnitude > high, is_low = magnitude > low;
  // Weak edges that touch strong ones become strong, until nothing changes.
  at::Tensor strong = is_high.logical_and(is_low);
  const at::Tensor weak = is_low.logical_xor(is_high);
  while (true) {
    if (ctx.cancelled()) return Cancelled("cancelled");
    const at::Tensor near = at::max_pool2d(strong.to(at::kFloat), {3, 3}, {1, 1}, {1, 1}) > 0.5;
    const at::Tensor next = strong.logical_or(weak.logical_and(near));
    if (next.equal(strong)) break;
    strong = next;
  }
  return strong.to(at::kFloat);
}

struct Canny {
  Image image;
  double low_threshold = 0.4;
  double high_threshold = 0.8;

  static void Describe(NodeSchema<Canny>& s) {
    s.Name("Canny").Category("image/preprocessors").Description("White lines where pictures have edges.");
    s.Input<&Canny::image>("image").Tooltip("The pictures.");
    s.Input<&Canny::low_threshold>("low_threshold")
        .Default(0.4)
        .Range(0.01, 0.99)
        .Step(0.01)
        .Tooltip("Weak edges; kept where they touch strong ones.");
    s.Input<&Canny::high_threshold>("high_threshold")
        .Default(0.8)
        .Range(0.01, 0.99)
        .Step(0.01)
        .Tooltip("Strong edges.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext& ctx) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    if (image.pixels.size(3) < 3) return InvalidArgument("image has ", image.pixels.size(3), " channels, expected 3");
    if (image.pixels.size(1) < 3 || image.pixels.size(2) < 3)
      return InvalidArgument("picture is ", image.pixels.size(2), "x", image.pixels.size(1), ", expected at least 3x3");
    if (low_threshold > high_threshold)
      return InvalidArgument("low_threshold is ", low_threshold, ", expected at most high_threshold, ", high_threshold);
    return Guard([&]() -> StatusOr<Image> {
      const at::Tensor p = image.pixels.movedim(-1, 1);
      const at::Tensor grey = 0.299 * p.slice(1, 0, 1) + 0.587 * p.slice(1, 1, 2) + 0.114 * p.slice(1, 2, 3);
      ASSIGN_OR_RETURN(const at::Tensor edges, CannyEdges(grey, low_threshold, high_threshold, ctx));
      return Image{edges.expand({-1, 3, -1, -1}).movedim(1, -1).contiguous()};
    });
  }
};
ATELIER_REGISTER_NODE(Canny);

}  // namespace

at::Tensor GaussianKernel(int64_t size, double sigma) {
  const at::Tensor line = at::linspace(-1, 1, size, at::kFloat);
  const at::Tensor distance = (line.unsqueeze(1).pow(2) + line.unsqueeze(0).pow(2)).sqrt();
  const at::Tensor kernel = (-(distance * distance) / (2.0 * sigma * sigma)).exp();
  return kernel / kernel.sum();
}

at::Tensor SharpenKernel(int64_t size, double sigma, double strength) {
  at::Tensor kernel = GaussianKernel(size, sigma) * -strength;
  const int64_t centre = size / 2;
  kernel[centre][centre] = kernel[centre][centre] - kernel.sum() + 1.0;
  return kernel;
}

}  // namespace atelier::nodes
