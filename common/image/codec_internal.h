// Private to common/image: one decoder a format behind DecodeImage.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/image/codec.h"

namespace atelier::image_internal {

/// Splits pixels as decoded (1 to 4 channels) into colours and alpha. Thread: any.
StatusOr<DecodedImage> SplitAlpha(ImageU8 image);

StatusOr<std::pair<int64_t, int64_t>> PngSize(std::string_view bytes);
StatusOr<std::pair<int64_t, int64_t>> JpegSize(std::string_view bytes);
StatusOr<std::pair<int64_t, int64_t>> WebpSize(std::string_view bytes);

/// Pixels as stored: L, LA, RGB or RGBA, not yet turned upright. Errors: DecodeImage's. Thread: any.
StatusOr<ImageU8> DecodePng(std::string_view bytes);
StatusOr<ImageU8> DecodeJpeg(std::string_view bytes);
/// At most `frames_max` frames. Thread: any.
StatusOr<std::vector<ImageU8>> DecodeWebp(std::string_view bytes, int frames_max);

}  // namespace atelier::image_internal
