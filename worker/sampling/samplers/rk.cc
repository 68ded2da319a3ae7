// `rk`, an early sampler of RES4LYF: a second-order exponential solver in float32, multistep after
// its first step, which ends linear. Source: spec res4lyf.md 9.
#include <cmath>
#include <cstddef>

#include "worker/sampling/sampler.h"

namespace atelier::engine {
namespace {

float Phi1(float z) { return (std::exp(z) - 1.0f) / z; }
float Phi2(float z) { return (std::exp(z) - 1.0f - z) / (z * z); }

// Weights of a step of width h over two slopes, the second one at the fraction c2 of it.
struct Weights {
  float first, second;
};
Weights Exponential(float h, float c2) {
  const float second = Phi2(-h) / c2;
  return {Phi1(-h) - second, second};
}
// The same to level 0 by the line through the slopes at two levels.
Weights LineToZero(float level, float level_before) {
  const float h = -level, apart = level - level_before;
  return {(level_before * level_before - apart * apart) / (2 * apart) / h, level * level / (2 * -apart) / h};
}

struct Rk {
  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    constexpr float kHalf = 0.5f;
    if (run.steps() < 2) return InvalidArgument("sampler_name \"rk\" got ", run.steps(), " step, it needs 2 or more");
    at::Tensor before;  // the prediction that the next step looks back to
    float width = 0;    // of the last step
    for (size_t i = 0; i < run.steps(); ++i) {
      const float sigma = run.sigmas[i], next = run.sigmas[i + 1];
      const at::Tensor x = run.x;
      ASSIGN_OR_RETURN(const at::Tensor denoised, run.DenoiseStep(i));
      if (next > 0) {
        const float h = std::log(sigma / next);
        if (i == 0) {
          const at::Tensor middle = x + h * kHalf * Phi1(-h * kHalf) * (denoised - x);
          ASSIGN_OR_RETURN(before, run.Denoise(middle, sigma * std::exp(-h * kHalf)));
        }
        const Weights w = Exponential(h, i == 0 ? kHalf : -width / h);
        run.x = x + h * (w.first * (denoised - x) + w.second * (before - x));
        if (i > 0) before = denoised;
        width = h;
        continue;
      }
      const float h = -sigma;
      const at::Tensor slope = Slope(x, sigma, denoised);
      if (i >= 2) {
        const Weights w = LineToZero(sigma, run.sigmas[i - 1]);
        run.x = x + h * (w.first * slope + w.second * Slope(x, sigma, before));
      } else {
        const float level = sigma + h * kHalf;
        const at::Tensor middle = x + h * kHalf * Phi1(-h * kHalf) * slope;
        ASSIGN_OR_RETURN(const at::Tensor second, run.Denoise(middle, level));
        const Weights w = Exponential(h, kHalf);
        run.x = x + h * (w.first * slope + w.second * Slope(middle, level, second));
      }
    }
    return run.x;
  }
};
ATELIER_REGISTER_SAMPLER("rk", 43, Rk{});

}  // namespace
}  // namespace atelier::engine
