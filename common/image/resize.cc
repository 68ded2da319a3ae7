#include "common/image/resize.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>
#include <utility>
#include <vector>

#include "common/base/limits.h"
#include "common/image/vector_loops.h"

namespace atelier {
namespace {

constexpr int kRowsAtOnce = 32;  // rows that go through the pass along x together
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

// Sums stay below 2^31: the weights of one output add up to 2^22 and their negative part is small.
inline __attribute__((always_inline)) void AddWeighted(const uint8_t* __restrict in, int32_t weight, size_t n,
                                                       int32_t* __restrict sums) {
  for (size_t i = 0; i < n; ++i) sums[i] += in[i] * weight;
}

inline __attribute__((always_inline)) void StoreSums(const int32_t* __restrict sums, size_t n,
                                                     uint8_t* __restrict out) {
  for (size_t i = 0; i < n; ++i) {
    const int32_t v = sums[i] >> kFractionBits;
    out[i] = static_cast<uint8_t>(v < 0 ? 0 : v > 255 ? 255 : v);
  }
}

// One axis: output group i is the weighted sum of neighbouring input groups of `size` bytes each. Along y a group is a
// row (taken in pieces that stay in the first cache); along x it is what kRowsAtOnce rows have at one column,
// interleaved.
ATELIER_VECTOR_CLONES void WeighGroups(const uint8_t* in, size_t size, const Taps& taps, uint8_t* out) {
  constexpr size_t kPiece = 1024;
  alignas(64) int32_t sums[kPiece];
  for (size_t start = 0; start < size; start += kPiece) {
    const size_t n = std::min(kPiece, size - start);
    for (int i = 0; i < taps.out; ++i) {
      const uint8_t* from = in + static_cast<size_t>(taps.first[static_cast<size_t>(i)]) * size + start;
      const int32_t* weights = &taps.weights[static_cast<size_t>(i) * static_cast<size_t>(taps.taps)];
      const int count = taps.count[static_cast<size_t>(i)];
      for (size_t k = 0; k < n; ++k) sums[k] = 1 << (kFractionBits - 1);
      for (int k = 0; k < count; ++k) AddWeighted(from + static_cast<size_t>(k) * size, weights[k], n, sums);
      StoreSums(sums, n, out + static_cast<size_t>(i) * size + start);
    }
  }
}

void ResizeX(const ImageU8& in, const Taps& taps, ImageU8* out) {
  std::vector<uint8_t> lanes(in.stride() * kRowsAtOnce);
  std::vector<uint8_t> result(out->stride() * kRowsAtOnce);
  for (int y0 = 0; y0 < in.height; y0 += kRowsAtOnce) {
    const int rows = std::min(kRowsAtOnce, in.height - y0);
    const uint8_t* from[kRowsAtOnce];
    for (int r = 0; r < kRowsAtOnce; ++r) from[r] = in.row(y0 + std::min(r, rows - 1));
    uint8_t* to = lanes.data();
    for (size_t i = 0; i < in.stride(); ++i, to += kRowsAtOnce) {
      for (int r = 0; r < kRowsAtOnce; ++r) to[r] = from[r][i];
    }
    WeighGroups(lanes.data(), static_cast<size_t>(in.channels) * kRowsAtOnce, taps, result.data());
    for (int r = 0; r < rows; ++r) {
      uint8_t* row = out->row(y0 + r);
      const uint8_t* lane = result.data() + r;
      for (size_t i = 0; i < out->stride(); ++i) row[i] = lane[i * kRowsAtOnce];
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

// The weights of outputs first..last-1 alone, for an input whose first pixel is `origin`.
Taps OnlyOutputs(Taps taps, int first, int last, int origin) {
  const auto keep = [&](auto& list, int per_output) {
    list.erase(list.begin() + std::ptrdiff_t{last} * per_output, list.end());
    list.erase(list.begin(), list.begin() + std::ptrdiff_t{first} * per_output);
  };
  keep(taps.first, 1);
  keep(taps.count, 1);
  keep(taps.weights, taps.taps);
  for (int& at : taps.first) at -= origin;
  taps.out = last - first;
  return taps;
}

// None for a side that keeps its size.
StatusOr<std::optional<Taps>> TapsFor(int in, int64_t out, ResizeFilter filter) {
  if (in == out) return std::nullopt;
  RETURN_IF_ERROR(CheckTaps(in, out, filter));
  return MakeTaps(in, static_cast<int>(out), filter);
}

// Pillow 13 takes y first where that throws more away; the 8 bits between the passes make the order visible.
bool RowsFirst(int in_width, int in_height, int64_t width, int64_t height) {
  return height < in_height && in_height - height > 2 * (in_width - width);
}

// Both passes along the sides that have weights. REQUIRES: at least one has.
StatusOr<ImageU8> Weigh(const ImageU8& image, const std::optional<Taps>& x, const std::optional<Taps>& y,
                        bool rows_first) {
  const bool has_alpha = image.channels == 2 || image.channels == 4;
  ImageU8 current;
  const ImageU8* from = &image;
  if (has_alpha) {
    current = image;
    Premultiply(&current);
    from = &current;
  }
  const auto along_x = [&]() -> Status {
    if (!x) return OkStatus();
    ASSIGN_OR_RETURN(ImageU8 next, MakeImage(x->out, from->height, from->channels));
    ResizeX(*from, *x, &next);
    current = std::move(next);
    from = &current;
    return OkStatus();
  };
  const auto along_y = [&]() -> Status {
    if (!y) return OkStatus();
    ASSIGN_OR_RETURN(ImageU8 next, MakeImage(from->width, y->out, from->channels));
    WeighGroups(from->data.data(), from->stride(), *y, next.data.data());
    current = std::move(next);
    from = &current;
    return OkStatus();
  };
  RETURN_IF_ERROR(rows_first ? along_y() : along_x());
  RETURN_IF_ERROR(rows_first ? along_x() : along_y());
  if (has_alpha) Unpremultiply(&current);
  return current;
}

}  // namespace

StatusOr<ImageU8> Resize(const ImageU8& image, int64_t width, int64_t height, ResizeFilter filter) {
  RETURN_IF_ERROR(CheckImage(image));
  RETURN_IF_ERROR(CheckImageSize(width, height, image.channels));
  if (width == image.width && height == image.height) return image;
  ASSIGN_OR_RETURN(const std::optional<Taps> x, TapsFor(image.width, width, filter));
  ASSIGN_OR_RETURN(const std::optional<Taps> y, TapsFor(image.height, height, filter));
  return Weigh(image, x, y, RowsFirst(image.width, image.height, width, height));
}

StatusOr<ImageU8> ResizeBox(int in_width, int in_height, int64_t width, int64_t height, ResizeFilter filter,
                            const Box& box, const std::function<StatusOr<ImageU8>(const Box& source)>& read) {
  RETURN_IF_ERROR(CheckImageSize(in_width, in_height, 1));
  RETURN_IF_ERROR(CheckImageSize(width, height, 1));
  if (box.empty() || box.x1 < 0 || box.y1 < 0 || box.x2 > width || box.y2 > height)
    return InvalidArgument("the box [", box.x1, ",", box.x2, ") x [", box.y1, ",", box.y2, ") is not within ", width,
                           "x", height);
  ASSIGN_OR_RETURN(std::optional<Taps> x, TapsFor(in_width, width, filter));
  ASSIGN_OR_RETURN(std::optional<Taps> y, TapsFor(in_height, height, filter));
  Box source = box;
  const auto narrow = [](std::optional<Taps>& taps, int& from, int& to) {
    if (!taps) return;
    const int first = from, last = to;
    from = taps->first[static_cast<size_t>(first)];
    to = taps->first[static_cast<size_t>(last) - 1] + taps->count[static_cast<size_t>(last) - 1];
    taps = OnlyOutputs(*std::move(taps), first, last, from);
  };
  narrow(x, source.x1, source.x2);
  narrow(y, source.y1, source.y2);
  ASSIGN_OR_RETURN(ImageU8 part, read(source));
  RETURN_IF_ERROR(CheckImage(part));
  if (part.width != source.width() || part.height != source.height())
    return InvalidArgument("a part of ", part.width, "x", part.height, " pixels, expected ", source.width(), "x",
                           source.height());
  if (!x && !y) return part;
  return Weigh(part, x, y, RowsFirst(in_width, in_height, width, height));
}

}  // namespace atelier
