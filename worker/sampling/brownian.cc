#include "worker/sampling/brownian.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "worker/sampling/noise.h"

namespace atelier::engine {
namespace {

constexpr size_t kPoolWords = 24;

// Python's round(x, 6): the exact binary value, ties to even.
double Round6(double x) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.6f", x);
  return std::strtod(text, nullptr);
}

void AppendWords(uint64_t value, std::vector<uint32_t>& words) {
  do {
    words.push_back(static_cast<uint32_t>(value));
    value >>= 32;
  } while (value != 0);
}

}  // namespace

uint32_t SeedSequenceWord(uint64_t entropy, const std::vector<uint64_t>& spawn_key) {
  std::vector<uint32_t> words;
  AppendWords(entropy, words);
  if (!spawn_key.empty() && words.size() < kPoolWords) words.resize(kPoolWords, 0);
  for (const uint64_t key : spawn_key) AppendWords(key, words);

  uint32_t h = 0x43b0d7e5;
  auto hash = [&h](uint32_t v) {
    v ^= h;
    h *= 0x931e8875;
    v *= h;
    return v ^ (v >> 16);
  };
  auto mix = [](uint32_t x, uint32_t y) {
    const uint32_t r = 0xca01f9dd * x - 0x4973f715 * y;
    return r ^ (r >> 16);
  };
  std::array<uint32_t, kPoolWords> pool{};
  for (size_t i = 0; i < kPoolWords; ++i) pool[i] = hash(i < words.size() ? words[i] : 0);
  for (size_t src = 0; src < kPoolWords; ++src)
    for (size_t dst = 0; dst < kPoolWords; ++dst)
      if (src != dst) pool[dst] = mix(pool[dst], hash(pool[src]));
  for (size_t i = kPoolWords; i < words.size(); ++i)
    for (uint32_t& dst : pool) dst = mix(dst, hash(words[i]));

  uint32_t v = pool[0] ^ 0x8b51f9dd;
  v *= 0x8b51f9ddu * 0x58f38dedu;
  return v ^ (v >> 16);
}

BrownianTree::BrownianTree(std::vector<int64_t> shape, uint64_t seed, float low, float high, const at::Device& device)
    : shape_(std::move(shape)), seed_(seed), device_(device), low_(Round6(low)), high_(Round6(high)) {
  const double width = static_cast<double>(high) - static_cast<double>(low);
  whole_ = Draw(SeedSequenceWord(seed, {})) * std::sqrt(width);
}

at::Tensor BrownianTree::Draw(uint32_t seed) const {
  at::Generator generator = MakeGenerator(device_, seed);
  return Randn(shape_, generator, device_);
}

void BrownianTree::Collect(double a, double b, const at::Tensor& w, uint64_t key, uint64_t depth, double low,
                           double high, at::Tensor& sum) const {
  if (low <= a && b <= high) {
    sum = sum.defined() ? sum + w : w;
    return;
  }
  const double m = Round6(0.5 * (a + b));
  if (m <= a || m >= b) return;  // narrower than the rounding: no level lies inside
  const at::Tensor z = Draw(SeedSequenceWord(seed_, {key, depth}));
  // In this order of roundings, which the reference's bits show.
  const double reciprocal = 1 / (b - a);
  const at::Tensor left = (m - a) * w * reciprocal + std::sqrt((m - a) * (b - m) * reciprocal) * z;
  if (low < m) Collect(a, m, left, 2 * key, depth + 1, low, high, sum);
  if (high > m) Collect(m, b, w - left, 2 * key + 1, depth + 1, low, high, sum);
}

at::Tensor BrownianTree::Noise(float sigma, float next) const {
  const double from = sigma, to = next;
  const double low = std::clamp(Round6(std::min(from, to)), low_, high_);
  const double high = std::clamp(Round6(std::max(from, to)), low_, high_);
  at::Tensor sum;
  if (low < high) Collect(low_, high_, whole_, 0, 0, low, high, sum);
  if (!sum.defined()) return at::zeros(shape_, whole_.options());
  // The divisor is a float32 number in the reference.
  const float width = std::sqrt(std::fabs(next - sigma));
  return (sigma > next ? -sum : sum) / width;
}

}  // namespace atelier::engine
