// What `normal` and `sgm_uniform` share. Source: spec engine.md 5.2.
#pragma once

#include "worker/sampling/schedule.h"

namespace atelier::engine {

/// Levels of timesteps evenly spaced between those of sigma_max and sigma_min; `open` leaves the last one out. f32,
/// ends in 0.
at::Tensor TimestepSigmas(const ModelSampling& sampling, int64_t steps, bool open);

}  // namespace atelier::engine
