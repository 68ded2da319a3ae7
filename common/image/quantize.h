// Few-colour pictures as Pillow makes them, bit for bit: a median-cut palette, and colours mapped to it.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "common/base/status.h"
#include "common/image/image_u8.h"

namespace atelier {

/// RGB colours, at most 256.
using Palette = std::vector<std::array<uint8_t, 3>>;

/// The palette of an RGB image by median cut: the fullest box of colours is split in the middle of its pixels along the
/// axis that spreads most (weighted 77, 150, 29) until there are `colours` boxes or none can be split; an entry is the
/// rounded average of a box. It may have fewer entries than asked for. Errors: INVALID_ARGUMENT unless the image is RGB
/// and 1 <= colours <= 256. Source: spec engine.md 11.2 (ImageQuantize); Pillow's documented method 0. Thread: any.
StatusOr<Palette> MedianCutPalette(const ImageU8& rgb, int colours);

/// The image with every pixel replaced by an entry of `palette`: the one nearest to the pixel's colour rounded down to
/// multiples of 4, the earlier of equals. `diffuse` spreads the error over the neighbours (Floyd-Steinberg). Errors:
/// INVALID_ARGUMENT unless the image is RGB and the palette has 1 to 256 entries. Thread: any.
StatusOr<ImageU8> MapToPalette(const ImageU8& rgb, const Palette& palette, bool diffuse);

}  // namespace atelier
