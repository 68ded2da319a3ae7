// Bicubic resizing of pictures of floats, as libtorch does it on a processor with FMA, in two passes instead of sixteen
// taps a value.
#pragma once

#include <cstdint>

namespace atelier {

/// Whether this processor can do it.
bool HasFloatBicubic();

/// A batch of pictures f32 [B,H,W,C] in memory, C 1, 3 or 4.
struct FloatPictures {
  const float* data = nullptr;
  int64_t height = 0, width = 0, channels = 3;
};

/// Rows begin to end - 1 of `pictures` at width x height, counted through the batch (row y of picture b is b * height +
/// y), to `rows`. Cubic of -0.75, half pixel centres, edges repeated, no antialiasing: to the bit what
/// at::upsample_bicubic2d of libtorch 2.11 makes. REQUIRES: HasFloatBicubic(), sizes of at least 1. Thread: any.
void ResizeBicubic(const FloatPictures& pictures, int64_t height, int64_t width, int64_t begin, int64_t end,
                   float* rows);

}  // namespace atelier
