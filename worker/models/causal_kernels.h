// The normalisation of video autoencoders on the CPU: one pass over memory for what takes operators of torch five.
#pragma once

#include <cstdint>

namespace atelier::models {

/// y[r][i] = x[r][i] / |x[r]| * scale[i] for `rows` rows of n numbers, side by side; |x[r]| is at least 1e-12. y may be
/// x. Thread: any.
void NormaliseRows(const float* x, const float* scale, float* y, int64_t rows, int64_t n);

}  // namespace atelier::models
