// SwinIR: groups of blocks with attention in shifted windows. Source: spec extras.md 5.3.
#include "worker/models/network.h"
#include "worker/models/upscalers/parts.h"

namespace atelier::models::swinir {
namespace {

using engine::Conv2d;
using engine::WeightSource;

constexpr std::string_view kBlock = "layers.0.residual_group.blocks.0.";

class SwinIr final : public engine::UpscaleNetwork {
 public:
  explicit SwinIr(engine::Engine& engine) : params_(engine.device(), engine::Part::kUpscaler, engine.residency()) {}

  Status Build(const WeightSource& w) {
    engine::LayerBuilder b(w, params_);
    const std::string first = w.Has("conv_first.1.weight") ? "conv_first.1" : "conv_first";
    const int64_t in = w.Dim(first + ".weight", 1), c = w.Dim(first + ".weight", 0);
    if (first == "conv_first.1") unshuffle_ = in % 3 == 0 ? SquareSide(in / 3) : 0;
    if (unshuffle_ < 1 || unshuffle_ > 8 || in != 3 * unshuffle_ * unshuffle_) {
      b.Fail(Cat("an upscale model for ", in, " channels, expected 3 n^2"));
      return b.status();
    }
    first_ = b.TakeConv(first, in, c, 3);
    side_ = SquareSide(w.Dim(Cat(kBlock, "attn.relative_position_index"), 0));
    if (side_ < 2 || side_ > 64) {
      b.Fail(Cat("windows of ", side_, " pixels, expected 2 to 64"));
      return b.status();
    }
    range_ = side_ == 7 ? 255.0 : 1.0;
    patch_norm_ = b.TakeLayerNorm("patch_embed.norm", c);
    const int64_t groups = SequenceLength(w, "layers.");
    for (int64_t g = 0; g < groups && b.status().ok(); ++g) {
      Group& group = groups_.emplace_back();
      const std::string at = Cat("layers.", g, ".");
      const int64_t blocks = SequenceLength(w, at + "residual_group.blocks.");
      for (int64_t i = 0; i < blocks && b.status().ok(); ++i) {
        const std::string name = Cat(at, "residual_group.blocks.", i, ".");
        group.blocks.push_back({b.TakeLayerNorm(name + "norm1", c), b.TakeLayerNorm(name + "norm2", c),
                                TakeWindowAttention(b, name + "attn", c, side_), TakeMlp(b, name + "mlp", c)});
      }
      group.conv = TakeGroupConv(b, at + "conv", c);
    }
    norm_ = b.TakeLayerNorm("norm", c);
    after_ = TakeGroupConv(b, "conv_after_body", c);

    if (b.Has("conv_up1.weight")) {
      const int64_t features = w.Dim("conv_before_upsample.0.weight", 0);
      tail_.before = b.TakeConv("conv_before_upsample.0", c, features, 3);
      for (int64_t i = 1; i <= 4 && b.Has(Cat("conv_up", i, ".weight")); ++i) {
        ups_.push_back(b.TakeConv(Cat("conv_up", i), features, features, 3));
        net_scale_ *= 2;
      }
      high_ = b.TakeConv("conv_hr", features, features, 3);
      tail_.last = b.TakeConv("conv_last", features, 3, 3);
    } else if (b.Has("conv_before_upsample.0.weight")) {
      tail_ = TakePixelShuffleTail(b, c);
      net_scale_ = tail_.scale;
    } else if (b.Has("upsample.0.weight")) {
      const int64_t out = w.Dim("upsample.0.weight", 0);
      net_scale_ = out % 3 == 0 ? SquareSide(out / 3) : 0;
      if (net_scale_ < 1 || net_scale_ > 16) b.Fail(Cat("its last layer has ", out, " channels, expected 3 n^2"));
      direct_ = b.TakeConv("upsample.0", c, out, 3);
    } else {
      if (unshuffle_ != 1) b.Fail("it would make images smaller");
      restore_ = b.TakeConv("conv_last", c, 3, 3);
    }
    if (net_scale_ < unshuffle_) b.Fail("it would make images smaller");
    return b.status();
  }

  int64_t scale() const override { return net_scale_ / unshuffle_; }
  at::Device device() const override { return params_.device(); }

  at::Tensor Forward(const at::Tensor& input) const override {
    params_.Load();
    const int64_t h = input.size(2), w = input.size(3);
    const at::Tensor mean = ImageMean(input);
    // The reference fails where the padded side is no multiple of window and unshuffle together; padding to it does
    // not.
    const at::Tensor padded = ReflectToMultiple(PadToMultiple(input, 16, unshuffle_ * unshuffle_), side_ * unshuffle_);
    at::Tensor x = (padded - mean) * range_;
    if (unshuffle_ > 1) x = at::pixel_unshuffle(x, unshuffle_);
    const at::Tensor f = first_(x);
    at::Tensor t = patch_norm_(f.permute({0, 2, 3, 1}));
    for (const Group& group : groups_) {
      const at::Tensor r = t;
      bool shifted = false;
      for (const Block& block : group.blocks) {
        t = t + block.attention(block.norm1(t), shifted);
        t = t + block.mlp(block.norm2(t));
        shifted = !shifted;
      }
      t = r + group.conv(t.permute({0, 3, 1, 2})).permute({0, 2, 3, 1});
    }
    t = after_(norm_(t).permute({0, 3, 1, 2})) + f;
    const at::Tensor y = Tail(x, t) / range_ + mean;
    return y.narrow(2, 0, h * scale()).narrow(3, 0, w * scale());
  }

 private:
  struct Block {
    engine::LayerNorm norm1, norm2;
    WindowAttention attention;
    Mlp mlp;
  };
  struct Group {
    std::vector<Block> blocks;
    GroupConv conv;
  };

  at::Tensor Tail(const at::Tensor& x, const at::Tensor& body) const {
    if (restore_.weight != nullptr) return x + restore_(body);
    if (direct_.weight != nullptr) return at::pixel_shuffle(direct_(body), net_scale_);
    if (ups_.empty()) return tail_(body);
    at::Tensor t = at::leaky_relu(tail_.before(body), 0.01);
    for (const Conv2d& up : ups_)
      t = at::leaky_relu(up(at::upsample_nearest2d(t, {t.size(2) * 2, t.size(3) * 2})), 0.2);
    return tail_.last(at::leaky_relu(high_(t), 0.2));
  }

  mutable engine::ParamSet params_;
  Conv2d first_, high_, direct_, restore_;
  engine::LayerNorm patch_norm_, norm_;
  std::vector<Group> groups_;
  GroupConv after_;
  PixelShuffleTail tail_;
  std::vector<Conv2d> ups_;
  int64_t unshuffle_ = 1, side_ = 8, net_scale_ = 1;
  double range_ = 1.0;
};

bool Detect(const WeightSource& w) {
  return (w.Has("conv_first.weight") || w.Has("conv_first.1.weight")) &&
         HasAll(w, kBlock, {"norm1.weight", "mlp.fc1.bias", "attn.relative_position_index"});
}

StatusOr<std::shared_ptr<const engine::UpscaleNetwork>> Build(const WeightSource& w, engine::Engine& engine) {
  return BuildNetwork<engine::UpscaleNetwork, SwinIr>(w, engine);
}

ATELIER_REGISTER_UPSCALER("swinir", 2, {Detect, Build});

}  // namespace
}  // namespace atelier::models::swinir
