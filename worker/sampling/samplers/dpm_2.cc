// Second order: the slope half-way in log sigma. The ancestral form adds noise. Source: spec engine.md 5.5.
#include <cmath>

#include "worker/sampling/sampler.h"

namespace atelier::engine {
namespace {

// The level half-way between two in log sigma.
float MidLevel(float a, float b) {
  const float log_a = std::log(a), log_b = std::log(b);
  return std::exp(log_a + 0.5f * (log_b - log_a));
}

struct Dpm2 {
  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    for (size_t i = 0; i < run.steps(); ++i) {
      const float sigma = run.sigmas[i], next = run.sigmas[i + 1];
      ASSIGN_OR_RETURN(const at::Tensor denoised, run.DenoiseStep(i));
      const at::Tensor d = Slope(run.x, sigma, denoised);
      if (next == 0) {
        run.x = run.x + d * (next - sigma);
        continue;
      }
      const float middle = MidLevel(sigma, next);
      const at::Tensor x2 = run.x + d * (middle - sigma);
      ASSIGN_OR_RETURN(const at::Tensor denoised2, run.Denoise(x2, middle));
      run.x = run.x + Slope(x2, middle, denoised2) * (next - sigma);
    }
    return run.x;
  }
};

struct Dpm2Ancestral {
  float eta = 1, s_noise = 1;

  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    for (size_t i = 0; i < run.steps(); ++i) {
      const float sigma = run.sigmas[i], next = run.sigmas[i + 1];
      ASSIGN_OR_RETURN(const at::Tensor denoised, run.DenoiseStep(i));
      float down, rescale = 1, up;
      if (run.flow()) {
        const FlowAncestralStep step = FlowAncestral(sigma, next, eta);
        down = step.down, rescale = step.rescale, up = step.renoise;
      } else {
        const AncestralStep step = Ancestral(sigma, next, eta);
        down = step.down, up = step.up;
      }
      const at::Tensor d = Slope(run.x, sigma, denoised);
      if (down == 0) {
        run.x = run.x + d * (down - sigma);
        continue;
      }
      const float middle = MidLevel(sigma, down);
      const at::Tensor x2 = run.x + d * (middle - sigma);
      ASSIGN_OR_RETURN(const at::Tensor denoised2, run.Denoise(x2, middle));
      run.x = run.x + Slope(x2, middle, denoised2) * (down - sigma);
      if (run.flow()) run.x = rescale * run.x;
      run.x = run.x + run.Noise() * s_noise * up;
    }
    return run.x;
  }
};
ATELIER_REGISTER_SAMPLER("dpm_2", 6, Dpm2{}, SamplerTraits{.discard_penultimate = true});
ATELIER_REGISTER_SAMPLER("dpm_2_ancestral", 7, Dpm2Ancestral{}, SamplerTraits{.discard_penultimate = true});

}  // namespace
}  // namespace atelier::engine
