// The values of GGUF's block formats. Source: spec extras.md 3.3.
#include <array>
#include <bit>
#include <cmath>

#include "common/base/check.h"
#include "common/tensorio/gguf.h"

namespace atelier {
namespace {

using Block = const unsigned char*;

float HalfToFloat(uint32_t h) {
  const uint32_t sign = (h & 0x8000U) << 16, exponent = (h >> 10) & 31, mantissa = h & 0x3FF;
  if (exponent == 0) {  // multiples of 2^-24
    const float value = static_cast<float>(mantissa) * 0x1p-24F;
    return sign != 0 ? -value : value;
  }
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000U | (mantissa << 13));
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

float Half(Block b) { return HalfToFloat(static_cast<uint32_t>(b[0]) | static_cast<uint32_t>(b[1]) << 8); }
uint32_t Word(Block b) {
  return static_cast<uint32_t>(b[0]) | static_cast<uint32_t>(b[1]) << 8 | static_cast<uint32_t>(b[2]) << 16 |
         static_cast<uint32_t>(b[3]) << 24;
}
uint32_t Nibble(unsigned char byte, int high) { return high != 0 ? byte >> 4 : byte & 15; }

// Rounding of each result, to nearest with ties to even.
struct ToFloat {
  static float Round(float x) { return x; }
};
struct ToHalf {
  static float Round(float x) {
    const uint32_t bits = std::bit_cast<uint32_t>(x), size = bits & 0x7FFFFFFFU;
    if (size < 0x38800000U) {  // below 2^-14 halves are multiples of 2^-24
      const float rounded = (std::fabs(x) + 0.5F) - 0.5F;
      return std::copysign(rounded, x);
    }
    if (size > 0x7F800000U) return x;
    const uint32_t rounded = (size + 0xFFFU + ((size >> 13) & 1U)) & ~0x1FFFU;
    return std::bit_cast<float>((bits & 0x80000000U) | (rounded >= 0x47800000U ? 0x7F800000U : rounded));
  }
};
struct ToBFloat16 {
  static float Round(float x) {
    const uint32_t bits = std::bit_cast<uint32_t>(x);
    if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return x;
    return std::bit_cast<float>((bits + 0x7FFFU + ((bits >> 16) & 1U)) & ~0xFFFFU);
  }
};

constexpr std::array<float, 16> kNonLinear{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// Scale and minimum j of the 12 bytes that Q4_K and Q5_K have for 8 of each.
struct ScaleMin {
  float scale, minimum;
};
ScaleMin ScaleMinOf(Block sc, int j) {
  if (j < 4) return {static_cast<float>(sc[j] & 63), static_cast<float>(sc[4 + j] & 63)};
  return {static_cast<float>((sc[4 + j] & 15) | (sc[j - 4] >> 6) << 4),
          static_cast<float>((sc[4 + j] >> 4) | (sc[j] >> 6) << 4)};
}

// Each of these writes the values of one block.
template <typename R>
struct Formats {
  static float Mul(float a, float b) { return R::Round(a * b); }
  static float Add(float a, float b) { return R::Round(a + b); }
  static float D(Block b) { return R::Round(Half(b)); }

  static void F32(Block b, float* out) { out[0] = std::bit_cast<float>(Word(b)); }
  static void F16(Block b, float* out) { out[0] = Half(b); }
  static void Bf16(Block b, float* out) {
    out[0] = std::bit_cast<float>(static_cast<uint32_t>(b[0]) << 16 | static_cast<uint32_t>(b[1]) << 24);
  }
  static void Q4_0(Block b, float* out) {
    const float d = D(b);
    for (int i = 0; i < 32; ++i)
      out[i] = Mul(d, static_cast<float>(static_cast<int>(Nibble(b[2 + i % 16], i / 16)) - 8));
  }
  static void Q4_1(Block b, float* out) {
    const float d = D(b), m = D(b + 2);
    for (int i = 0; i < 32; ++i) out[i] = Add(Mul(d, static_cast<float>(Nibble(b[4 + i % 16], i / 16))), m);
  }
  static void Q5_0(Block b, float* out) {
    const float d = D(b);
    const uint32_t high = Word(b + 2);
    for (int i = 0; i < 32; ++i) {
      const uint32_t q = Nibble(b[6 + i % 16], i / 16) | ((high >> i) & 1U) << 4;
      out[i] = Mul(d, static_cast<float>(static_cast<int>(q) - 16));
    }
  }
  static void Q5_1(Block b, float* out) {
    const float d = D(b), m = D(b + 2);
    const uint32_t high = Word(b + 4);
    for (int i = 0; i < 32; ++i) {
      const uint32_t q = Nibble(b[8 + i % 16], i / 16) | ((high >> i) & 1U) << 4;
      out[i] = Add(Mul(d, static_cast<float>(q)), m);
    }
  }
  static void Q8_0(Block b, float* out) {
    const float d = D(b);
    for (int i = 0; i < 32; ++i) out[i] = Mul(d, static_cast<float>(static_cast<signed char>(b[2 + i])));
  }
  static int Bits2(Block qs, int i) { return (qs[32 * (i / 128) + i % 32] >> (2 * ((i % 128) / 32))) & 3; }
  static void Q2_K(Block b, float* out) {
    const float d = D(b + 80), dmin = D(b + 82);
    for (int i = 0; i < 256; ++i) {
      const int scale = b[i / 16];
      const float dl = Mul(d, static_cast<float>(scale & 15)), ml = Mul(dmin, static_cast<float>(scale >> 4));
      out[i] = Add(Mul(dl, static_cast<float>(Bits2(b + 16, i))), -ml);
    }
  }
  static void Q3_K(Block b, float* out) {
    const Block scales = b + 96;
    const float d = D(b + 108);
    for (int i = 0; i < 256; ++i) {
      const int j = i / 16;
      const int low = static_cast<int>(Nibble(scales[j % 8], j / 8)), high = (scales[8 + j % 4] >> (2 * (j / 4))) & 3;
      const int q = Bits2(b + 32, i) - (((b[i % 32] >> (i / 32)) & 1) != 0 ? 0 : 4);
      out[i] = Mul(Mul(d, static_cast<float>((low | high << 4) - 32)), static_cast<float>(q));
    }
  }
  static void Q4_K(Block b, float* out) {
    const float d = D(b), dmin = D(b + 2);
    for (int j = 0; j < 8; ++j) {
      const ScaleMin s = ScaleMinOf(b + 4, j);
      const float dl = Mul(d, s.scale), ml = Mul(dmin, s.minimum);
      for (int k = 0; k < 32; ++k) {
        const uint32_t q = Nibble(b[16 + 32 * (j / 2) + k], j % 2);
        out[32 * j + k] = Add(Mul(dl, static_cast<float>(q)), -ml);
      }
    }
  }
  static void Q5_K(Block b, float* out) {
    const float d = D(b), dmin = D(b + 2);
    for (int j = 0; j < 8; ++j) {
      const ScaleMin s = ScaleMinOf(b + 4, j);
      const float dl = Mul(d, s.scale), ml = Mul(dmin, s.minimum);
      for (int k = 0; k < 32; ++k) {
        const uint32_t q = Nibble(b[48 + 32 * (j / 2) + k], j % 2) | ((b[16 + k] >> j) & 1U) << 4;
        out[32 * j + k] = Add(Mul(dl, static_cast<float>(q)), -ml);
      }
    }
  }
  static void Q6_K(Block b, float* out) {
    const float d = D(b + 208);
    for (int i = 0; i < 256; ++i) {
      const int h = i / 128, p = (i % 128) / 32, k = i % 32;
      const uint32_t low = Nibble(b[64 * h + 32 * (p % 2) + k], p / 2), high = (b[128 + 32 * h + k] >> (2 * p)) & 3U;
      const float scale = static_cast<float>(static_cast<signed char>(b[192 + i / 16]));
      out[i] = Mul(Mul(d, scale), static_cast<float>(static_cast<int>(low | high << 4) - 32));
    }
  }
  static void Iq4Nl(Block b, float* out) {
    const float d = D(b);
    for (int i = 0; i < 32; ++i) out[i] = Mul(d, kNonLinear[Nibble(b[2 + i % 16], i / 16)]);
  }
  static void Iq4Xs(Block b, float* out) {
    const float d = D(b);
    const uint32_t sh = static_cast<uint32_t>(b[2]) | static_cast<uint32_t>(b[3]) << 8;
    for (int j = 0; j < 8; ++j) {
      const uint32_t s = Nibble(b[4 + j / 2], j % 2) | ((sh >> (2 * j)) & 3U) << 4;
      const float ds = Mul(d, static_cast<float>(static_cast<int>(s) - 32));
      for (int k = 0; k < 32; ++k) out[32 * j + k] = Mul(ds, kNonLinear[Nibble(b[8 + 16 * j + k % 16], k / 16)]);
    }
  }

  using Function = void (*)(Block, float*);
  struct Row {
    uint32_t id;
    Function function;
  };
  static Function Find(uint32_t id) {
    static constexpr std::array<Row, 15> kRows{{{0, F32},
                                                {1, F16},
                                                {30, Bf16},
                                                {2, Q4_0},
                                                {3, Q4_1},
                                                {6, Q5_0},
                                                {7, Q5_1},
                                                {8, Q8_0},
                                                {10, Q2_K},
                                                {11, Q3_K},
                                                {12, Q4_K},
                                                {13, Q5_K},
                                                {14, Q6_K},
                                                {20, Iq4Nl},
                                                {23, Iq4Xs}}};
    for (const Row& row : kRows) {
      if (row.id == id) return row.function;
    }
    return nullptr;
  }
};

template <typename R>
void Decode(const GgufType& type, Block blocks, int64_t count, float* out) {
  const typename Formats<R>::Function function = Formats<R>::Find(type.id);
  ATELIER_CHECK(function != nullptr);
  for (int64_t i = 0; i < count; ++i) function(blocks + i * type.block_bytes, out + i * type.block_elements);
}

}  // namespace

void DecodeGgufBlocks(const GgufType& type, const unsigned char* blocks, int64_t count, GgufPrecision precision,
                      float* out) {
  if (precision == GgufPrecision::kHalf) return Decode<ToHalf>(type, blocks, count, out);
  if (precision == GgufPrecision::kBFloat16) return Decode<ToBFloat16>(type, blocks, count, out);
  Decode<ToFloat>(type, blocks, count, out);
}

}  // namespace atelier
