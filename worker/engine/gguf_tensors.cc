#include "worker/engine/gguf_tensors.h"

#include <map>
#include <string_view>
#include <vector>

#include "common/base/check.h"

namespace atelier::engine {
namespace {

// The blocks [n, bytes] of one tensor, and pieces of them.
struct Blocks {
  at::Tensor bytes;  // u8
  at::ScalarType type;

  int64_t count() const { return bytes.size(0); }
  at::Tensor Take(int64_t at, int64_t size) const { return bytes.narrow(1, at, size); }
  // A half [n,1].
  at::Tensor Half(int64_t at) const { return Take(at, 2).contiguous().view(at::kHalf).to(type); }
  at::Tensor Signed(int64_t at, int64_t size) const { return Take(at, size).contiguous().view(at::kChar).to(type); }
  at::Tensor Value(const at::Tensor& integer) const { return integer.to(type); }
  // 0, step, 2 step, ...; made on the device, since a list would be copied there and waited for.
  at::Tensor Shifts(int64_t count, int64_t step, const std::vector<int64_t>& shape) const {
    return at::arange(0, count * step, step, bytes.options()).view(shape);
  }
};

at::Tensor And(const at::Tensor& x, int64_t mask) { return at::bitwise_and(x, mask); }
at::Tensor Right(const at::Tensor& x, int64_t by) { return at::bitwise_right_shift(x, by); }
at::Tensor Left(const at::Tensor& x, int64_t by) { return at::bitwise_left_shift(x, by); }

// Low nibbles, then high ones: [n,16] to [n,32].
at::Tensor Nibbles(const at::Tensor& qs) { return at::cat({And(qs, 15), Right(qs, 4)}, 1); }

// The fifth bits of 32 values, [n,32].
at::Tensor FifthBits(const Blocks& b, int64_t at) {
  const at::Tensor bits = at::bitwise_right_shift(b.Take(at, 4).unsqueeze(2), b.Shifts(8, 1, {1, 1, 8}));
  return Left(And(bits, 1).reshape({b.count(), 32}), 4);
}

at::Tensor Q4_0(const Blocks& b) { return b.Half(0) * (b.Value(Nibbles(b.Take(2, 16))) - 8); }
at::Tensor Q4_1(const Blocks& b) { return b.Half(0) * b.Value(Nibbles(b.Take(4, 16))) + b.Half(2); }
at::Tensor Q5_0(const Blocks& b) {
  return b.Half(0) * (b.Value(Nibbles(b.Take(6, 16)).bitwise_or(FifthBits(b, 2))) - 16);
}
at::Tensor Q5_1(const Blocks& b) {
  return b.Half(0) * b.Value(Nibbles(b.Take(8, 16)).bitwise_or(FifthBits(b, 4))) + b.Half(2);
}
at::Tensor Q8_0(const Blocks& b) { return b.Half(0) * b.Signed(2, 32); }

// Pairs of bits, [n,2,4,32] in the order of the elements.
at::Tensor Pairs(const Blocks& b, int64_t at) {
  const at::Tensor qs = b.Take(at, 64).reshape({b.count(), 2, 1, 32});
  return And(at::bitwise_right_shift(qs, b.Shifts(4, 2, {1, 1, 4, 1})), 3);
}
at::Tensor Q2_K(const Blocks& b) {
  const at::Tensor scales = b.Take(0, 16);
  const at::Tensor dl = b.Half(80) * b.Value(And(scales, 15)), ml = b.Half(82) * b.Value(Right(scales, 4));
  return dl.unsqueeze(2) * b.Value(Pairs(b, 16)).view({-1, 16, 16}) - ml.unsqueeze(2);
}
at::Tensor Q3_K(const Blocks& b) {
  const int64_t n = b.count();
  const at::Tensor high = And(at::bitwise_right_shift(b.Take(0, 32).unsqueeze(1), b.Shifts(8, 1, {1, 8, 1})), 1);
  const at::Tensor q = b.Value(Pairs(b, 32)).view({n, 16, 16}) - (1 - b.Value(high)).view({n, 16, 16}) * 4;
  const at::Tensor tops = at::bitwise_right_shift(b.Take(104, 4).unsqueeze(1), b.Shifts(4, 2, {1, 4, 1}));
  const at::Tensor scales = Nibbles(b.Take(96, 8)).bitwise_or(Left(And(tops, 3).reshape({n, 16}), 4));
  return (b.Half(108) * (b.Value(scales) - 32)).unsqueeze(2) * q;
}

// Nibbles of 128 bytes in the order of Q4_K: [n,8,32].
at::Tensor NibblesK(const Blocks& b, int64_t at) {
  const at::Tensor qs = b.Take(at, 128).reshape({b.count(), 4, 1, 32});
  return And(at::bitwise_right_shift(qs, b.Shifts(2, 4, {1, 1, 2, 1})), 15).reshape({b.count(), 8, 32});
}
// d S q - dmin M with the 12 bytes that hold S and M; q [n,8,32].
at::Tensor ScaledK(const Blocks& b, const at::Tensor& q) {
  const at::Tensor first = b.Take(4, 4), second = b.Take(8, 4), third = b.Take(12, 4);
  const at::Tensor s = at::cat({And(first, 63), And(third, 15).bitwise_or(Left(Right(first, 6), 4))}, 1);
  const at::Tensor m = at::cat({And(second, 63), Right(third, 4).bitwise_or(Left(Right(second, 6), 4))}, 1);
  return (b.Half(0) * b.Value(s)).unsqueeze(2) * b.Value(q) - (b.Half(2) * b.Value(m)).unsqueeze(2);
}
at::Tensor Q4_K(const Blocks& b) { return ScaledK(b, NibblesK(b, 16)); }
at::Tensor Q5_K(const Blocks& b) {
  const at::Tensor bits = at::bitwise_right_shift(b.Take(16, 32).unsqueeze(1), b.Shifts(8, 1, {1, 8, 1}));
  return ScaledK(b, NibblesK(b, 48).bitwise_or(Left(And(bits, 1), 4)));
}
at::Tensor Q6_K(const Blocks& b) {
  const int64_t n = b.count();
  const at::Tensor ql = b.Take(0, 128).reshape({n, 2, 1, 64}), qh = b.Take(128, 64).reshape({n, 2, 1, 32});
  const at::Tensor low = And(at::bitwise_right_shift(ql, b.Shifts(2, 4, {1, 1, 2, 1})), 15).reshape({n, 2, 4, 32});
  const at::Tensor high = And(at::bitwise_right_shift(qh, b.Shifts(4, 2, {1, 1, 4, 1})), 3);
  const at::Tensor q = b.Value(low.bitwise_or(Left(high, 4))).view({n, 16, 16}) - 32;
  return (b.Half(208) * b.Signed(192, 16)).unsqueeze(2) * q;
}

at::Tensor NonLinear(const Blocks& b, const at::Tensor& nibbles) {
  const at::Tensor table = at::tensor({-127.F, -104.F, -83.F, -65.F, -49.F, -35.F, -22.F, -10.F, 1.F, 13.F, 25.F, 38.F,
                                       53.F, 69.F, 89.F, 113.F})
                               .to(at::TensorOptions(b.bytes.device()).dtype(b.type));
  return table.index_select(0, nibbles.flatten().to(at::kInt)).view(nibbles.sizes());
}
at::Tensor Iq4Nl(const Blocks& b) { return b.Half(0) * NonLinear(b, Nibbles(b.Take(2, 16))); }
at::Tensor Iq4Xs(const Blocks& b) {
  const int64_t n = b.count();
  const at::Tensor word = b.Take(2, 1).to(at::kInt).bitwise_or(Left(b.Take(3, 1).to(at::kInt), 8));
  const at::Tensor tops = And(at::bitwise_right_shift(word, b.Shifts(8, 2, {1, 8}).to(at::kInt)), 3);
  const at::Tensor lows = And(at::bitwise_right_shift(b.Take(4, 4).unsqueeze(2), b.Shifts(2, 4, {1, 1, 2})), 15);
  const at::Tensor s = lows.reshape({n, 8}).to(at::kInt).bitwise_or(Left(tops, 4)) - 32;
  const at::Tensor qs = b.Take(8, 128).reshape({n, 8, 1, 16});
  const at::Tensor q = And(at::bitwise_right_shift(qs, b.Shifts(2, 4, {1, 1, 2, 1})), 15).reshape({n, 8, 32});
  return (b.Half(0) * b.Value(s)).unsqueeze(2) * NonLinear(b, q);
}

}  // namespace

at::Tensor DecodeGgufTensor(const GgufType& type, const at::Tensor& blocks, at::ScalarType value_type) {
  using Function = at::Tensor (*)(const Blocks&);
  static const std::map<std::string_view, Function> functions{
      {"Q4_0", Q4_0}, {"Q4_1", Q4_1}, {"Q5_0", Q5_0}, {"Q5_1", Q5_1}, {"Q8_0", Q8_0},    {"Q2_K", Q2_K},
      {"Q3_K", Q3_K}, {"Q4_K", Q4_K}, {"Q5_K", Q5_K}, {"Q6_K", Q6_K}, {"IQ4_NL", Iq4Nl}, {"IQ4_XS", Iq4Xs}};
  const auto function = functions.find(type.name);
  ATELIER_CHECK(function != functions.end());
  return function->second({blocks.view({-1, type.block_bytes}), value_type}).reshape({-1});
}

}  // namespace atelier::engine
