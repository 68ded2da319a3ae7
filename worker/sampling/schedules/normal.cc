// Levels of evenly spaced timesteps, the lowest one included. Source: spec engine.md 5.2.
#include "worker/sampling/schedule.h"
#include "worker/sampling/schedules/timesteps.h"

namespace atelier::engine {
namespace {

at::Tensor Normal(const ModelSampling& sampling, int64_t steps) { return TimestepSigmas(sampling, steps, false); }
ATELIER_REGISTER_SCHEDULE(Normal, "normal", 6);

}  // namespace
}  // namespace atelier::engine
