// PNG, JPEG and WebP in memory. Damaged, cut or hostile bytes give a Status; declared sizes are checked before memory
// is taken.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/image/image_u8.h"

namespace atelier {

/// A file's picture as LoadImage needs it, upright (EXIF orientation applied). Source: spec engine.md 11.2.
struct DecodedImage {
  ImageU8 rgb;  // colours as stored, not multiplied with alpha; of 16-bit samples the upper 8 bits; 16-bit grey: v/255,
                // clipped
  bool has_alpha = false;  // the file has an alpha channel or a palette with transparency
  ImageU8 alpha;           // L, the size of rgb; empty unless has_alpha. LoadImage's mask is 1 - alpha / 255
};

/// What the first bytes say: "png", "jpeg", "webp" or "" for anything else. Thread: any.
std::string_view ImageFormat(std::string_view bytes);

/// Width and height that the file declares, without decoding and before its orientation is applied. Errors: as
/// DecodeImage. Thread: any.
StatusOr<std::pair<int64_t, int64_t>> ReadImageSize(std::string_view bytes);

/// The first (or only) frame. Errors: INVALID_ARGUMENT (no PNG, JPEG or WebP; damaged or cut), RESOURCE_EXHAUSTED (more
/// than limits::kImagePixelsMax pixels, or memory is short). Thread: any.
StatusOr<DecodedImage> DecodeImage(std::string_view bytes);

/// All frames; more than one only for animated WebP, where frames of one file have one size. Errors: as DecodeImage;
/// RESOURCE_EXHAUSTED also when all frames together exceed limits::kImagePixelsMax. Thread: any.
StatusOr<std::vector<DecodedImage>> DecodeFrames(std::string_view bytes);

/// A PNG file of an L, LA, RGB or RGBA image, the same bytes for the same input and zlib. `level`: zlib 0 (stored)
/// to 9. Errors: CheckImage's, INVALID_ARGUMENT for another level. Thread: any.
StatusOr<std::string> EncodePng(const ImageU8& image, int level = 4);

/// A baseline JPEG file of an L or RGB image (RGBA and LA lose alpha), 4:2:0. `quality`: 1 to 100.
/// Errors: CheckImage's, INVALID_ARGUMENT for another quality or a side above 65500. Thread: any.
StatusOr<std::string> EncodeJpeg(const ImageU8& image, int quality = 85);

}  // namespace atelier
