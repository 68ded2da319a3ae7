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
#include "common/image/tiles.h"

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

  /// Blends one step of `plan` into every image: `redrawn` is an IMAGE blob [B*T,h,w,C] with the T tiles of the step
  /// for the first image, then those for the second..., each brought to the size of its crop with Lanczos when it has
  /// another and pasted through its blurred mask. Takes memory for the step and a mask. On an error nothing of the
  /// failing tile is on the canvas. Errors: those of FromBlob for `redrawn`, INVALID_ARGUMENT when plan or batch size
  /// do not fit.
  Status Paste(const TilePlan& plan, const std::vector<int>& step, std::string_view redrawn);

  /// The bytes that a step's redrawn tiles may have, alpha included: at the size of their crops or at process size.
  int64_t StepBytesMax(const TilePlan& plan, const std::vector<int>& step) const;

  /// The whole batch as an IMAGE blob, U8 [B,H,W,3].
  std::string ToBlob() const;

 private:
  std::vector<ImageU8> images_;  // never empty
};

}  // namespace atelier
