// Loops over memory on the CPU in the place of several operators of libtorch; no torch in here. Sums have an order that
// depends on the sizes alone, so bytes are the same for any number of threads. Rows lie side by side.
#pragma once

#include <cstdint>

namespace atelier::engine {

/// sums[c] and squares[c]: the sum of x[r][c] and of its square over `rows` rows of n numbers. Thread: any.
void ColumnMoments(const float* x, int64_t rows, int64_t n, double* sums, double* squares);

/// y[r][c] = x[r][c] * scale[c] + shift[c], with SiLU after it if `silu`, for `rows` rows of n numbers. y may be x.
/// Thread: any.
void ScaleRows(const float* x, const float* scale, const float* shift, float* y, int64_t rows, int64_t n, bool silu);

/// y[r][i] = x[r][i] * gelu(x[r][n + i]) for `rows` rows of 2n numbers, GELU by the error function (to 2e-7 of it).
/// Thread: any.
void GatedGelu(const float* x, float* y, int64_t rows, int64_t n);

}  // namespace atelier::engine
