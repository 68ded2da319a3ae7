// Linear for the first half of the steps, quadratic after it. Source: spec engine.md 5.2.
#include "worker/sampling/schedule.h"

namespace atelier::engine {
namespace {

at::Tensor LinearQuadratic(const ModelSampling& sampling, int64_t steps) {
  constexpr double kThreshold = 0.025;
  std::vector<double> done;  // fraction of the noise removed
  if (steps == 1) {
    done = {0.0};
  } else {
    const int64_t linear = steps / 2;
    const auto n = static_cast<double>(steps), l = static_cast<double>(linear);
    const double d = l - kThreshold * n, q = n - l;
    const double a = d / (l * q * q), b = kThreshold / l - 2 * d / (q * q), c = a * (l * l);
    for (int64_t i = 0; i < steps; ++i) {
      const auto x = static_cast<double>(i);
      done.push_back(i < linear ? x * kThreshold / l : a * (x * x) + b * x + c);
    }
  }
  done.push_back(1.0);
  for (double& v : done) v = 1.0 - v;
  return at::tensor(done, at::kFloat) * sampling.sigma_max();
}
ATELIER_REGISTER_SCHEDULE(LinearQuadratic, "linear_quadratic", 7);

}  // namespace
}  // namespace atelier::engine
