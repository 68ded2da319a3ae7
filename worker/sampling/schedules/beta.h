// The beta schedule with other exponents, for BetaSamplingScheduler. Source: spec engine.md 4.12, 5.2.
#pragma once

#include "worker/sampling/schedule.h"

namespace atelier::engine {

/// Inverse of the regularised incomplete beta function: x in 0..1 with I_x(a, b) = p. Thread: any.
double BetaQuantile(double p, double a, double b);

/// f32 levels at the quantiles of Beta(alpha, beta), ending in 0; equal neighbours are merged. Thread: any.
at::Tensor BetaSigmas(const ModelSampling& sampling, int64_t steps, double alpha, double beta);

}  // namespace atelier::engine
