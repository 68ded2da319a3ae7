// The canvas of a tiled upscale: a batch of 8-bit RGB images that tiles are cut from and blended into.
// Source: spec distributed.md 3.4, 3.5; docs/architecture.md "Values and blobs".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/limits.h"
#include "common/base/status.h"
#include "common/image/image_u8.h"

namespace atelier {

/// All images of the batch have one size. Holds B*H*W*3 bytes. Thread: one at a time; const any.
class Canvas {
 public:
  /// Reads an IMAGE blob: tensor `image`, [B,H,W,C] with C = 3 or 4 (alpha is dropped), U8 or F32 (trunc(255 v), v
  /// clamped to 0..1, NaN 0). Errors: INVALID_ARGUMENT (no such blob), DATA_LOSS (torn), RESOURCE_EXHAUSTED for an
  /// image of more than `pixels_max` pixels or a batch of more than `bytes_max` bytes.
  static StatusOr<Canvas> FromBlob(std::string_view blob, int64_t pixels_max = limits::kImagePixelsMax,
                                   int64_t bytes_max = limits::kTensorBytesMax);

  int64_t batch() const { return static_cast<int64_t>(images_.size()); }
  int width() const { return images_.front().width; }
  int height() const { return images_.front().height; }
  const std::vector<ImageU8>& images() const { return images_; }

  /// The part in `box` of every image as an IMAGE blob, U8 [B,h,w,3]. Errors: INVALID_ARGUMENT (box empty or outside).
  StatusOr<std::string> Cut(const Box& box) const;

  /// Blends one tile into every image: `tile` is an IMAGE blob [B,h,w,C], brought to the size of `crop` with Lanczos
  /// when it has another; weight = the rectangle `mark` blurred with sigma `mask_blur` over the whole canvas, inside
  /// `crop`, 0 outside. Takes memory for one tile, its mask and nothing else. On an error the canvas is unchanged.
  /// Errors: those of FromBlob for `tile`, INVALID_ARGUMENT for boxes outside the canvas or another batch size.
  Status Paste(const Box& crop, const Box& mark, int mask_blur, std::string_view tile);

  /// The whole batch as an IMAGE blob, U8 [B,H,W,3].
  std::string ToBlob() const;

 private:
  std::vector<ImageU8> images_;  // never empty
};

}  // namespace atelier
