// Floats as whole numbers of 8 or 16 bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace atelier {

/// trunc(top * v + more) of `count` values, clamped to 0..top; NaN becomes 0. top: 255, of 16 bits 65535. Thread: any.
void Quantize(const float* values, size_t count, float more, uint8_t* out);
void Quantize(const float* values, size_t count, float more, uint16_t* out);

}  // namespace atelier
