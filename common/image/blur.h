// Gaussian blur as Pillow does it, bit for bit: three box passes along x, then three along y, 8 bits between passes.
#pragma once

#include <cstdint>
#include <vector>

#include "common/base/status.h"
#include "common/image/image_u8.h"

namespace atelier {

/// The fixed-point box that stands for a Gaussian of some sigma. Source: spec distributed.md 3.5b.
struct BoxKernel {
  int radius = 0;             // whole pixels on each side with full weight
  uint32_t inner_weight = 0;  // of those and the centre, in 1/2^24
  uint32_t outer_weight = 0;  // of the one pixel beyond on each side, in 1/2^24
  /// How far a pixel's value can travel in three passes.
  int reach() const { return 3 * (radius + 1); }
};

/// The kernel of `sigma`. Errors: INVALID_ARGUMENT unless 0 < sigma <= 10000. Thread: any.
StatusOr<BoxKernel> MakeBoxKernel(double sigma);

/// Three passes over one line; beyond its ends the end values repeat. Thread: any.
void BlurLine(const BoxKernel& kernel, std::vector<uint8_t>* line);

/// Every channel blurred; beyond the border the border repeats. sigma 0: the image itself.
/// Errors: INVALID_ARGUMENT (sigma negative, not a number or > 10000), CheckImage's. Thread: any.
StatusOr<ImageU8> GaussianBlur(const ImageU8& image, double sigma);

}  // namespace atelier
