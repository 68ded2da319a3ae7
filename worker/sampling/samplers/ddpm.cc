// Ancestral DDPM steps in variance-preserving scale. Source: spec engine.md 5.5.
#include <cmath>

#include "worker/sampling/sampler.h"

namespace atelier::engine {
namespace {

struct Ddpm {
  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    for (size_t i = 0; i < run.steps(); ++i) {
      const float sigma = run.sigmas[i], next = run.sigmas[i + 1];
      ASSIGN_OR_RETURN(const at::Tensor denoised, run.DenoiseStep(i));
      const float bar = 1 / (sigma * sigma + 1), bar_next = 1 / (next * next + 1), alpha = bar / bar_next;
      const at::Tensor y = run.x / std::sqrt(1.0f + sigma * sigma);
      at::Tensor mean =
          (1.0f / std::sqrt(alpha)) * (y - (1 - alpha) * Slope(run.x, sigma, denoised) / std::sqrt(1 - bar));
      if (next > 0) {
        mean = mean + std::sqrt((1 - alpha) * (1 - bar_next) / (1 - bar)) * run.Noise();
        mean = mean * std::sqrt(1.0f + next * next);
      }
      run.x = mean;
    }
    return run.x;
  }
};
ATELIER_REGISTER_SAMPLER("ddpm", 23, Ddpm{});

}  // namespace
}  // namespace atelier::engine
