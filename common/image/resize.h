// Resampling as Pillow does it, bit for bit.
#pragma once

#include <functional>

#include "common/base/status.h"
#include "common/image/image_u8.h"

namespace atelier {

enum class ResizeFilter { kBilinear, kBicubic, kLanczos };

/// The image at width x height: first along x, then along y, only along axes whose size changes, 8 bits between,
/// weights in fixed point with 22 fraction bits; the filter widens when shrinking. Colours of LA and RGBA are
/// multiplied with alpha before and divided after, as Pillow's Image.resize does. Errors: CheckImageSize's. Source:
/// spec distributed.md 3.5b. Thread: any.
StatusOr<ImageU8> Resize(const ImageU8& image, int64_t width, int64_t height, ResizeFilter filter);

/// `box` of what Resize makes of a picture of in_width x in_height, to the last bit. `read` is asked once, for the part
/// of the picture that the box is made of, and nothing else of it is looked at. Errors: INVALID_ARGUMENT (the box is
/// empty or leaves width x height; a part of another size), CheckImageSize's, `read`'s. Thread: any.
StatusOr<ImageU8> ResizeBox(int in_width, int in_height, int64_t width, int64_t height, ResizeFilter filter,
                            const Box& box, const std::function<StatusOr<ImageU8>(const Box& source)>& read);

}  // namespace atelier
