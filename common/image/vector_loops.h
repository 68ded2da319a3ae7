// Private to common/image: 16-lane integer vectors of the compiler and functions built for AVX2 beside the baseline.
#pragma once

#include <cstdint>
#include <cstring>

// The choice at load time runs before a sanitizer's runtime is set up, so there the baseline must do.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define ATELIER_VECTOR_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define ATELIER_VECTOR_CLONES
#endif

namespace atelier::image_internal {

inline constexpr int kLanes = 16;
using U8x16 = uint8_t __attribute__((vector_size(16)));
using U32x16 = uint32_t __attribute__((vector_size(64)));

}  // namespace atelier::image_internal
