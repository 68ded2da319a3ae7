// Linear multistep with fixed Adams-Bashforth weights (ipndm) or weights for uneven steps (ipndm_v). Source: spec
// engine.md 5.5.
#include <algorithm>
#include <deque>
#include <vector>

#include "worker/sampling/sampler.h"

namespace atelier::engine {
namespace {

struct Ipndm {
  bool variable = false;

  // Weights of the newest slope, the one before it, ... for the step from levels[i].
  static std::vector<double> FixedWeights(size_t order) {
    switch (order) {
      case 1:
        return {1};
      case 2:
        return {3 / 2.0, -1 / 2.0};
      case 3:
        return {23 / 12.0, -16 / 12.0, 5 / 12.0};
      default:
        return {55 / 24.0, -59 / 24.0, 37 / 24.0, -9 / 24.0};
    }
  }
  static std::vector<double> VariableWeights(const std::vector<float>& levels, size_t i, size_t order) {
    if (order == 1) return {1};
    auto difference = [&](size_t back) {
      return static_cast<double>(levels[i + 1 - back]) - static_cast<double>(levels[i - back]);
    };
    const double h = difference(0), h1 = difference(1);
    double c1 = (2 + h / h1) / 2, c2 = -(h / h1) / 2;
    if (order == 2) return {c1, c2};
    const double h2 = difference(2);
    const double t = (1 - h / (3 * (h + h1)) * (h * (h + h1)) / (h1 * (h1 + h2))) / 2;
    c1 += t;
    c2 -= (1 + h1 / h2) * t;
    double c3 = t * h1 / h2;
    if (order == 3) return {c1, c2, c3};
    const double h3 = difference(3);
    const double t2 = ((1 - h / (3 * (h + h1))) / 2 + (1 - h / (2 * (h + h1))) * h / (6 * (h + h1 + h2))) *
                      (h * (h + h1) * (h + h1 + h2)) / (h1 * (h1 + h2) * (h1 + h2 + h3));
    const double q = h1 * (h1 + h2) / (h2 * (h2 + h3));
    c1 += t2;
    c2 -= (1 + h1 / h2 + q) * t2;
    c3 += (h1 / h2 + q * (1 + h2 / h3)) * t2;
    return {c1, c2, c3, -t2 * q * h1 / h2};
  }

  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    std::deque<at::Tensor> slopes;  // newest first
    for (size_t i = 0; i < run.steps(); ++i) {
      const float sigma = run.sigmas[i], next = run.sigmas[i + 1];
      ASSIGN_OR_RETURN(const at::Tensor denoised, run.DenoiseStep(i));
      slopes.push_front(Slope(run.x, sigma, denoised));
      if (slopes.size() > 4) slopes.pop_back();
      if (next == 0) {
        run.x = denoised;
        continue;
      }
      const size_t order = std::min<size_t>(4, i + 1);
      const std::vector<double> weights = variable ? VariableWeights(run.sigmas, i, order) : FixedWeights(order);
      at::Tensor slope = slopes[0] * weights[0];
      for (size_t j = 1; j < order; ++j) slope = slope + slopes[j] * weights[j];
      run.x = run.x + (next - sigma) * slope;
    }
    return run.x;
  }
};
ATELIER_REGISTER_SAMPLER("ipndm", 25, Ipndm{});
ATELIER_REGISTER_SAMPLER("ipndm_v", 26, Ipndm{.variable = true});

}  // namespace
}  // namespace atelier::engine
