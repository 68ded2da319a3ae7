// Pastes latents and pictures into others. Source: spec engine.md 7.2, 12.4 (nodes, nodes_mask), golden latent_ops,
// image_composite.
#include "worker/nodes/composite.h"

#include <algorithm>

#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

// Python's slice [from:to] of `size`, as a clipped range.
std::pair<int64_t, int64_t> PythonRange(int64_t from, int64_t to, int64_t size) {
  auto clip = [size](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + size : i, 0, size); };
  const int64_t begin = clip(from), end = clip(to);
  return {begin, std::max(begin, end)};
}

void Scale(at::Tensor& mask, int64_t dim, int64_t from, double factor) {
  const auto [begin, end] = PythonRange(from, from + 1, mask.size(dim));
  mask.slice(dim, begin, end).mul_(factor);
}

struct LatentComposite {
  Latent samples_to;
  Latent samples_from;
  int64_t x = 0;
  int64_t y = 0;
  int64_t feather = 0;

  static void Describe(NodeSchema<LatentComposite>& s) {
    s.Name("Latent Composite")
        .Category("latent")
        .Description("Pastes one latent into another, with soft edges if wished.");
    s.Input<&LatentComposite::samples_to>("samples_to").Tooltip("The latent to paste into.");
    s.Input<&LatentComposite::samples_from>("samples_from").Tooltip("The latent to paste.");
    s.Input<&LatentComposite::x>("x").Default(0).Range(0, 16384).Step(8).Tooltip("Pixels from the left.");
    s.Input<&LatentComposite::y>("y").Default(0).Range(0, 16384).Step(8).Tooltip("Pixels from the top.");
    s.Input<&LatentComposite::feather>("feather").Default(0).Range(0, 16384).Step(8).Tooltip(
        "Width of the soft edge in pixels; edges on the border stay hard.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSamples("samples_to", samples_to));
    RETURN_IF_ERROR(CheckSamples("samples_from", samples_from));
    return Guard([&]() -> StatusOr<Latent> {
      Latent result = samples_to;
      at::Tensor to = samples_to.samples.clone();
      const int64_t left = x / kPixelsPerLatent, top = y / kPixelsPerLatent, soft = feather / kPixelsPerLatent;
      const int64_t width = to.size(-1), height = to.size(-2);
      result.samples = to;
      if (left >= width || top >= height) return result;
      const at::Tensor from = samples_from.samples.slice(-2, 0, height - top).slice(-1, 0, width - left);
      at::Tensor region = to.narrow(-2, top, from.size(-2)).narrow(-1, left, from.size(-1));
      if (from.dim() != to.dim() || from.size(1) != to.size(1) || (from.size(0) != 1 && from.size(0) != to.size(0)))
        return InvalidArgument("samples_from is ", ShapeText(from.sizes()), ", which does not fit into samples_to of ",
                               ShapeText(to.sizes()));
      if (soft == 0) {
        region.copy_(from.expand_as(region));
        return result;
      }
      at::Tensor mask = at::ones_like(from);
      for (int64_t t = 0; t < soft; ++t) {
        const double factor = (1.0 / static_cast<double>(soft)) * static_cast<double>(t + 1);
        if (top != 0) Scale(mask, -2, t, factor);
        if (top + from.size(-2) < height) Scale(mask, -2, from.size(-2) - 1 - t, factor);
        if (left != 0) Scale(mask, -1, t, factor);
        if (left + from.size(-1) < width) Scale(mask, -1, from.size(-1) - 1 - t, factor);
      }
      region.copy_(from * mask + region * (1.0 - mask));
      return result;
    });
  }
};
ATELIER_REGISTER_NODE(LatentComposite);

struct LatentCompositeMasked {
  Latent destination;
  Latent source;
  int64_t x = 0;
  int64_t y = 0;
  bool resize_source = false;
  std::optional<Mask> mask;

  static void Describe(NodeSchema<LatentCompositeMasked>& s) {
    s.Name("LatentCompositeMasked")
        .Category("latent")
        .Description("Pastes one latent into another where a mask is set.");
    s.Input<&LatentCompositeMasked::destination>("destination").Tooltip("The latent to paste into.");
    s.Input<&LatentCompositeMasked::source>("source").Tooltip("The latent to paste.");
    s.Input<&LatentCompositeMasked::x>("x").Default(0).Range(0, 16384).Step(8).Tooltip("Pixels from the left.");
    s.Input<&LatentCompositeMasked::y>("y").Default(0).Range(0, 16384).Step(8).Tooltip("Pixels from the top.");
    s.Input<&LatentCompositeMasked::resize_source>("resize_source")
        .Default(false)
        .Tooltip("Brings the source to the size of the destination first.");
    s.Input<&LatentCompositeMasked::mask>("mask").Tooltip(
        "Where to paste; scaled to the source. All of it when absent.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSamples("destination", destination));
    RETURN_IF_ERROR(CheckSamples("source", source));
    Latent result = destination;
    ASSIGN_OR_RETURN(result.samples,
                     CompositeMasked(destination.samples, source.samples, x, y, mask ? mask->values : at::Tensor(),
                                     kPixelsPerLatent, resize_source));
    return result;
  }
};
ATELIER_REGISTER_NODE(LatentCompositeMasked);

struct ImageCompositeMasked {
  Image destination;
  Image source;
  int64_t x = 0;
  int64_t y = 0;
  bool resize_source = false;
  std::optional<Mask> mask;

  static void Describe(NodeSchema<ImageCompositeMasked>& s) {
    s.Name("ImageCompositeMasked")
        .Category("image")
        .Description("Pastes one picture into another where a mask is set.");
    s.Input<&ImageCompositeMasked::destination>("destination").Tooltip("The pictures to paste into.");
    s.Input<&ImageCompositeMasked::source>("source").Tooltip("The pictures to paste.");
    s.Input<&ImageCompositeMasked::x>("x").Default(0).Range(0, 16384).Step(1).Tooltip("Columns from the left.");
    s.Input<&ImageCompositeMasked::y>("y").Default(0).Range(0, 16384).Step(1).Tooltip("Rows from the top.");
    s.Input<&ImageCompositeMasked::resize_source>("resize_source")
        .Default(false)
        .Tooltip("Brings the source to the size of the destination first.");
    s.Input<&ImageCompositeMasked::mask>("mask").Tooltip(
        "Where to paste; scaled to the source. All of it when absent.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("destination", destination));
    RETURN_IF_ERROR(CheckPixels("source", source));
    const at::Tensor to = destination.pixels.movedim(-1, 1);
    const at::Tensor from = WithChannels(source.pixels, destination.pixels.size(3)).movedim(-1, 1);
    ASSIGN_OR_RETURN(const at::Tensor pasted,
                     CompositeMasked(to, from, x, y, mask ? mask->values : at::Tensor(), 1, resize_source));
    return Image{pasted.movedim(1, -1).contiguous()};
  }
};
ATELIER_REGISTER_NODE(ImageCompositeMasked);

}  // namespace

StatusOr<at::Tensor> CompositeMasked(const at::Tensor& destination, const at::Tensor& source, int64_t x, int64_t y,
                                     const at::Tensor& mask, int64_t multiplier, bool resize_source) {
  if (destination.dim() != 4 || source.dim() != 4 || destination.size(1) != source.size(1))
    return InvalidArgument("source is ", ShapeText(source.sizes()), ", which does not fit into a destination of ",
                           ShapeText(destination.sizes()));
  if (mask.defined() && mask.numel() == 0) return InvalidArgument("mask is empty");
  return Guard([&] {
    at::Tensor from = source;
    if (resize_source) from = at::upsample_bilinear2d(from, {destination.size(2), destination.size(3)}, false);
    from = RepeatToBatch(from, destination.size(0));
    const int64_t left = std::clamp(x, -from.size(3) * multiplier, destination.size(3) * multiplier) / multiplier;
    const int64_t top = std::clamp(y, -from.size(2) * multiplier, destination.size(2) * multiplier) / multiplier;
    const int64_t width = std::min(from.size(3), destination.size(3) - left);
    const int64_t height = std::min(from.size(2), destination.size(2) - top);
    at::Tensor result = destination.clone();
    if (width <= 0 || height <= 0) return result;
    at::Tensor weight = at::ones({1, 1, 1, 1}, at::kFloat);
    if (mask.defined()) {
      weight = at::upsample_bilinear2d(mask.reshape({-1, 1, mask.size(-2), mask.size(-1)}),
                                       {from.size(2), from.size(3)}, false);
      weight = RepeatToBatch(weight, from.size(0)).slice(2, 0, height).slice(3, 0, width);
    }
    at::Tensor region = result.narrow(2, top, height).narrow(3, left, width);
    region.copy_(weight * from.slice(2, 0, height).slice(3, 0, width) + (1.0 - weight) * region);
    return result;
  });
}

at::Tensor WithChannels(const at::Tensor& pixels, int64_t channels) {
  const int64_t have = pixels.size(3);
  if (have >= channels) return pixels.slice(3, 0, channels);
  return at::constant_pad_nd(pixels, {0, channels - have}, 1.0);
}

}  // namespace atelier::nodes
