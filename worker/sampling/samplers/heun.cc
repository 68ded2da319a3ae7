// Euler predictor, average of the slopes at both ends. Source: spec engine.md 5.5.
#include "worker/sampling/sampler.h"

namespace atelier::engine {
namespace {

struct Heun {
  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    for (size_t i = 0; i < run.steps(); ++i) {
      const float sigma = run.sigmas[i], next = run.sigmas[i + 1];
      ASSIGN_OR_RETURN(const at::Tensor denoised, run.DenoiseStep(i));
      const at::Tensor d = Slope(run.x, sigma, denoised);
      const float dt = next - sigma;
      if (next == 0) {
        run.x = run.x + d * dt;
        continue;
      }
      const at::Tensor x2 = run.x + d * dt;
      ASSIGN_OR_RETURN(const at::Tensor denoised2, run.Denoise(x2, next));
      run.x = run.x + (d + Slope(x2, next, denoised2)) / 2 * dt;
    }
    return run.x;
  }
};
ATELIER_REGISTER_SAMPLER("heun", 4, Heun{});

}  // namespace
}  // namespace atelier::engine
