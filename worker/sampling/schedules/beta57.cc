// The beta schedule with the exponents 0.5 and 0.7. Source: spec res4lyf.md 2.2.
#include "worker/sampling/schedules/beta.h"

namespace atelier::engine {
namespace {

at::Tensor Beta57(const ModelSampling& sampling, int64_t steps) { return BetaSigmas(sampling, steps, 0.5, 0.7); }
ATELIER_REGISTER_SCHEDULE(Beta57, "beta57", 10);

}  // namespace
}  // namespace atelier::engine
