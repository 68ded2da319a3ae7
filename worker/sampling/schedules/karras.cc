// Evenly spaced in sigma^(1/7) (Karras et al., 2022). Source: spec engine.md 5.2.
#include <cmath>

#include "worker/sampling/schedule.h"

namespace atelier::engine {
namespace {

at::Tensor Karras(const ModelSampling& sampling, int64_t steps) {
  constexpr double kRho = 7.0;
  const double low = std::pow(static_cast<double>(sampling.sigma_min()), 1 / kRho);
  const double high = std::pow(static_cast<double>(sampling.sigma_max()), 1 / kRho);
  const at::Tensor ramp = at::linspace(0, 1, steps, at::kFloat);
  return AppendZero((high + ramp * (low - high)).pow(kRho));
}
ATELIER_REGISTER_SCHEDULE(Karras, "karras", 2);

}  // namespace
}  // namespace atelier::engine
