// Weighted slopes at up to three levels. Source: spec engine.md 5.5.
#include "worker/sampling/sampler.h"

namespace atelier::engine {
namespace {

struct HeunPp2 {
  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    const float first = run.sigmas.front(), end = run.sigmas.back();
    for (size_t i = 0; i < run.steps(); ++i) {
      const float sigma = run.sigmas[i], next = run.sigmas[i + 1];
      ASSIGN_OR_RETURN(const at::Tensor denoised, run.DenoiseStep(i));
      const at::Tensor d = Slope(run.x, sigma, denoised);
      const float dt = next - sigma;
      if (next == end) {
        run.x = run.x + d * dt;
        continue;
      }
      const at::Tensor x2 = run.x + d * dt;
      ASSIGN_OR_RETURN(const at::Tensor denoised2, run.Denoise(x2, next));
      const at::Tensor d2 = Slope(x2, next, denoised2);
      const float after = run.sigmas[i + 2];
      if (after == end) {
        const float w2 = next / (2 * first), w1 = 1 - w2;
        run.x = run.x + (d * w1 + d2 * w2) * dt;
        continue;
      }
      const at::Tensor x3 = x2 + d2 * (after - next);
      ASSIGN_OR_RETURN(const at::Tensor denoised3, run.Denoise(x3, after));
      const at::Tensor d3 = Slope(x3, after, denoised3);
      const float w2 = next / (3 * first), w3 = after / (3 * first), w1 = 1 - w2 - w3;
      run.x = run.x + (d * w1 + d2 * w2 + d3 * w3) * dt;
    }
    return run.x;
  }
};
ATELIER_REGISTER_SAMPLER("heunpp2", 5, HeunPp2{});

}  // namespace
}  // namespace atelier::engine
