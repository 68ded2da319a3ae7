// Evenly spaced in atan sigma (align your steps, KL-optimal); one step gives NaN as in the reference. Source: spec
// engine.md 5.2.
#include <cmath>

#include "worker/sampling/schedule.h"

namespace atelier::engine {
namespace {

at::Tensor KlOptimal(const ModelSampling& sampling, int64_t steps) {
  const double low = std::atan(static_cast<double>(sampling.sigma_min()));
  const double high = std::atan(static_cast<double>(sampling.sigma_max()));
  const at::Tensor r = at::arange(steps, at::kFloat) / (steps - 1);
  return AppendZero((r * low + (1 - r) * high).tan());
}
ATELIER_REGISTER_SCHEDULE(KlOptimal, "kl_optimal", 8);

}  // namespace
}  // namespace atelier::engine
