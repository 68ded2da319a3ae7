#include "worker/engine/vector_kernels.h"

#include <algorithm>
#include <cstring>

// The choice at load time runs before a sanitizer's runtime is set up, so there the baseline must do.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define ATELIER_VECTOR_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define ATELIER_VECTOR_CLONES
#endif
#define ATELIER_INLINE inline __attribute__((always_inline))

namespace atelier::engine {
namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kColumns = 4 * kLanes;  // summed at once, in registers
constexpr int64_t kShortSum = 64;         // rows that are summed in float32 before they go into float64
using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));
using Whole = int32_t __attribute__((vector_size(kLanes * sizeof(int32_t))));

ATELIER_INLINE void Load(const float* from, Lanes& to) { std::memcpy(&to, from, sizeof to); }
ATELIER_INLINE void Store(const Lanes& from, float* to) { std::memcpy(to, &from, sizeof from); }

// e^x to about one unit in the last place; x is bounded to where float32 has a result.
ATELIER_INLINE void Exp(Lanes& x) {
  const Lanes high = Lanes{} + 88.0f, low = Lanes{} - 87.0f;
  x = x > high ? high : x;
  x = x < low ? low : x;
  // The nearest whole number by the rounding of an addition.
  constexpr float kRound = 12582912.0f;
  const Lanes n = (x * 1.44269504f + kRound) - kRound;
  const Lanes r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  Lanes p = Lanes{} + 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const Whole bits = (__builtin_convertvector(n, Whole) + 127) << 23;
  Lanes power;
  std::memcpy(&power, &bits, sizeof power);
  x = p * power;
}

ATELIER_INLINE void Silu(Lanes& x) {
  Lanes e = -x;
  Exp(e);
  x = x / (1.0f + e);
}

// x * (1 + erf(x / sqrt 2)) / 2, the error function by Abramowitz and Stegun 7.1.26.
ATELIER_INLINE void Gelu(Lanes& x) {
  const Lanes z = x * 0.70710678118654752f;
  const Lanes a = z < 0.0f ? -z : z;
  const Lanes t = 1.0f / (1.0f + a * 0.3275911f);
  Lanes p = t * 1.061405429f - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  p = p * t;
  Lanes e = -(a * a);
  Exp(e);
  const Lanes tail = p * e;  // 1 - erf(|z|)
  x = x * 0.5f * (z < 0.0f ? tail : 2.0f - tail);
}

template <void (*F)(Lanes&)>
ATELIER_INLINE float One(float v) {
  Lanes lanes = Lanes{} + v;
  F(lanes);
  return lanes[0];
}

}  // namespace

ATELIER_VECTOR_CLONES void ColumnMoments(const float* x, int64_t rows, int64_t n, double* sums, double* squares) {
  std::fill_n(sums, n, 0.0);
  std::fill_n(squares, n, 0.0);
  for (int64_t r = 0; r < rows; r += kShortSum) {
    const int64_t count = std::min(kShortSum, rows - r);
    int64_t c = 0;
    for (; c + kColumns <= n; c += kColumns) {
      Lanes s0{}, s1{}, s2{}, s3{}, q0{}, q1{}, q2{}, q3{}, v;
      const float* row = x + r * n + c;
      for (int64_t i = 0; i < count; ++i, row += n) {
        Load(row, v);
        s0 += v;
        q0 += v * v;
        Load(row + kLanes, v);
        s1 += v;
        q1 += v * v;
        Load(row + 2 * kLanes, v);
        s2 += v;
        q2 += v * v;
        Load(row + 3 * kLanes, v);
        s3 += v;
        q3 += v * v;
      }
      for (int64_t k = 0; k < kLanes; ++k) {
        sums[c + k] += s0[k];
        sums[c + kLanes + k] += s1[k];
        sums[c + 2 * kLanes + k] += s2[k];
        sums[c + 3 * kLanes + k] += s3[k];
        squares[c + k] += q0[k];
        squares[c + kLanes + k] += q1[k];
        squares[c + 2 * kLanes + k] += q2[k];
        squares[c + 3 * kLanes + k] += q3[k];
      }
    }
    for (; c < n; ++c) {
      float s = 0, q = 0;
      for (int64_t i = 0; i < count; ++i) {
        const float v = x[(r + i) * n + c];
        s += v;
        q += v * v;
      }
      sums[c] += s;
      squares[c] += q;
    }
  }
}

ATELIER_VECTOR_CLONES void ScaleRows(const float* x, const float* scale, const float* shift, float* y, int64_t rows,
                                     int64_t n, bool silu) {
  for (int64_t r = 0; r < rows; ++r, x += n, y += n) {
    Lanes v, a, b;
    int64_t c = 0;
    for (; c + kLanes <= n; c += kLanes) {
      Load(x + c, v);
      Load(scale + c, a);
      Load(shift + c, b);
      v = v * a + b;
      if (silu) Silu(v);
      Store(v, y + c);
    }
    for (; c < n; ++c) {
      const float w = x[c] * scale[c] + shift[c];
      y[c] = silu ? One<Silu>(w) : w;
    }
  }
}

ATELIER_VECTOR_CLONES void GatedGelu(const float* x, float* y, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; ++r, x += 2 * n, y += n) {
    Lanes v, g;
    int64_t c = 0;
    for (; c + kLanes <= n; c += kLanes) {
      Load(x + c, v);
      Load(x + n + c, g);
      Gelu(g);
      Store(v * g, y + c);
    }
    for (; c < n; ++c) y[c] = x[c] * One<Gelu>(x[n + c]);
  }
}

}  // namespace atelier::engine
