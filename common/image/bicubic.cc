#include "common/image/bicubic.h"

#ifdef __x86_64__

#include <algorithm>
#include <cmath>
#include <vector>

#define ATELIER_FMA __attribute__((target("avx2,fma")))

namespace atelier {
namespace {

constexpr int kTaps = 4;

struct Tap {
  int64_t from[kTaps];
  float weight[kTaps];
};

// Which products are added with one rounding and which with two decides the last bit, here and in Sum.
ATELIER_FMA std::vector<Tap> TapsOf(int64_t in, int64_t out) {
  constexpr float kA = -0.75F;
  const float scale = static_cast<float>(in) / static_cast<float>(out);
  std::vector<Tap> taps(static_cast<size_t>(out));
  for (int64_t i = 0; i < out; ++i) {
    Tap& tap = taps[static_cast<size_t>(i)];
    const float place = __builtin_fmaf(scale, static_cast<float>(i) + 0.5F, -0.5F);
    const int64_t left = std::min(static_cast<int64_t>(std::floor(place)), in - 1);
    const float t = std::clamp(place - static_cast<float>(left), 0.0F, 1.0F);
    const float distances[] = {t, 1.0F - t};
    for (int64_t side = 0; side < 2; ++side) {
      const float near = distances[side], far = near + 1.0F;
      tap.weight[1 + side] = __builtin_fmaf(kA + 2, near, -(kA + 3)) * near * near + 1.0F;
      tap.weight[3 * side] = __builtin_fmaf(__builtin_fmaf(kA, far, -5 * kA), far, 8 * kA) * far - 4 * kA;
    }
    for (int64_t j = 0; j < kTaps; ++j) tap.from[j] = std::clamp<int64_t>(left - 1 + j, 0, in - 1);
  }
  return taps;
}

ATELIER_FMA inline float Sum(float a, float b, float c, float d, const float* weight) {
  return __builtin_fmaf(d, weight[3], __builtin_fmaf(c, weight[2], __builtin_fmaf(a, weight[0], b * weight[1])));
}

template <int kChannels>
ATELIER_FMA void AlongX(const float* row, const std::vector<Tap>& taps, float* out) {
  for (const Tap& tap : taps) {
    const float *a = row + tap.from[0] * kChannels, *b = row + tap.from[1] * kChannels,
                *c = row + tap.from[2] * kChannels, *d = row + tap.from[3] * kChannels;
    for (int k = 0; k < kChannels; ++k) *out++ = Sum(a[k], b[k], c[k], d[k], tap.weight);
  }
}

ATELIER_FMA void AlongY(const float* const rows[kTaps], const float* weight, int64_t count, float* out) {
  const float *a = rows[0], *b = rows[1], *c = rows[2], *d = rows[3];
  for (int64_t i = 0; i < count; ++i) out[i] = Sum(a[i], b[i], c[i], d[i], weight);
}

}  // namespace

bool HasFloatBicubic() { return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0; }

void ResizeBicubic(const FloatPictures& pictures, int64_t height, int64_t width, int64_t begin, int64_t end,
                   float* rows) {
  const std::vector<Tap> across = TapsOf(pictures.width, width), down = TapsOf(pictures.height, height);
  const auto along_x = pictures.channels == 1 ? AlongX<1> : pictures.channels == 3 ? AlongX<3> : AlongX<4>;
  const int64_t count = width * pictures.channels;
  // The last four source rows at the new width, each at its number modulo four.
  std::vector<float> wide(static_cast<size_t>(kTaps * count));
  int64_t held[kTaps] = {-1, -1, -1, -1};
  for (int64_t y = begin; y < end; ++y) {
    const Tap& tap = down[static_cast<size_t>(y % height)];
    const float* from[kTaps];
    for (int j = 0; j < kTaps; ++j) {
      const int64_t number = y / height * pictures.height + tap.from[j], slot = number % kTaps;
      float* const place = wide.data() + slot * count;
      if (held[slot] != number) along_x(pictures.data + number * pictures.width * pictures.channels, across, place);
      held[slot] = number;
      from[j] = place;
    }
    AlongY(from, tap.weight, count, rows + (y - begin) * count);
  }
}

}  // namespace atelier

#else

namespace atelier {

bool HasFloatBicubic() { return false; }
void ResizeBicubic(const FloatPictures&, int64_t, int64_t, int64_t, int64_t, float*) {}

}  // namespace atelier

#endif
