// Random clusters and jobs, each from a seed.
#pragma once

#include "tests/sim/sim.h"

namespace atelier::sim {

/// 2 to 24 workers whose speeds differ by 1:1 to 1:20, one job of at least 8 tiles a worker (8 to 64, log-uniform).
Scenario RandomMix(uint64_t seed, const char* order, const char* mode);
/// The same with one more worker, as fast as one of the mix could be.
SimWorker RandomWorker(uint64_t seed);
/// A mix with noise, deaths, hangs, drifts and late workers that nobody knows; one worker stays well.
Scenario RandomStorm(uint64_t seed);

}  // namespace atelier::sim
