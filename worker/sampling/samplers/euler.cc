// Euler steps; ddim is the same walk with other noise for the kept part of an inpaint run (4.9). Source: spec
// engine.md 5.5.
#include "worker/sampling/sampler.h"

namespace atelier::engine {
namespace {

struct Euler {
  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    for (size_t i = 0; i < run.steps(); ++i) {
      const float sigma = run.sigmas[i], next = run.sigmas[i + 1];
      ASSIGN_OR_RETURN(const at::Tensor denoised, run.DenoiseStep(i));
      const at::Tensor d = Slope(run.x, sigma, denoised);
      run.x = run.x + d * (next - sigma);
    }
    return run.x;
  }
};
ATELIER_REGISTER_SAMPLER("euler", 0, Euler{});
ATELIER_REGISTER_SAMPLER("ddim", 39, Euler{}, SamplerTraits{.mask_noise_seed_offset = 1});

}  // namespace
}  // namespace atelier::engine
