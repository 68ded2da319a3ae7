#include "common/image/image_u8.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <new>

#include "common/base/limits.h"
#include "common/image/samples.h"
#include "common/image/vector_loops.h"

namespace atelier {
namespace {

inline int32_t Quantized(float v, float top, float more) {
  v = v * top + more;
  v = v > 0.0F ? v : 0.0F;  // also catches NaN
  return static_cast<int32_t>(v < top ? v : top);
}

}  // namespace

Box Intersect(const Box& a, const Box& b) {
  Box out{std::max(a.x1, b.x1), std::max(a.y1, b.y1), std::min(a.x2, b.x2), std::min(a.y2, b.y2)};
  return out.empty() ? Box{} : out;
}

bool Meets(const Box& a, const Box& b) { return !Intersect(a, b).empty(); }

Status CheckImageSize(int64_t width, int64_t height, int channels) {
  if (width < 1 || height < 1 || channels < 1 || channels > 4) {
    return InvalidArgument("image size ", width, "x", height, " with ", channels,
                           " channels is not an image, expected positive sides and 1 to 4 channels");
  }
  if (width > limits::kImagePixelsMax || height > limits::kImagePixelsMax / width) {
    return ResourceExhausted("image of ", width, "x", height, " pixels is larger than the limit of ",
                             limits::kImagePixelsMax, " pixels, use a smaller image");
  }
  return OkStatus();
}

StatusOr<ImageU8> MakeImage(int64_t width, int64_t height, int channels, uint8_t value) {
  RETURN_IF_ERROR(CheckImageSize(width, height, channels));
  ImageU8 image;
  image.width = static_cast<int>(width);
  image.height = static_cast<int>(height);
  image.channels = channels;
  try {
    image.data.assign(image.stride() * static_cast<size_t>(height), value);
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("no memory for an image of ", width, "x", height, "x", channels, " bytes");
  }
  return image;
}

Status CheckImage(const ImageU8& image) {
  RETURN_IF_ERROR(CheckImageSize(image.width, image.height, image.channels));
  if (image.data.size() != image.stride() * static_cast<size_t>(image.height)) {
    return InvalidArgument("image of ", image.width, "x", image.height, "x", image.channels, " holds ",
                           image.data.size(), " bytes");
  }
  return OkStatus();
}

StatusOr<ImageU8> Crop(const ImageU8& image, const Box& box) {
  if (box.empty() || box.x1 < 0 || box.y1 < 0 || box.x2 > image.width || box.y2 > image.height) {
    return InvalidArgument("crop box (", box.x1, ",", box.y1, ",", box.x2, ",", box.y2, ") is not inside the image of ",
                           image.width, "x", image.height);
  }
  ASSIGN_OR_RETURN(ImageU8 out, MakeImage(box.width(), box.height(), image.channels));
  const size_t offset = static_cast<size_t>(box.x1) * static_cast<size_t>(image.channels);
  for (int y = 0; y < out.height; ++y) std::memcpy(out.row(y), image.row(box.y1 + y) + offset, out.stride());
  return out;
}

StatusOr<ImageU8> ExtractChannel(const ImageU8& image, int channel) {
  if (channel < 0 || channel >= image.channels) {
    return InvalidArgument("channel ", channel, " of an image with ", image.channels, " channels");
  }
  ASSIGN_OR_RETURN(ImageU8 out, MakeImage(image.width, image.height, 1));
  const uint8_t* in = image.data.data() + channel;
  const size_t step = static_cast<size_t>(image.channels);
  for (size_t i = 0; i < out.data.size(); ++i) out.data[i] = in[i * step];
  return out;
}

StatusOr<ImageU8> ToRgb(const ImageU8& image) {
  if (image.channels == 3) return image;
  ASSIGN_OR_RETURN(ImageU8 out, MakeImage(image.width, image.height, 3));
  const size_t step = static_cast<size_t>(image.channels);
  const size_t green = image.channels == 4 ? 1 : 0;
  const uint8_t* in = image.data.data();
  uint8_t* to = out.data.data();
  for (size_t i = 0, n = static_cast<size_t>(image.pixels()); i < n; ++i, in += step, to += 3) {
    to[0] = in[0];
    to[1] = in[green];
    to[2] = in[2 * green];
  }
  return out;
}

ATELIER_VECTOR_CLONES void Quantize(const float* values, size_t count, float more, uint8_t* out) {
  for (size_t i = 0; i < count; ++i) out[i] = static_cast<uint8_t>(Quantized(values[i], 255.0F, more));
}

ATELIER_VECTOR_CLONES void Quantize(const float* values, size_t count, float more, uint16_t* out) {
  for (size_t i = 0; i < count; ++i) out[i] = static_cast<uint16_t>(Quantized(values[i], 65535.0F, more));
}

StatusOr<ImageU8> QuantizeFloats(const float* values, int64_t width, int64_t height, int channels) {
  ASSIGN_OR_RETURN(ImageU8 out, MakeImage(width, height, channels));
  Quantize(values, out.data.size(), 0.0F, out.data.data());
  return out;
}

void ToFloats(const ImageU8& image, float* values) {
  std::array<float, 256> table;
  for (size_t v = 0; v < 256; ++v) table[v] = static_cast<float>(v) / 255.0F;
  for (size_t i = 0; i < image.data.size(); ++i) values[i] = table[image.data[i]];
}

Box BoundingBox(const ImageU8& mask) {
  Box box{mask.width, mask.height, 0, 0};
  for (int y = 0; y < mask.height; ++y) {
    const uint8_t* begin = mask.row(y);
    const uint8_t* end = begin + mask.stride();
    const uint8_t* first = std::find_if(begin, end, [](uint8_t v) { return v != 0; });
    if (first == end) continue;
    const uint8_t* last = end - 1;
    while (*last == 0) --last;
    box.x1 = std::min(box.x1, static_cast<int>(first - begin));
    box.x2 = std::max(box.x2, static_cast<int>(last - begin) + 1);
    box.y1 = std::min(box.y1, y);
    box.y2 = y + 1;
  }
  return box.empty() ? Box{} : box;
}

StatusOr<ImageU8> ApplyOrientation(ImageU8 image, int orientation) {
  if (orientation < 2 || orientation > 8) return image;
  const bool swap = orientation >= 5;
  ASSIGN_OR_RETURN(ImageU8 out,
                   MakeImage(swap ? image.height : image.width, swap ? image.width : image.height, image.channels));
  // Which end of the stored rows and columns the upright picture starts from.
  const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_bottom = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const size_t step = static_cast<size_t>(image.channels);
  for (int y = 0; y < out.height; ++y) {
    uint8_t* to = out.row(y);
    for (int x = 0; x < out.width; ++x, to += step) {
      int sx = swap ? y : x;
      int sy = swap ? x : y;
      if (from_right) sx = image.width - 1 - sx;
      if (from_bottom) sy = image.height - 1 - sy;
      std::memcpy(to, &image.row(sy)[static_cast<size_t>(sx) * step], step);
    }
  }
  return out;
}

StatusOr<ImageU8> RotateQuarters(const ImageU8& image, int quarters) {
  // EXIF 8, 3 and 6 are the pictures that a quarter, two and three quarters counter-clockwise put upright.
  static constexpr std::array<int, 4> kOrientation = {1, 8, 3, 6};
  return ApplyOrientation(image, kOrientation[static_cast<size_t>(((quarters % 4) + 4) % 4)]);
}

}  // namespace atelier
