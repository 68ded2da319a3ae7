// Evenly spaced in log sigma. Source: spec engine.md 5.2.
#include <cmath>

#include "worker/sampling/schedule.h"

namespace atelier::engine {
namespace {

at::Tensor Exponential(const ModelSampling& sampling, int64_t steps) {
  const double low = std::log(static_cast<double>(sampling.sigma_min()));
  const double high = std::log(static_cast<double>(sampling.sigma_max()));
  return AppendZero(at::linspace(high, low, steps, at::kFloat).exp());
}
ATELIER_REGISTER_SCHEDULE(Exponential, "exponential", 3);

}  // namespace
}  // namespace atelier::engine
