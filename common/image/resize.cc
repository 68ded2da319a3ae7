#include "common/image/resize.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "common/base/limits.h"
#include "common/image/vector_loops.h"

namespace atelier {
namespace {

using image_internal::I32x16;
using image_internal::kLanes;
using image_internal::U8x16;

constexpr int kFractionBits = 22;

double Sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

double Lanczos(double x) { return x >= -3.0 && x < 3.0 ? Sinc(x) * Sinc(x / 3) : 0.0; }

double Bicubic(double x) {
  constexpr double kA = -0.5;
  x = std::fabs(x);
  if (x < 1.0) return ((kA + 2.0) * x - (kA + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * kA;
  return 0.0;
}

double Bilinear(double x) {
  x = std::fabs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

// For output i: out[i] = clip((sum_k weights[i * taps + k] * in[first[i] + k] + half) >> kFractionBits), k < count[i].
struct Taps {
  int out = 0;
  int taps = 0;
  std::vector<int> first;
  std::vector<int> count;
  std::vector<int32_t> weights;
};

double Radius(ResizeFilter filter) {
  return filter == ResizeFilter::kLanczos ? 3.0 : filter == ResizeFilter::kBicubic ? 2.0 : 1.0;
}

int TapsOf(int in, double support) { return static_cast<int>(std::min(std::ceil(support) * 2 + 1, in * 1.0)); }

// Guards against strips of many million pixels, whose weights alone would fill the memory.
Status CheckTaps(int in, int64_t out, ResizeFilter filter) {
  const double support = Radius(filter) * std::max(static_cast<double>(in) / static_cast<double>(out), 1.0);
  if (out * int64_t{TapsOf(in, support)} > limits::kImagePixelsMax) {
    return ResourceExhausted("resizing a side of ", in, " to ", out,
                             " pixels needs too many weights, use smaller sides");
  }
  return OkStatus();
}

Taps MakeTaps(int in, int out, ResizeFilter filter) {
  double (*const kernel)(double) = filter == ResizeFilter::kLanczos   ? Lanczos
                                   : filter == ResizeFilter::kBicubic ? Bicubic
                                                                      : Bilinear;
  const double scale = static_cast<double>(in) / out;
  const double widen = std::max(scale, 1.0);
  const double support = Radius(filter) * widen;
  const double shrink = 1.0 / widen;
  Taps t;
  t.out = out;
  t.taps = TapsOf(in, support);
  t.first.resize(static_cast<size_t>(out));
  t.count.resize(static_cast<size_t>(out));
  t.weights.resize(static_cast<size_t>(out) * static_cast<size_t>(t.taps));
  std::vector<double> w(static_cast<size_t>(t.taps));
  for (int i = 0; i < out; ++i) {
    const double centre = (i + 0.5) * scale;
    const int first = std::max(static_cast<int>(centre - support + 0.5), 0);
    const int count = std::min(static_cast<int>(centre + support + 0.5), in) - first;
    double total = 0.0;
    for (int k = 0; k < count; ++k) {
      w[static_cast<size_t>(k)] = kernel((k + first - centre + 0.5) * shrink);
      total += w[static_cast<size_t>(k)];
    }
    int32_t* to = &t.weights[static_cast<size_t>(i) * static_cast<size_t>(t.taps)];
    for (int k = 0; k < count; ++k) {
      const double weight =
          (total != 0.0 ? w[static_cast<size_t>(k)] / total : w[static_cast<size_t>(k)]) * (1 << kFractionBits);
      to[k] = static_cast<int32_t>(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
    t.first[static_cast<size_t>(i)] = first;
    t.count[static_cast<size_t>(i)] = count;
  }
  return t;
}

// out[j] for 16 neighbouring bytes j: the weighted sum over `count` groups of 16 bytes that lie `step` apart.
inline __attribute__((always_inline)) void WeighLanes(const uint8_t* in, size_t step, const int32_t* weights, int count,
                                                      uint8_t* out) {
  I32x16 sum = I32x16{} + (1 << (kFractionBits - 1));
  for (int k = 0; k < count; ++k) {
    U8x16 v;
    std::memcpy(&v, in + static_cast<size_t>(k) * step, sizeof(v));
    sum += __builtin_convertvector(v, I32x16) * weights[k];
  }
  sum >>= kFractionBits;
  sum = sum < 0 ? I32x16{} : sum;
  sum = sum > 255 ? I32x16{} + 255 : sum;
  const U8x16 bytes = __builtin_convertvector(sum, U8x16);
  std::memcpy(out, &bytes, sizeof(bytes));
}

// Along y: each output row is a weighted sum of whole input rows.
ATELIER_VECTOR_CLONES void WeighRows(const uint8_t* in, size_t stride, const Taps& taps, uint8_t* out) {
  for (int y = 0; y < taps.out; ++y) {
    const uint8_t* from = in + static_cast<size_t>(taps.first[static_cast<size_t>(y)]) * stride;
    const int32_t* weights = &taps.weights[static_cast<size_t>(y) * static_cast<size_t>(taps.taps)];
    const int count = taps.count[static_cast<size_t>(y)];
    uint8_t* to = out + static_cast<size_t>(y) * stride;
    if (stride < kLanes) {
      for (size_t x = 0; x < stride; ++x) {
        int32_t sum = 1 << (kFractionBits - 1);
        for (int k = 0; k < count; ++k) sum += from[static_cast<size_t>(k) * stride + x] * weights[k];
        to[x] = static_cast<uint8_t>(std::clamp(sum >> kFractionBits, 0, 255));
      }
      continue;
    }
    size_t x = 0;
    for (; x + kLanes <= stride; x += kLanes) WeighLanes(from + x, stride, weights, count, to + x);
    // The rest overlaps the last full group: the same bytes again.
    if (x < stride) WeighLanes(from + stride - kLanes, stride, weights, count, to + stride - kLanes);
  }
}

// Along x on 16 rows that lie interleaved: byte (x, channel, row) at (x * channels + channel) * 16 + row.
ATELIER_VECTOR_CLONES void WeighColumns(const uint8_t* in, int channels, const Taps& taps, uint8_t* out) {
  const size_t step = static_cast<size_t>(channels) * kLanes;
  for (int x = 0; x < taps.out; ++x) {
    const uint8_t* from = in + static_cast<size_t>(taps.first[static_cast<size_t>(x)]) * step;
    const int32_t* weights = &taps.weights[static_cast<size_t>(x) * static_cast<size_t>(taps.taps)];
    const int count = taps.count[static_cast<size_t>(x)];
    uint8_t* to = out + static_cast<size_t>(x) * step;
    for (size_t c = 0; c < step; c += kLanes) WeighLanes(from + c, step, weights, count, to + c);
  }
}

void ResizeX(const ImageU8& in, const Taps& taps, ImageU8* out) {
  std::vector<uint8_t> lanes(in.stride() * kLanes);
  std::vector<uint8_t> result(out->stride() * kLanes);
  for (int y0 = 0; y0 < in.height; y0 += kLanes) {
    const int rows = std::min(kLanes, in.height - y0);
    const uint8_t* from[kLanes];
    for (int r = 0; r < kLanes; ++r) from[r] = in.row(y0 + std::min(r, rows - 1));
    uint8_t* to = lanes.data();
    for (size_t i = 0; i < in.stride(); ++i, to += kLanes) {
      for (int r = 0; r < kLanes; ++r) to[r] = from[r][i];
    }
    WeighColumns(lanes.data(), in.channels, taps, result.data());
    for (int r = 0; r < rows; ++r) {
      uint8_t* row = out->row(y0 + r);
      const uint8_t* lane = result.data() + r;
      for (size_t i = 0; i < out->stride(); ++i) row[i] = lane[i * kLanes];
    }
  }
}

int MulDiv255(int a, int b) {
  const int t = a * b + 128;
  return ((t >> 8) + t) >> 8;
}

void Premultiply(ImageU8* image) {
  const size_t step = static_cast<size_t>(image->channels);
  for (size_t i = 0; i < image->data.size(); i += step) {
    const int alpha = image->data[i + step - 1];
    for (size_t c = 0; c + 1 < step; ++c)
      image->data[i + c] = static_cast<uint8_t>(MulDiv255(image->data[i + c], alpha));
  }
}

void Unpremultiply(ImageU8* image) {
  const size_t step = static_cast<size_t>(image->channels);
  for (size_t i = 0; i < image->data.size(); i += step) {
    const int alpha = image->data[i + step - 1];
    if (alpha == 0 || alpha == 255) continue;
    for (size_t c = 0; c + 1 < step; ++c) {
      image->data[i + c] = static_cast<uint8_t>(std::min(255 * image->data[i + c] / alpha, 255));
    }
  }
}

}  // namespace

StatusOr<ImageU8> Resize(const ImageU8& image, int64_t width, int64_t height, ResizeFilter filter) {
  RETURN_IF_ERROR(CheckImage(image));
  RETURN_IF_ERROR(CheckImageSize(width, height, image.channels));
  if (width == image.width && height == image.height) return image;
  RETURN_IF_ERROR(CheckTaps(image.width, width, filter));
  RETURN_IF_ERROR(CheckTaps(image.height, height, filter));
  const bool has_alpha = image.channels == 2 || image.channels == 4;
  ImageU8 current;
  const ImageU8* from = &image;
  if (has_alpha) {
    current = image;
    Premultiply(&current);
    from = &current;
  }
  const auto along_x = [&]() -> Status {
    if (width == from->width) return OkStatus();
    ASSIGN_OR_RETURN(ImageU8 next, MakeImage(width, from->height, from->channels));
    ResizeX(*from, MakeTaps(from->width, next.width, filter), &next);
    current = std::move(next);
    from = &current;
    return OkStatus();
  };
  const auto along_y = [&]() -> Status {
    if (height == from->height) return OkStatus();
    ASSIGN_OR_RETURN(ImageU8 next, MakeImage(from->width, height, from->channels));
    WeighRows(from->data.data(), from->stride(), MakeTaps(from->height, next.height, filter), next.data.data());
    current = std::move(next);
    from = &current;
    return OkStatus();
  };
  // Pillow 13 takes y first where that throws more away; the 8 bits between the passes make the order visible.
  const bool y_first = height < image.height && image.height - height > 2 * (image.width - width);
  RETURN_IF_ERROR(y_first ? along_y() : along_x());
  RETURN_IF_ERROR(y_first ? along_x() : along_y());
  if (has_alpha) Unpremultiply(&current);
  return current;
}

}  // namespace atelier
