// LCM that enlarges the latent between its steps. Source: spec engine.md 4.12, 5.5.
#include "worker/nodes/resize.h"
#include "worker/nodes/support.h"
#include "worker/sampling/model_sampling.h"
#include "worker/sampling/sampler.h"

namespace atelier::nodes {
namespace {

using engine::SamplerType;
using engine::SampleRun;

struct LcmUpscale {
  double ratio = 1.0;
  int64_t scale_steps = -1;
  std::string method;

  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    const auto levels = static_cast<int64_t>(run.sigmas.size());
    const int64_t points =
        scale_steps < 0 ? std::max<int64_t>(levels / 2 + 1, 2) : std::min(scale_steps + 1, levels + 1);
    // The reference goes on with the generator that drew the initial noise, which is the CPU's.
    if (run.x.is_cpu()) static_cast<void>(run.Noise());
    const int64_t height = run.x.size(-2), width = run.x.size(-1);
    for (size_t i = 0; i < run.steps(); ++i) {
      const float sigma = run.sigmas[i], next = run.sigmas[i + 1];
      ASSIGN_OR_RETURN(const at::Tensor denoised, run.Denoise(run.x, sigma));
      RETURN_IF_ERROR(run.Report(i, denoised));
      run.x = denoised;
      if (const auto k = static_cast<int64_t>(i) + 1; k < points) {
        const double scale = 1.0 + (ratio - 1.0) * static_cast<double>(k) / static_cast<double>(points - 1);
        const int64_t to_height = RoundHalfEven(static_cast<double>(height) * scale);
        const int64_t to_width = RoundHalfEven(static_cast<double>(width) * scale);
        ASSIGN_OR_RETURN(run.x, ResizeSamples(run.x, to_width, to_height, method, "disabled"));
      }
      if (next > 0)
        run.x = run.sampling.NoiseScaling(at::scalar_tensor(next, run.x.options()), run.Noise(), run.x, false);
    }
    return run.x;
  }
};

struct SamplerLCMUpscale {
  double scale_ratio = 1.0;
  int64_t scale_steps = -1;
  std::string upscale_method;

  static void Describe(NodeSchema<SamplerLCMUpscale>& s) {
    using N = SamplerLCMUpscale;
    s.Name("SamplerLCMUpscale")
        .Category("sampling/custom_sampling/samplers")
        .Description("lcm that enlarges the latent step by step.");
    s.Input<&N::scale_ratio>("scale_ratio").Default(1.0).Range(0.1, 20.0).Step(0.01).Tooltip("In all.");
    s.Input<&N::scale_steps>("scale_steps")
        .Default(-1)
        .Range(-1, 1000)
        .Tooltip("Steps that enlarge; -1: half of them.");
    s.Input<&N::upscale_method>("upscale_method")
        .OneOf({"bislerp", "nearest-exact", "bilinear", "area", "bicubic"})
        .Tooltip("How the latent is enlarged.");
    s.Output<SamplerType>("SAMPLER");
  }
  StatusOr<SamplerType> Run(NodeContext&) const {
    return engine::MakeSampler(LcmUpscale{scale_ratio, scale_steps, upscale_method});
  }
};
ATELIER_REGISTER_NODE(SamplerLCMUpscale);

}  // namespace
}  // namespace atelier::nodes
