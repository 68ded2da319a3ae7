// 8-bit pictures: what canvases, tiles, masks and files are made of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/base/status.h"

namespace atelier {

/// A half-open rectangle [x1, x2) x [y1, y2) of pixels; x right, y down.
struct Box {
  int x1 = 0;
  int y1 = 0;
  int x2 = 0;
  int y2 = 0;
  int width() const { return x2 - x1; }
  int height() const { return y2 - y1; }
  bool empty() const { return x2 <= x1 || y2 <= y1; }
  bool operator==(const Box&) const = default;
};

/// The common part of two boxes; {0, 0, 0, 0} when there is none. Thread: any.
Box Intersect(const Box& a, const Box& b);
/// Whether two boxes share a pixel. Thread: any.
bool Meets(const Box& a, const Box& b);

/// `data` holds height rows of width pixels of `channels` bytes (HWC, no padding): 1 L, 2 LA, 3 RGB, 4 RGBA; alpha is
/// not premultiplied. Thread: as std::vector.
struct ImageU8 {
  int width = 0;
  int height = 0;
  int channels = 0;
  std::vector<uint8_t> data;

  int64_t pixels() const { return int64_t{width} * height; }
  size_t stride() const { return static_cast<size_t>(width) * static_cast<size_t>(channels); }
  uint8_t* row(int y) { return data.data() + static_cast<size_t>(y) * stride(); }
  const uint8_t* row(int y) const { return data.data() + static_cast<size_t>(y) * stride(); }
  uint8_t& at(int x, int y, int c = 0) {
    return row(y)[static_cast<size_t>(x) * static_cast<size_t>(channels) + static_cast<size_t>(c)];
  }
  uint8_t at(int x, int y, int c = 0) const {
    return row(y)[static_cast<size_t>(x) * static_cast<size_t>(channels) + static_cast<size_t>(c)];
  }
  bool operator==(const ImageU8&) const = default;
};

/// OK when an image of this size may be made. Errors: INVALID_ARGUMENT (a side or the channel count is not positive or
/// channels > 4), RESOURCE_EXHAUSTED (more than limits::kImagePixelsMax pixels). Takes no memory. Thread: any.
Status CheckImageSize(int64_t width, int64_t height, int channels);

/// An image filled with `value`. Errors: CheckImageSize's, RESOURCE_EXHAUSTED when memory is short. Thread: any.
StatusOr<ImageU8> MakeImage(int64_t width, int64_t height, int channels, uint8_t value = 0);

/// OK when sizes are legal and `data` has exactly the bytes they say; for images that come from elsewhere. Thread: any.
Status CheckImage(const ImageU8& image);

/// The part of `image` in `box`. Errors: INVALID_ARGUMENT when the box is empty or leaves the image. Thread: any.
StatusOr<ImageU8> Crop(const ImageU8& image, const Box& box);

/// Channel `channel` as an L image. Errors: INVALID_ARGUMENT when the image has no such channel. Thread: any.
StatusOr<ImageU8> ExtractChannel(const ImageU8& image, int channel);

/// RGB of any image: L and LA repeat the grey, RGBA drops its alpha (colours stay as they are). Thread: any.
StatusOr<ImageU8> ToRgb(const ImageU8& image);

/// 8-bit pixels of floats, [height, width, channels]: trunc(255 * v), v clamped to 0..1, NaN becomes 0.
/// REQUIRES: `values` has width * height * channels floats. Source: spec distributed.md 3.4 step 6. Thread: any.
StatusOr<ImageU8> QuantizeFloats(const float* values, int64_t width, int64_t height, int channels);

/// Writes v / 255 of every byte to `values`. REQUIRES: room for all bytes of the image. Thread: any.
void ToFloats(const ImageU8& image, float* values);

/// The smallest box that holds all non-zero pixels of an L image; empty when there is none.
/// Source: spec distributed.md 3.5b. Thread: any.
Box BoundingBox(const ImageU8& mask);

/// The image turned so that a picture with this EXIF orientation (1..8) stands upright; any other value: unchanged.
/// Thread: any.
StatusOr<ImageU8> ApplyOrientation(ImageU8 image, int orientation);

/// The image turned by quarter turns counter-clockwise (Pillow's rotate of a multiple of 90 with expand). Thread: any.
StatusOr<ImageU8> RotateQuarters(const ImageU8& image, int quarters);

}  // namespace atelier
