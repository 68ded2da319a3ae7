// Blending of tiles, and the gradient pictures of seam masks. Source: spec distributed.md 3.5, 3.5b.
#pragma once

#include "common/base/status.h"
#include "common/image/image_u8.h"

namespace atelier {

/// Blends `tile` into `canvas` at `box` through the L image `mask` (both of the box's size): a pixel of mask 0 stays as
/// it is, any other becomes round((tile * mask + canvas * (255 - mask)) / 255) in every channel. Errors:
/// INVALID_ARGUMENT when sizes or channels do not fit or the box leaves the canvas; the canvas is then untouched.
/// Thread: one writer a canvas.
Status PasteTile(const ImageU8& tile, const ImageU8& mask, const Box& box, ImageU8* canvas);

/// Copies the part of `image` that fits to (x, y) of `canvas`; x and y may be negative. Errors: INVALID_ARGUMENT when
/// the channels differ. Thread: one writer a canvas.
Status Paste(const ImageU8& image, int x, int y, ImageU8* canvas);

/// 256x256 L: the value is the row's index. Thread: any.
StatusOr<ImageU8> LinearGradient();
/// 256x256 L: min(255, trunc(sqrt(2 * (dx^2 + dy^2)))) from the pixel (128, 128). Thread: any.
StatusOr<ImageU8> RadialGradient();

}  // namespace atelier
