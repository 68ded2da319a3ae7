// Levels of evenly spaced timesteps, the lowest one left out. Source: spec engine.md 5.2.
#include "worker/sampling/schedule.h"
#include "worker/sampling/schedules/timesteps.h"

namespace atelier::engine {
namespace {

at::Tensor SgmUniform(const ModelSampling& sampling, int64_t steps) { return TimestepSigmas(sampling, steps, true); }
ATELIER_REGISTER_SCHEDULE(SgmUniform, "sgm_uniform", 1);

}  // namespace
}  // namespace atelier::engine
