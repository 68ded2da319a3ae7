#include "common/image/blur.h"

#include <algorithm>
#include <cmath>

#include "common/image/vector_loops.h"

namespace atelier {
namespace {

using image_internal::kLanes;
using image_internal::U32x16;
using image_internal::U8x16;

constexpr int kPasses = 3;

// `in` at the nearest position inside; by pointer, since vectors as values have no stable ABI.
inline __attribute__((always_inline)) void Get(const U8x16* in, int64_t i, int size, U32x16* out) {
  *out = __builtin_convertvector(in[std::clamp<int64_t>(i, 0, size - 1)], U32x16);
}

// One pass over `size` positions of 16 lanes each. The sum slides; all arithmetic fits 32 bits unsigned.
inline __attribute__((always_inline)) void BoxPass(const BoxKernel& kernel, const U8x16* in, U8x16* out, int size) {
  const int r = kernel.radius;
  const int inside = std::min(r, size - 1);
  U32x16 v;
  Get(in, 0, size, &v);
  U32x16 sum = v * static_cast<uint32_t>(r + 1);
  for (int d = 1; d <= inside; ++d) {
    Get(in, d, size, &v);
    sum += v;
  }
  Get(in, size - 1, size, &v);
  sum += v * static_cast<uint32_t>(r - inside);
  for (int x = 0; x < size; ++x) {
    U32x16 before;
    U32x16 after;
    U32x16 leaving;
    Get(in, int64_t{x} - r - 1, size, &before);
    Get(in, int64_t{x} + r + 1, size, &after);
    Get(in, int64_t{x} - r, size, &leaving);
    const U32x16 value = sum * kernel.inner_weight + (before + after) * kernel.outer_weight + (1U << 23);
    out[x] = __builtin_convertvector(value >> 24, U8x16);
    sum += after - leaving;
  }
}

ATELIER_VECTOR_CLONES void BoxPasses(const BoxKernel& kernel, U8x16* data, U8x16* other, int size) {
  BoxPass(kernel, data, other, size);
  BoxPass(kernel, other, data, size);
  BoxPass(kernel, data, other, size);
}

void BlurX(const BoxKernel& kernel, ImageU8* image) {
  std::vector<U8x16> lanes(static_cast<size_t>(image->width));
  std::vector<U8x16> result(lanes.size());
  const size_t step = static_cast<size_t>(image->channels);
  for (int y0 = 0; y0 < image->height; y0 += kLanes) {
    const int rows = std::min(kLanes, image->height - y0);
    for (size_t c = 0; c < step; ++c) {
      for (int r = 0; r < rows; ++r) {
        const uint8_t* row = image->row(y0 + r) + c;
        for (size_t x = 0; x < lanes.size(); ++x) lanes[x][r] = row[x * step];
      }
      BoxPasses(kernel, lanes.data(), result.data(), image->width);
      for (int r = 0; r < rows; ++r) {
        uint8_t* row = image->row(y0 + r) + c;
        for (size_t x = 0; x < lanes.size(); ++x) row[x * step] = result[x][r];
      }
    }
  }
}

void BlurY(const BoxKernel& kernel, ImageU8* image) {
  std::vector<U8x16> lanes(static_cast<size_t>(image->height));
  std::vector<U8x16> result(lanes.size());
  for (size_t x = 0; x < image->stride(); x += kLanes) {
    const size_t bytes = std::min<size_t>(kLanes, image->stride() - x);
    for (int y = 0; y < image->height; ++y) std::memcpy(&lanes[static_cast<size_t>(y)], image->row(y) + x, bytes);
    BoxPasses(kernel, lanes.data(), result.data(), image->height);
    for (int y = 0; y < image->height; ++y) std::memcpy(image->row(y) + x, &result[static_cast<size_t>(y)], bytes);
  }
}

}  // namespace

StatusOr<BoxKernel> MakeBoxKernel(double sigma) {
  if (!(sigma > 0.0 && sigma <= 10000.0)) {
    return InvalidArgument("blur sigma ", sigma, " is out of range, expected more than 0 and at most 10000");
  }
  // Floats where Pillow has floats: the radius decides the weights' last bits.
  const float s = static_cast<float>(sigma);
  const float s2 = s * s / kPasses;
  const float length = static_cast<float>(std::sqrt(12.0 * static_cast<double>(s2) + 1.0));
  const float whole = static_cast<float>(std::floor((static_cast<double>(length) - 1.0) / 2.0));
  float part = (2 * whole + 1) * (whole * (whole + 1) - 3 * s2);
  part /= 6 * (s2 - (whole + 1) * (whole + 1));
  const float radius = whole + part;
  BoxKernel kernel;
  kernel.radius = static_cast<int>(radius);
  kernel.inner_weight = static_cast<uint32_t>(static_cast<float>(1U << 24) / (radius * 2 + 1));
  const int64_t rest = (int64_t{1} << 24) - (2 * int64_t{kernel.radius} + 1) * kernel.inner_weight;
  kernel.outer_weight = static_cast<uint32_t>(rest / 2);
  return kernel;
}

void BlurLine(const BoxKernel& kernel, std::vector<uint8_t>* line) {
  if (line->empty()) return;
  const int64_t size = static_cast<int64_t>(line->size());
  const int64_t r = kernel.radius;
  std::vector<uint8_t> other(line->size());
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto get = [line, size](int64_t i) -> uint32_t {
      return (*line)[static_cast<size_t>(std::clamp<int64_t>(i, 0, size - 1))];
    };
    uint32_t sum = 0;
    for (int64_t d = -r; d <= r; ++d) sum += get(d);
    for (int64_t x = 0; x < size; ++x) {
      const uint32_t outer = get(x - r - 1) + get(x + r + 1);
      other[static_cast<size_t>(x)] =
          static_cast<uint8_t>((sum * kernel.inner_weight + outer * kernel.outer_weight + (1U << 23)) >> 24);
      sum += get(x + r + 1) - get(x - r);
    }
    line->swap(other);
  }
}

StatusOr<ImageU8> GaussianBlur(const ImageU8& image, double sigma) {
  RETURN_IF_ERROR(CheckImage(image));
  ImageU8 out = image;
  if (sigma == 0.0) return out;
  ASSIGN_OR_RETURN(const BoxKernel kernel, MakeBoxKernel(sigma));
  BlurX(kernel, &out);
  BlurY(kernel, &out);
  return out;
}

}  // namespace atelier
