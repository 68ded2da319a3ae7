// Euler steps with fresh noise after each; flow models take the renoising form. Source: spec engine.md 5.5.
#include "worker/sampling/sampler.h"
#include "worker/sampling/samplers/makers.h"

namespace atelier::engine {
namespace {

struct EulerAncestral {
  float eta = 1, s_noise = 1;

  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    for (size_t i = 0; i < run.steps(); ++i) {
      const float sigma = run.sigmas[i], next = run.sigmas[i + 1];
      ASSIGN_OR_RETURN(const at::Tensor denoised, run.DenoiseStep(i));
      if (run.flow()) {
        if (next == 0) {
          run.x = denoised;
          continue;
        }
        const auto [down, rescale, renoise] = FlowAncestral(sigma, next, eta);
        const float ratio = down / sigma;
        run.x = ratio * run.x + (1 - ratio) * denoised;
        if (eta > 0) run.x = rescale * run.x + run.Noise() * s_noise * renoise;
        continue;
      }
      const auto [down, up] = Ancestral(sigma, next, eta);
      if (down == 0) {
        run.x = denoised;
      } else {
        const at::Tensor d = Slope(run.x, sigma, denoised);
        run.x = run.x + d * (down - sigma) + run.Noise() * s_noise * up;
      }
    }
    return run.x;
  }
};
ATELIER_REGISTER_SAMPLER("euler_ancestral", 2, EulerAncestral{});

}  // namespace

SamplerType EulerAncestralSampler(double eta, double s_noise) {
  return MakeSampler(EulerAncestral{static_cast<float>(eta), static_cast<float>(s_noise)});
}

}  // namespace atelier::engine
