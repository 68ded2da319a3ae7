#include "worker/models/causal_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>

// The choice at load time runs before a sanitizer's runtime is set up, so there the baseline must do.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define ATELIER_VECTOR_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define ATELIER_VECTOR_CLONES
#endif

namespace atelier::models {
namespace {

constexpr int64_t kLanes = 16;
using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));

}  // namespace

ATELIER_VECTOR_CLONES void NormaliseRows(const float* x, const float* scale, float* y, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; ++r) {
    const float* const in = x + r * n;
    float* const out = y + r * n;
    Lanes squares{}, v, s;
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      std::memcpy(&v, in + i, sizeof v);
      squares += v * v;
    }
    float sum = 0;
    for (int64_t k = 0; k < kLanes; ++k) sum += squares[k];
    for (; i < n; ++i) sum += in[i] * in[i];
    const float inverse = 1.0f / std::max(std::sqrt(sum), 1e-12f);
    for (i = 0; i + kLanes <= n; i += kLanes) {
      std::memcpy(&v, in + i, sizeof v);
      std::memcpy(&s, scale + i, sizeof s);
      v = v * inverse * s;
      std::memcpy(out + i, &v, sizeof v);
    }
    for (; i < n; ++i) out[i] = in[i] * inverse * scale[i];
  }
}

}  // namespace atelier::models
