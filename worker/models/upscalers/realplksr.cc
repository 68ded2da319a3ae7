// RealPLKSR and PLKSR: convolutions with large kernels on a part of the channels. Source: spec extras.md 5.8.
#include "worker/models/network.h"
#include "worker/models/upscalers/parts.h"

namespace atelier::models::realplksr {
namespace {

using engine::Cast;
using engine::Conv2d;
using engine::WeightSource;

struct Block {
  Conv2d mix1, mix2, large, gate, refine;
  engine::LayerNorm channel_norm;
  engine::GroupNorm group_norm;
};

// Enlarges by sampling at learnt places.
struct DySample {
  Conv2d offset, scope, end;
  engine::Param start;
  int64_t groups = 4, scale = 1;

  at::Tensor operator()(const at::Tensor& x) const {
    const int64_t b = x.size(0), h = x.size(2), w = x.size(3), s = scale;
    const at::Tensor moved = offset(x) * at::sigmoid(scope(x)) * 0.5 + Cast(start, x.scalar_type());
    const at::Tensor columns = (at::arange(w, x.options()) + 0.5).view({1, 1, 1, 1, w});
    const at::Tensor rows = (at::arange(h, x.options()) + 0.5).view({1, 1, 1, h, 1});
    const at::Tensor places = moved.view({b, 2, groups, s * s, h * w}).view({b, 2, groups * s * s, h, w});
    const at::Tensor px = (places.narrow(1, 0, 1) + columns) * (2.0 / static_cast<double>(w)) - 1.0;
    const at::Tensor py = (places.narrow(1, 1, 1) + rows) * (2.0 / static_cast<double>(h)) - 1.0;
    const at::Tensor grid = at::pixel_shuffle(at::cat({px, py}, 1).reshape({b, 2 * groups * s * s, h, w}), s)
                                .view({b, 2, groups, s * h, s * w})
                                .permute({0, 2, 3, 4, 1})
                                .reshape({b * groups, s * h, s * w, 2});
    constexpr int64_t kBilinear = 0, kBorder = 1;
    const at::Tensor parts = x.reshape({b * groups, x.size(1) / groups, h, w});
    const at::Tensor y = at::grid_sampler(parts, grid, kBilinear, kBorder, false).reshape({b, x.size(1), s * h, s * w});
    return end.weight == nullptr ? y : end(y);
  }
};

class RealPlksr final : public engine::UpscaleNetwork {
 public:
  explicit RealPlksr(engine::Engine& engine) : params_(engine.device(), engine::Part::kUpscaler, engine.residency()) {}

  Status Build(const WeightSource& w) {
    engine::LayerBuilder b(w, params_);
    const int64_t in = w.Dim("feats.0.weight", 1), dim = w.Dim("feats.0.weight", 0);
    if (in != 3) b.Fail(Cat("an upscale model for ", in, " channels, expected 3"));
    const bool plain = !w.Has("feats.1.channel_mixer.0.weight");
    gelu_ = plain;
    const std::string mixer = plain ? ".channe_mixer." : ".channel_mixer.";
    const int64_t length = SequenceLength(w, "feats.");
    const int64_t out = w.Dim(Cat("feats.", length - 1, ".weight"), 0);
    scale_ = out % 3 == 0 ? SquareSide(out / 3) : 0;
    if (scale_ < 1 || scale_ > 16) {
      b.Fail(Cat("its last layer has ", out, " channels, expected 3 n^2"));
      return b.status();
    }
    if (!w.Has("feats.1.lk.conv.weight")) {
      b.Fail("large kernels made of several convolutions are not supported");
      return b.status();
    }
    first_ = b.TakeConv("feats.0", in, dim, 3);
    const int64_t blocks = length - (plain ? 2 : 3);
    for (int64_t i = 1; i <= blocks && b.status().ok(); ++i) {
      const std::string at = Cat("feats.", i);
      Block& block = blocks_.emplace_back();
      const std::string mix1 = at + mixer + "0", mix2 = at + mixer + "2";
      const int64_t inner = w.Dim(mix1 + ".weight", 0);
      block.mix1 = b.TakeConv(mix1, dim, inner, w.Dim(mix1 + ".weight", 2));
      block.mix2 = b.TakeConv(mix2, inner, dim, w.Dim(mix2 + ".weight", 2));
      const int64_t part = w.Dim(at + ".lk.conv.weight", 0), kernel = w.Dim(at + ".lk.conv.weight", 2);
      if (part > dim || kernel % 2 == 0) b.Fail(Cat("\"", at, ".lk.conv\" does not fit ", dim, " channels"));
      block.large = b.TakeConv(at + ".lk.conv", part, part, kernel);
      if (b.Has(at + ".attn.f.0.weight")) block.gate = b.TakeConv(at + ".attn.f.0", dim, dim, 3);
      block.refine = b.TakeConv(at + ".refine", dim, dim, 1);
      if (plain) continue;
      if (b.Has(at + ".layer_norm.bias")) {
        block.channel_norm = b.TakeLayerNorm(at + ".layer_norm", dim, 1e-6);
      } else {
        block.group_norm = {b.Take(at + ".norm.weight", {dim}), b.Take(at + ".norm.bias", {dim}), 4, 1e-5};
        if (dim % 4 != 0) b.Fail(Cat("it has ", dim, " channels, which 4 does not divide"));
      }
    }
    last_ = b.TakeConv(Cat("feats.", length - 1), dim, out, 3);
    if (b.Has("to_img.init_pos")) {
      sample_.scale = scale_;
      sample_.groups = scale_ % 2 == 1 ? 3 : 4;
      const int64_t places = 2 * sample_.groups * scale_ * scale_;
      if (out % sample_.groups != 0) b.Fail(Cat("its last layer has ", out, " channels, which do not make groups"));
      sample_.offset = b.TakeConv("to_img.offset", out, places, 1);
      sample_.scope = b.TakeConv("to_img.scope", out, places, 1, 1, 0, engine::Bias::kNone);
      sample_.start = b.Take("to_img.init_pos", {1, places, 1, 1});
      if (b.Has("to_img.end_conv.weight")) sample_.end = b.TakeConv("to_img.end_conv", out, 3, 1);
      if (sample_.end.weight == nullptr && out != 3) b.Fail("tensor \"to_img.end_conv.weight\" is missing");
    }
    return b.status();
  }

  int64_t scale() const override { return scale_; }
  at::Device device() const override { return params_.device(); }

  at::Tensor Forward(const at::Tensor& input) const override {
    params_.Load();
    at::Tensor t = first_(input);
    for (const Block& block : blocks_) {
      const at::Tensor r = t;
      if (block.channel_norm.weight != nullptr)
        t = block.channel_norm(t.permute({0, 2, 3, 1})).permute({0, 3, 1, 2}).contiguous();
      t = block.mix1(t);
      t = block.mix2(gelu_ ? at::gelu(t) : at::mish(t));
      const int64_t part = block.large.weight->stored.size(0);
      t = at::cat({block.large(t.narrow(1, 0, part)), t.narrow(1, part, t.size(1) - part)}, 1);
      if (block.gate.weight != nullptr) t = t * at::sigmoid(block.gate(t));
      t = block.refine(t);
      if (block.group_norm.weight != nullptr) t = block.group_norm(t);
      t = t + r;
    }
    t = last_(t) + input.repeat_interleave(scale_ * scale_, 1);
    return sample_.start != nullptr ? sample_(t) : at::pixel_shuffle(t, scale_);
  }

 private:
  mutable engine::ParamSet params_;
  Conv2d first_, last_;
  std::vector<Block> blocks_;
  DySample sample_;
  int64_t scale_ = 1;
  bool gelu_ = false;
};

bool Detect(const WeightSource& w) {
  return HasAll(w, "feats.", {"0.weight", "1.refine.weight"}) &&
         (w.Has("feats.1.lk.conv.weight") || w.Has("feats.1.lk.convs.0.weight") ||
          w.Has("feats.1.lk.mn_conv.weight")) &&
         (w.Has("feats.1.channel_mixer.0.weight") || w.Has("feats.1.channe_mixer.0.weight"));
}

StatusOr<std::shared_ptr<const engine::UpscaleNetwork>> Build(const WeightSource& w, engine::Engine& engine) {
  return BuildNetwork<engine::UpscaleNetwork, RealPlksr>(w, engine);
}

ATELIER_REGISTER_UPSCALER("realplksr", 11, {Detect, Build});

}  // namespace
}  // namespace atelier::models::realplksr
