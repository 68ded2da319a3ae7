// Resizes latents. Source: spec engine.md 7.2.
#include <algorithm>

#include "worker/nodes/resize.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct LatentUpscale {
  Latent samples;
  std::string upscale_method;
  int64_t width = 512, height = 512;
  std::string crop = "disabled";

  static void Describe(NodeSchema<LatentUpscale>& s) {
    s.Name("Upscale Latent").Category("latent").Description("Resizes a latent to a size in pixels.");
    s.Input<&LatentUpscale::samples>("samples").Tooltip("The latents.");
    s.Input<&LatentUpscale::upscale_method>("upscale_method")
        .OneOf(LatentResizeMethods())
        .Tooltip("How pixels are interpolated.");
    s.Input<&LatentUpscale::width>("width").Default(512).Range(0, 16384).Step(8).Tooltip("0: by the aspect.");
    s.Input<&LatentUpscale::height>("height").Default(512).Range(0, 16384).Step(8).Tooltip("0: by the aspect.");
    s.Input<&LatentUpscale::crop>("crop").OneOf(CropMethods()).Tooltip("center cuts to the new aspect first.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSamples("samples", samples));
    if (width == 0 && height == 0) return samples;
    const auto w = static_cast<double>(samples.samples.size(-1)), h = static_cast<double>(samples.samples.size(-2));
    int64_t to_width = std::max<int64_t>(64, width), to_height = std::max<int64_t>(64, height);
    if (width == 0)
      to_width = std::max<int64_t>(64, RoundHalfEven(w * static_cast<double>(to_height) / h));
    else if (height == 0)
      to_height = std::max<int64_t>(64, RoundHalfEven(h * static_cast<double>(to_width) / w));
    Latent result = samples;
    ASSIGN_OR_RETURN(result.samples, ResizeSamples(samples.samples, to_width / 8, to_height / 8, upscale_method, crop));
    return result;
  }
};
ATELIER_REGISTER_NODE(LatentUpscale);

struct LatentUpscaleBy {
  Latent samples;
  std::string upscale_method;
  double scale_by = 1.5;

  static void Describe(NodeSchema<LatentUpscaleBy>& s) {
    s.Name("Upscale Latent By").Category("latent").Description("Resizes a latent by a factor.");
    s.Input<&LatentUpscaleBy::samples>("samples").Tooltip("The latents.");
    s.Input<&LatentUpscaleBy::upscale_method>("upscale_method")
        .OneOf(LatentResizeMethods())
        .Tooltip("How pixels are interpolated.");
    s.Input<&LatentUpscaleBy::scale_by>("scale_by").Default(1.5).Range(0.01, 8.0).Step(0.01).Tooltip("The factor.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSamples("samples", samples));
    const int64_t to_width = RoundHalfEven(static_cast<double>(samples.samples.size(-1)) * scale_by);
    const int64_t to_height = RoundHalfEven(static_cast<double>(samples.samples.size(-2)) * scale_by);
    Latent result = samples;
    ASSIGN_OR_RETURN(result.samples, ResizeSamples(samples.samples, to_width, to_height, upscale_method, "disabled"));
    return result;
  }
};
ATELIER_REGISTER_NODE(LatentUpscaleBy);

}  // namespace
}  // namespace atelier::nodes
