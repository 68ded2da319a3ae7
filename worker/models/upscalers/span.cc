// SPAN: blocks of three convolutions whose last gates the block. Each convolution is stored as a chain that is folded
// into one kernel. Source: spec extras.md 5.5.
#include <array>

#include "worker/models/network.h"
#include "worker/models/upscalers/parts.h"

namespace atelier::models::span {
namespace {

using engine::Cast;
using engine::Conv2d;
using engine::WeightSource;

// 1x1, 3x3 and 1x1 in a row with a 1x1 beside, as one 3x3 convolution. The folded kernel that files carry as well is
// not used.
struct FoldedConv {
  Conv2d first, middle, last, skip;

  at::Tensor operator()(const at::Tensor& x) const {
    const at::ScalarType type = x.scalar_type();
    const auto kernel = [type](const Conv2d& c) { return Cast(c.weight, type); };
    const auto bias = [type](const Conv2d& c) { return Cast(c.bias, type); };
    const at::Tensor w1 = kernel(first).flatten(1), w2 = kernel(middle), w3 = kernel(last).flatten(1);
    const at::Tensor inner = at::einsum("om,mnyx,ni->oiyx", {w3, w2, w1});
    const at::Tensor folded = inner + at::constant_pad_nd(kernel(skip), {1, 1, 1, 1});
    const at::Tensor offset = at::mv(w3, at::mv(w2.sum({2, 3}), bias(first)) + bias(middle)) + bias(last) + bias(skip);
    return at::conv2d(x, folded, offset, 1, 1);
  }
};

FoldedConv TakeFolded(engine::LayerBuilder& b, const std::string& name, int64_t in, int64_t out) {
  const WeightSource& w = b.weights();
  const int64_t a = w.Dim(name + ".conv.0.weight", 0), c = w.Dim(name + ".conv.1.weight", 0);
  for (const char* part : {".conv.0", ".conv.1", ".conv.2", ".sk"}) {
    if (!b.Has(Cat(name, part, ".bias"))) b.Fail(Cat("tensor \"", name, part, ".bias\" is missing"));
  }
  return {b.TakeConv(name + ".conv.0", in, a, 1), b.TakeConv(name + ".conv.1", a, c, 3),
          b.TakeConv(name + ".conv.2", c, out, 1), b.TakeConv(name + ".sk", in, out, 1)};
}

class Span final : public engine::UpscaleNetwork {
 public:
  explicit Span(engine::Engine& engine) : params_(engine.device(), engine::Part::kUpscaler, engine.residency()) {}

  Status Build(const WeightSource& w) {
    engine::LayerBuilder b(w, params_);
    const int64_t in = w.Dim("conv_1.sk.weight", 1), features = w.Dim("conv_1.sk.weight", 0);
    if (in != 3) b.Fail(Cat("an upscale model for ", in, " channels, expected 3"));
    const int64_t out = w.Dim("upsampler.0.weight", 0);
    scale_ = ScaleOfChannels(out, in);
    if (scale_ < 1 || scale_ > 16) b.Fail(Cat("its last layer has ", out, " channels, expected 3 n^2"));
    normalised_ = !w.Has("no_norm");
    first_ = TakeFolded(b, "conv_1", in, features);
    for (size_t i = 0; i < blocks_.size(); ++i) {
      for (size_t j = 0; j < 3; ++j)
        blocks_[i][j] = TakeFolded(b, Cat("block_", i + 1, ".c", j + 1, "_r"), features, features);
    }
    second_ = TakeFolded(b, "conv_2", features, features);
    join_ = b.TakeConv("conv_cat", 4 * features, features, 1);
    up_ = b.TakeConv("upsampler.0", features, out, 3);
    return b.status();
  }

  int64_t scale() const override { return scale_; }
  at::Device device() const override { return params_.device(); }

  at::Tensor Forward(const at::Tensor& input) const override {
    params_.Load();
    const at::Tensor f = first_(normalised_ ? (input - ImageMean(input)) * 255.0 : input);
    at::Tensor t = f, after_first, inside_last;
    for (const std::array<FoldedConv, 3>& block : blocks_) {
      inside_last = at::silu(block[0](t));
      const at::Tensor y = block[2](at::silu(block[1](inside_last)));
      t = (y + t) * (at::sigmoid(y) - 0.5);
      if (!after_first.defined()) after_first = t;
    }
    return at::pixel_shuffle(up_(join_(at::cat({f, second_(t), after_first, inside_last}, 1))), scale_);
  }

 private:
  mutable engine::ParamSet params_;
  FoldedConv first_, second_;
  std::array<std::array<FoldedConv, 3>, 6> blocks_;
  Conv2d join_, up_;
  int64_t scale_ = 1;
  bool normalised_ = false;
};

bool Detect(const WeightSource& w) {
  return HasAll(
      w, "",
      {"conv_1.sk.weight", "block_1.c1_r.sk.weight", "block_1.c1_r.eval_conv.weight", "block_1.c3_r.eval_conv.weight",
       "conv_cat.weight", "conv_2.sk.weight", "conv_2.eval_conv.weight", "upsampler.0.weight"});
}

StatusOr<std::shared_ptr<const engine::UpscaleNetwork>> Build(const WeightSource& w, engine::Engine& engine) {
  return BuildNetwork<engine::UpscaleNetwork, Span>(w, engine);
}

ATELIER_REGISTER_UPSCALER("span", 5, {Detect, Build});

}  // namespace
}  // namespace atelier::models::span
