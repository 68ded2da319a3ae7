#include "worker/engine/cpu_kernels.h"

#include <ATen/Parallel.h>

#include <catch2/catch.hpp>

#include "worker/engine/guard.h"
#include "worker/engine/layers.h"
#include "worker/engine/packed_conv.h"

namespace atelier::engine {
namespace {

double Difference(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() ? (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>() : 1e30;
}

at::Tensor Last(const at::Tensor& x) { return x.contiguous(at::MemoryFormat::ChannelsLast); }

TEST_CASE("group normalisation of channels last is that of libtorch, whatever the threads") {
  const c10::InferenceMode inference;
  at::manual_seed(1);
  const int threads = at::get_num_threads();
  for (const auto& [channels, height, width] :
       {std::tuple<int64_t, int64_t, int64_t>(64, 9, 11), {96, 1, 1}, {320, 64, 64}, {1280, 8, 8}, {32, 300, 300}}) {
    INFO(channels << " " << height);
    const at::Tensor x = at::randn({2, channels, height, width}) * 3 + 7;
    const at::Tensor w = at::randn({channels}), b = at::randn({channels}), offset = at::randn({2, channels}) * 4;
    for (const bool silu : {false, true}) {
      for (const at::Tensor& e : {at::Tensor(), offset}) {
        const at::Tensor sum = e.defined() ? x + e.unsqueeze(-1).unsqueeze(-1) : x;
        at::Tensor want = at::group_norm(sum.to(at::kDouble), 32, w.to(at::kDouble), b.to(at::kDouble), 1e-5);
        if (silu) want = at::silu(want);
        const auto got = CpuGroupNorm(Last(x), w, b, e, 32, 1e-5, silu);
        REQUIRE(got);
        CHECK(got->is_contiguous(at::MemoryFormat::ChannelsLast));
        CHECK(Difference(*got, want) < 1e-4);  // a group of three numbers lies close together
        at::set_num_threads(threads == 1 ? 2 : 1);
        const auto other = CpuGroupNorm(Last(x), w, b, e, 32, 1e-5, silu);
        at::set_num_threads(threads);
        CHECK(at::equal(*got, *other));
      }
    }
  }
  const at::Tensor w = at::ones({64}), x = at::randn({1, 64, 4, 4});
  CHECK_FALSE(CpuGroupNorm(x, w, w, {}, 32, 1e-5, true));  // another order
  CHECK_FALSE(CpuGroupNorm(Last(x.to(at::kHalf)), w.to(at::kHalf), w.to(at::kHalf), {}, 32, 1e-5, true));
}

TEST_CASE("a gated GELU is that of libtorch") {
  const c10::InferenceMode inference;
  at::manual_seed(2);
  for (const int64_t n : {1, 15, 16, 640, 5120}) {
    const at::Tensor x = at::randn({2, 37, 2 * n}) * 4;
    const std::vector<at::Tensor> halves = x.to(at::kDouble).chunk(2, -1);
    CHECK(Difference(GatedGelu(x), halves[0] * at::gelu(halves[1])) < 2e-5);
    // Not in one piece, or of another type: libtorch's own.
    CHECK(Difference(GatedGelu(x.transpose(0, 1)), GatedGelu(x).transpose(0, 1)) < 2e-5);
    CHECK(GatedGelu(x.to(at::kHalf)).scalar_type() == at::kHalf);
  }
  const at::Tensor far = at::tensor({1.f, 1.f, 1.f, 1.f, 100.f, -100.f, 0.f, 6.f}).view({1, 8});
  CHECK(Difference(GatedGelu(far), at::tensor({100.f, 0.f, 0.f, 6.f}).view({1, 4})) < 1e-6);
}

TEST_CASE("packed convolutions are those of libtorch, and the weight comes back as it was") {
  const c10::InferenceMode inference;
  at::manual_seed(3);
  for (const auto& [in, out, kernel, stride] : {std::tuple<int64_t, int64_t, int64_t, int64_t>(4, 320, 3, 1),
                                                {64, 96, 3, 2},
                                                {64, 3, 3, 1},
                                                {48, 32, 1, 1},
                                                {3, 20, 5, 1}}) {
    INFO(in << " " << out << " " << kernel);
    const int64_t padding = kernel / 2;
    const at::Tensor w = at::randn({out, in, kernel, kernel}), b = at::randn({out}), x = at::randn({2, in, 17, 12});
    const at::Tensor packed = Packed(w, stride, padding, std::nullopt), fitting = Packed(w, stride, padding, x.sizes());
    CHECK(packed.is_mkldnn());
    CHECK(at::equal(Unpacked(packed), w));
    CHECK(at::equal(Unpacked(fitting), w));
    CHECK(at::equal(PackedConv(x, fitting, b, stride, padding), PackedConv(x, packed, b, stride, padding)));
    for (const at::Tensor& bias : {at::Tensor(), b}) {
      const at::Tensor want = at::conv2d(x.to(at::kDouble), w.to(at::kDouble),
                                         bias.defined() ? bias.to(at::kDouble) : bias, stride, padding);
      CHECK(Difference(PackedConv(Last(x), packed, bias, stride, padding), want) < 1e-3);
      CHECK(Difference(PackedConv(x, packed, bias, stride, padding), want) < 1e-3);
    }
  }
}

TEST_CASE("a convolution's weight is packed for its first picture, and usable otherwise") {
  const c10::InferenceMode inference;
  const auto residency = std::make_shared<Residency>(1 << 20);
  ParamSet set(at::kCPU, Part::kAutoencoder, residency);
  const at::Tensor stored = at::randn({32, 16, 3, 3}).to(at::kHalf);
  const WeightSource weights("x", {{"c.weight", stored}, {"c.bias", at::zeros({32}).to(at::kHalf)}});
  LayerBuilder builder(weights, set);
  const Conv2d conv = builder.TakeConv("c", 16, 32, 3);
  REQUIRE(builder.status().ok());
  set.Load();
  const at::Tensor x = at::randn({1, 16, 8, 8}), want = at::conv2d(x, stored.to(at::kFloat), at::zeros({32}), 1, 1);
  CHECK(Difference(conv(x), want) < 1e-4);
  CHECK(conv.weight->live.is_mkldnn());
  CHECK(at::equal(conv.weight->As(at::kHalf), stored));
  CHECK(Difference(conv(x), want) < 1e-4);
  CHECK(residency->bytes() == (32 * 16 * 9 + 32) * 4);
}

}  // namespace
}  // namespace atelier::engine
