// Euler steps that extrapolate the change of slope. Source: spec engine.md 5.5.
#include "worker/sampling/sampler.h"

namespace atelier::engine {
namespace {

struct GradientEstimation {
  float gamma = 2;
  bool cfg_pp = false;

  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    at::Tensor old;
    for (size_t i = 0; i < run.steps(); ++i) {
      const float sigma = run.sigmas[i], next = run.sigmas[i + 1];
      ASSIGN_OR_RETURN(const at::Tensor denoised, run.DenoiseStep(i));
      const at::Tensor d = Slope(run.x, sigma, cfg_pp ? run.negative() : denoised);
      const float dt = next - sigma;
      if (next == 0) {
        run.x = denoised;
      } else {
        run.x = cfg_pp ? denoised + d * next : run.x + d * dt;
        if (old.defined()) run.x = run.x + (gamma - 1) * (d - old) * dt;
      }
      old = d;
    }
    return run.x;
  }
};
ATELIER_REGISTER_SAMPLER("gradient_estimation", 32, GradientEstimation{});
ATELIER_REGISTER_SAMPLER("gradient_estimation_cfg_pp", 33, GradientEstimation{.cfg_pp = true},
                         SamplerTraits{.needs_negative = true});

}  // namespace
}  // namespace atelier::engine
