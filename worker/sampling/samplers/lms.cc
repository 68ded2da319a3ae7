// Linear multistep: the interpolation polynomial of the last slopes, integrated exactly. Source: spec engine.md 5.5.
#include <algorithm>
#include <deque>

#include "worker/sampling/sampler.h"
#include "worker/sampling/samplers/makers.h"

namespace atelier::engine {
namespace {

// Integral over [from, to] of the Lagrange polynomial of levels[i], levels[i-1], ... (order points) that is 1 at the
// j-th.
double Coefficient(const std::vector<float>& levels, size_t i, size_t order, size_t j, double from, double to) {
  std::vector<double> polynomial{1.0};  // ascending powers
  for (size_t k = 0; k < order; ++k) {
    if (k == j) continue;
    const double root = levels[i - k], scale = static_cast<double>(levels[i - j]) - root;
    std::vector<double> product(polynomial.size() + 1, 0.0);
    for (size_t p = 0; p < polynomial.size(); ++p) {
      product[p + 1] += polynomial[p] / scale;
      product[p] -= polynomial[p] * root / scale;
    }
    polynomial = std::move(product);
  }
  double sum = 0, power_to = to, power_from = from;
  for (size_t p = 0; p < polynomial.size(); ++p) {
    sum += polynomial[p] * (power_to - power_from) / static_cast<double>(p + 1);
    power_to *= to;
    power_from *= from;
  }
  return sum;
}

struct Lms {
  size_t order = 4;

  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    std::deque<at::Tensor> slopes;  // newest first
    for (size_t i = 0; i < run.steps(); ++i) {
      const float sigma = run.sigmas[i], next = run.sigmas[i + 1];
      ASSIGN_OR_RETURN(const at::Tensor denoised, run.DenoiseStep(i));
      slopes.push_front(Slope(run.x, sigma, denoised));
      if (slopes.size() > order) slopes.pop_back();
      if (next == 0) {
        run.x = denoised;
        continue;
      }
      const size_t used = std::min(i + 1, order);
      at::Tensor move;
      for (size_t j = 0; j < used; ++j) {
        const at::Tensor part = slopes[j] * Coefficient(run.sigmas, i, used, j, sigma, next);
        move = move.defined() ? move + part : part;
      }
      run.x = run.x + move;
    }
    return run.x;
  }
};
ATELIER_REGISTER_SAMPLER("lms", 8, Lms{});

}  // namespace

SamplerType LmsSampler(int64_t order) { return MakeSampler(Lms{static_cast<size_t>(order)}); }

}  // namespace atelier::engine
