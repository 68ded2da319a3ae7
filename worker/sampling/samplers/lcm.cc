// Latent consistency: jump to the prediction, noise it again. Source: spec engine.md 5.5.
#include "worker/sampling/sampler.h"

namespace atelier::engine {
namespace {

struct Lcm {
  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    for (size_t i = 0; i < run.steps(); ++i) {
      const float next = run.sigmas[i + 1];
      ASSIGN_OR_RETURN(const at::Tensor denoised, run.DenoiseStep(i));
      run.x = denoised;
      if (next > 0)
        run.x = run.sampling.NoiseScaling(at::scalar_tensor(next, run.x.options()), run.Noise(), run.x, false);
    }
    return run.x;
  }
};
ATELIER_REGISTER_SAMPLER("lcm", 24, Lcm{});

}  // namespace
}  // namespace atelier::engine
