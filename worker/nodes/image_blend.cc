// Blends pictures with each other. Source: spec engine.md 11.2, 12.4 (nodes_post_processing, nodes_compositing), golden
// image_post/blend, image_composite/porterduff.
#include <algorithm>

#include "worker/nodes/composite.h"
#include "worker/nodes/resize.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

using BlendMode = at::Tensor (*)(const at::Tensor& below, const at::Tensor& above);

at::Tensor Overlay(const at::Tensor& a, const at::Tensor& b) {
  return at::where(a <= 0.5, 2 * a * b, 1 - 2 * (1 - a) * (1 - b));
}

at::Tensor SoftLight(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor g = at::where(a <= 0.25, ((16 * a - 12) * a + 4) * a, a.sqrt());
  return at::where(b <= 0.5, a - (1 - 2 * b) * a * (1 - a), a + (2 * b - 1) * (g - a));
}

struct NamedBlend {
  const char* name;
  BlendMode mode;
};
constexpr NamedBlend kBlends[] = {
    {"normal", [](const at::Tensor&, const at::Tensor& b) { return b; }},
    {"multiply", [](const at::Tensor& a, const at::Tensor& b) { return a * b; }},
    {"screen", [](const at::Tensor& a, const at::Tensor& b) { return 1 - (1 - a) * (1 - b); }},
    {"overlay", Overlay},
    {"soft_light", SoftLight},
    {"difference", [](const at::Tensor& a, const at::Tensor& b) { return a - b; }},
};

struct ImageBlend {
  Image image1;
  Image image2;
  double blend_factor = 0.5;
  std::string blend_mode = "normal";

  static void Describe(NodeSchema<ImageBlend>& s) {
    s.Name("Image Blend").Category("image/postprocessing").Description("Blends two pictures.");
    s.Input<&ImageBlend::image1>("image1").Tooltip("The lower pictures.");
    s.Input<&ImageBlend::image2>("image2").Tooltip("The upper pictures, brought to the size of the lower.");
    s.Input<&ImageBlend::blend_factor>("blend_factor")
        .Default(0.5)
        .Range(0.0, 1.0)
        .Step(0.01)
        .Tooltip("Share of the blend; 0 is the lower picture alone.");
    s.Input<&ImageBlend::blend_mode>("blend_mode")
        .OneOf({"normal", "multiply", "screen", "overlay", "soft_light", "difference"})
        .Tooltip("How colours meet.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image1", image1));
    RETURN_IF_ERROR(CheckPixels("image2", image2));
    at::Tensor above = WithChannels(image2.pixels, image1.pixels.size(3));
    if (above.size(1) != image1.pixels.size(1) || above.size(2) != image1.pixels.size(2)) {
      ASSIGN_OR_RETURN(above, ResizePixels(above, image1.pixels.size(2), image1.pixels.size(1), "bicubic", "center"));
    }
    if (above.size(0) != 1 && image1.pixels.size(0) != 1 && above.size(0) != image1.pixels.size(0))
      return InvalidArgument("image2 has ", above.size(0), " pictures, image1 ", image1.pixels.size(0),
                             "; expected as many, or one");
    for (const NamedBlend& blend : kBlends)
      if (blend_mode == blend.name)
        return Guard([&] {
          const at::Tensor blended = blend.mode(image1.pixels, above);
          return Image{(image1.pixels * (1 - blend_factor) + blended * blend_factor).clamp(0, 1)};
        });
    return InvalidArgument("blend_mode is \"", blend_mode, "\", which is not known");
  }
};
ATELIER_REGISTER_NODE(ImageBlend);

// Colours multiplied with opacity, f32 [H,W,C], and opacity [H,W,1].
struct Layer {
  at::Tensor colour, opacity;
};
using PorterDuffMode = Layer (*)(const Layer& s, const Layer& d);

at::Tensor Union(const Layer& s, const Layer& d) { return s.opacity + d.opacity - s.opacity * d.opacity; }
at::Tensor Apart(const Layer& s, const Layer& d) { return (1 - d.opacity) * s.colour + (1 - s.opacity) * d.colour; }

Layer OverlayLayers(const Layer& s, const Layer& d) {
  return {at::where(2 * d.colour < d.opacity, 2 * s.colour * d.colour,
                    s.opacity * d.opacity - 2 * (d.opacity - s.colour) * (s.opacity - d.colour)),
          Union(s, d)};
}

struct NamedPorterDuff {
  const char* name;
  PorterDuffMode mode;
};
constexpr NamedPorterDuff kPorterDuff[] = {
    {"ADD",
     [](const Layer& s, const Layer& d) -> Layer {
       return {(s.colour + d.colour).clamp(0, 1), (s.opacity + d.opacity).clamp(0, 1)};
     }},
    {"CLEAR",
     [](const Layer& s, const Layer& d) -> Layer {
       return {at::zeros_like(d.colour), at::zeros_like(s.opacity)};
     }},
    {"DARKEN",
     [](const Layer& s, const Layer& d) -> Layer {
       return {Apart(s, d) + at::minimum(s.colour, d.colour), Union(s, d)};
     }},
    {"DST", [](const Layer&, const Layer& d) -> Layer { return d; }},
    {"DST_ATOP",
     [](const Layer& s, const Layer& d) -> Layer {
       return {s.opacity * d.colour + (1 - d.opacity) * s.colour, s.opacity};
     }},
    {"DST_IN",
     [](const Layer& s, const Layer& d) -> Layer {
       return {d.colour * s.opacity, s.opacity * d.opacity};
     }},
    {"DST_OUT",
     [](const Layer& s, const Layer& d) -> Layer {
       return {(1 - s.opacity) * d.colour, (1 - s.opacity) * d.opacity};
     }},
    {"DST_OVER",
     [](const Layer& s, const Layer& d) -> Layer {
       return {d.colour + (1 - d.opacity) * s.colour, d.opacity + (1 - d.opacity) * s.opacity};
     }},
    {"LIGHTEN",
     [](const Layer& s, const Layer& d) -> Layer {
       return {Apart(s, d) + at::maximum(s.colour, d.colour), Union(s, d)};
     }},
    {"MULTIPLY",
     [](const Layer& s, const Layer& d) -> Layer {
       return {s.colour * d.colour, s.opacity * d.opacity};
     }},
    {"OVERLAY", OverlayLayers},
    {"SCREEN",
     [](const Layer& s, const Layer& d) -> Layer {
       return {s.colour + d.colour - s.colour * d.colour, Union(s, d)};
     }},
    {"SRC", [](const Layer& s, const Layer&) -> Layer { return s; }},
    {"SRC_ATOP",
     [](const Layer& s, const Layer& d) -> Layer {
       return {d.opacity * s.colour + (1 - s.opacity) * d.colour, d.opacity};
     }},
    {"SRC_IN",
     [](const Layer& s, const Layer& d) -> Layer {
       return {s.colour * d.opacity, s.opacity * d.opacity};
     }},
    {"SRC_OUT",
     [](const Layer& s, const Layer& d) -> Layer {
       return {(1 - d.opacity) * s.colour, (1 - d.opacity) * s.opacity};
     }},
    {"SRC_OVER",
     [](const Layer& s, const Layer& d) -> Layer {
       return {s.colour + (1 - s.opacity) * d.colour, s.opacity + (1 - s.opacity) * d.opacity};
     }},
    {"XOR",
     [](const Layer& s, const Layer& d) -> Layer {
       return {Apart(s, d), (1 - d.opacity) * s.opacity + (1 - s.opacity) * d.opacity};
     }},
};

// A mask as opacity f32 [B,H,W,1] of a size.
StatusOr<at::Tensor> Opacity(std::string_view what, const Mask& mask, int64_t width, int64_t height) {
  RETURN_IF_ERROR(CheckMask(what, mask));
  at::Tensor m = mask.values.reshape({-1, mask.values.size(-2), mask.values.size(-1), 1});
  if (m.size(1) != height || m.size(2) != width) {
    ASSIGN_OR_RETURN(m, ResizePixels(m, width, height, "bicubic", "center"));
  }
  return Guard([&] { return 1 - m; });
}

struct PorterDuffImageComposite {
  Image source;
  Mask source_alpha;
  Image destination;
  Mask destination_alpha;
  std::string mode = "DST";

  static void Describe(NodeSchema<PorterDuffImageComposite>& s) {
    s.Name("Porter-Duff Image Composite")
        .Category("mask/compositing")
        .Description("Lays transparent pictures over each other by one of the Porter-Duff rules.");
    s.Input<&PorterDuffImageComposite::source>("source").Tooltip(
        "The upper pictures, brought to the size of the lower.");
    s.Input<&PorterDuffImageComposite::source_alpha>("source_alpha")
        .Tooltip("Transparency of the upper pictures; 1 is transparent.");
    s.Input<&PorterDuffImageComposite::destination>("destination").Tooltip("The lower pictures.");
    s.Input<&PorterDuffImageComposite::destination_alpha>("destination_alpha")
        .Tooltip("Transparency of the lower pictures; 1 is transparent.");
    s.Input<&PorterDuffImageComposite::mode>("mode")
        .OneOf({"ADD", "CLEAR", "DARKEN", "DST", "DST_ATOP", "DST_IN", "DST_OUT", "DST_OVER", "LIGHTEN", "MULTIPLY",
                "OVERLAY", "SCREEN", "SRC", "SRC_ATOP", "SRC_IN", "SRC_OUT", "SRC_OVER", "XOR"})
        .Default("DST")
        .Tooltip("The rule.");
    s.Output<Image>("IMAGE").Output<Mask>("MASK");
  }
  StatusOr<std::tuple<Image, Mask>> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("source", source));
    RETURN_IF_ERROR(CheckPixels("destination", destination));
    const int64_t width = destination.pixels.size(2), height = destination.pixels.size(1);
    at::Tensor above = WithChannels(source.pixels, destination.pixels.size(3));
    if (above.size(1) != height || above.size(2) != width) {
      ASSIGN_OR_RETURN(above, ResizePixels(above, width, height, "bicubic", "center"));
    }
    ASSIGN_OR_RETURN(const at::Tensor s_opacity, Opacity("source_alpha", source_alpha, width, height));
    ASSIGN_OR_RETURN(const at::Tensor d_opacity, Opacity("destination_alpha", destination_alpha, width, height));
    const int64_t items = std::min({above.size(0), s_opacity.size(0), destination.pixels.size(0), d_opacity.size(0)});
    for (const NamedPorterDuff& rule : kPorterDuff)
      if (mode == rule.name)
        return Guard([&] {
          auto layer = [items](const at::Tensor& colour, const at::Tensor& opacity) {
            const at::Tensor o = opacity.slice(0, 0, items);
            return Layer{colour.slice(0, 0, items) * o, o};
          };
          const Layer out = rule.mode(layer(above, s_opacity), layer(destination.pixels, d_opacity));
          const at::Tensor plain =
              at::where(out.opacity > 1e-5, out.colour / out.opacity, at::zeros_like(out.colour)).clamp(0, 1);
          return std::tuple(Image{plain.contiguous()}, Mask{(1 - out.opacity).squeeze(-1).contiguous()});
        });
    return InvalidArgument("mode is \"", mode, "\", which is not known");
  }
};
ATELIER_REGISTER_NODE(PorterDuffImageComposite);

}  // namespace
}  // namespace atelier::nodes
