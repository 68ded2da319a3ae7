#include "worker/models/flux.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "worker/engine/guard.h"
#include "worker/engine/layers.h"
#include "worker/engine/network_hooks.h"
#include "worker/models/dit.h"

namespace atelier::models {
namespace {

using engine::HeadAttention;
using engine::LayerBuilder;
using engine::Linear;
using engine::RmsNorm;

constexpr int64_t kPatch = 2, kHeadWidth = 128, kSinusoid = 256;
constexpr double kTimeFactor = 1000.0;  // of noise levels and guidance
const std::vector<int64_t> kAxes{16, 56, 56};

struct Stream {
  Linear modulation, qkv, proj, mlp_in, mlp_out;
  RmsNorm query_norm, key_norm;
};
struct DoubleBlock {
  Stream image, text;
};
struct SingleBlock {
  Linear modulation, in, out;
  RmsNorm query_norm, key_norm;
};

// One stream's share of a joint attention.
struct Prepared {
  std::vector<at::Tensor> mod;  // shift, scale, gate, twice
  Qkv qkv;
};

class Flux final : public engine::DiffusionNetwork {
 public:
  explicit Flux(engine::Engine& engine) : params_(engine.device(), engine::Part::kDiffusion, engine.residency()) {}

  Status Build(const engine::WeightSource& weights) {
    LayerBuilder b(weights, params_);
    shape_ = ShapeOfFlux(weights);
    hidden_ = shape_.hidden;
    if (hidden_ <= 0 || hidden_ % kHeadWidth != 0)
      b.Fail(Cat("this is no FLUX network: \"img_in.weight\" has ", hidden_, " rows, which 128 does not divide"));
    heads_ = hidden_ / kHeadWidth;
    image_in_ = b.TakeLinear("img_in", shape_.channels * kPatch * kPatch, hidden_);
    text_in_ = b.TakeLinear("txt_in", 0, hidden_);
    time_in_ = TakeMlp(b, "time_in", kSinusoid);
    vector_in_ = TakeMlp(b, "vector_in", 0);
    if (shape_.guidance) guidance_in_ = TakeMlp(b, "guidance_in", kSinusoid);
    const int64_t doubles = weights.CountBlocks("double_blocks."), singles = weights.CountBlocks("single_blocks.");
    for (int64_t i = 0; i < doubles && b.status().ok(); ++i) {
      const std::string at = Cat("double_blocks.", i, ".");
      double_.push_back({TakeStream(b, at + "img_"), TakeStream(b, at + "txt_")});
    }
    for (int64_t i = 0; i < singles && b.status().ok(); ++i) {
      const std::string at = Cat("single_blocks.", i, ".");
      const int64_t mlp = weights.Dim(at + "linear2.weight", 1) - hidden_;
      SingleBlock& block = single_.emplace_back();
      block.modulation = b.TakeLinear(at + "modulation.lin", hidden_, hidden_ * 3);
      block.in = b.TakeLinear(at + "linear1", hidden_, hidden_ * 3 + mlp);
      block.out = b.TakeLinear(at + "linear2", 0, hidden_);
      block.query_norm = b.TakeRmsNorm(at + "norm.query_norm.scale", kHeadWidth);
      block.key_norm = b.TakeRmsNorm(at + "norm.key_norm.scale", kHeadWidth);
    }
    final_modulation_ = b.TakeLinear("final_layer.adaLN_modulation.1", hidden_, hidden_ * 2);
    final_ = b.TakeLinear("final_layer.linear", hidden_, shape_.out_channels * kPatch * kPatch);
    return b.status();
  }

  at::Device device() const override { return params_.device(); }

  at::Tensor Forward(const at::Tensor& input, const at::Tensor& t,
                     const engine::ModelCallInputs& inputs) const override {
    params_.Load();
    const auto options = at::TensorOptions(params_.device()).dtype(params_.compute());
    at::Tensor joined = inputs.c_concat.defined() ? at::cat({input, inputs.c_concat.to(input.device())}, 1) : input;
    TORCH_CHECK(joined.dim() == 4 && joined.size(1) == shape_.channels, "the model takes ", shape_.channels,
                " latent channels, not ", joined.size(1));
    TORCH_CHECK(inputs.context.defined() && inputs.context.size(2) == shape_.context_width,
                "the model takes text conditioning of width ", shape_.context_width, ", not ",
                inputs.context.defined() ? inputs.context.size(2) : 0);
    const int64_t height = input.size(2), width = input.size(3), batch = input.size(0);
    const int64_t rows = (height + kPatch - 1) / kPatch, columns = (width + kPatch - 1) / kPatch;

    std::vector<at::Tensor> images{Patches(joined.to(options))};
    std::vector<at::Tensor> ids{at::zeros({inputs.context.size(1), 3}), Ids(rows, columns, 0, 0, 0)};
    AddReferences(inputs, batch, rows, columns, images, ids);
    at::Tensor image = image_in_(at::cat(images, 1));
    at::Tensor text = text_in_(inputs.context.to(options));
    const int64_t text_tokens = text.size(1);

    at::Tensor vec = time_in_(Sinusoid(t, options));
    if (shape_.guidance && inputs.guidance.defined()) vec = vec + guidance_in_(Sinusoid(inputs.guidance, options));
    at::Tensor y = inputs.y.defined() ? inputs.y : at::zeros({batch, shape_.vector_width});
    TORCH_CHECK(y.dim() == 2 && y.size(1) >= shape_.vector_width, "the model takes a conditioning vector of width ",
                shape_.vector_width, ", not ", y.size(1));
    vec = vec + vector_in_(y.narrow(1, 0, shape_.vector_width).to(options));
    const at::Tensor active = at::silu(vec);
    const Rope rope = MakeRope(at::cat(ids, 0).to(params_.device()), kAxes);

    // Nodes may leave blocks out.
    const std::set<int64_t> none;
    const std::set<int64_t>& skip_double = inputs.hooks != nullptr ? inputs.hooks->skip_double : none;
    const std::set<int64_t>& skip_single = inputs.hooks != nullptr ? inputs.hooks->skip_single : none;
    for (size_t n = 0; n < double_.size(); ++n) {
      if (skip_double.contains(static_cast<int64_t>(n))) continue;
      const DoubleBlock& block = double_[n];
      const Prepared i = Prepare(block.image, image, active), w = Prepare(block.text, text, active);
      const at::Tensor q = ApplyRope(at::cat({w.qkv.q, i.qkv.q}, 2), rope);
      const at::Tensor k = ApplyRope(at::cat({w.qkv.k, i.qkv.k}, 2), rope);
      const at::Tensor out = HeadAttention(q, k, at::cat({w.qkv.v, i.qkv.v}, 2));
      image = Finish(block.image, image, out.narrow(1, text_tokens, image.size(1)), i.mod);
      text = GuardHalf(Finish(block.text, text, out.narrow(1, 0, text_tokens), w.mod));
    }
    at::Tensor x = GuardHalf(at::cat({text, image}, 1));
    for (size_t n = 0; n < single_.size(); ++n) {
      if (skip_single.contains(static_cast<int64_t>(n))) continue;
      const SingleBlock& block = single_[n];
      const std::vector<at::Tensor> mod = block.modulation(active).chunk(3, -1);
      const at::Tensor both = block.in(Modulate(PlainNorm(x), mod[0], mod[1]));
      Qkv qkv = SplitQkv(both.narrow(2, 0, hidden_ * 3), heads_);
      const at::Tensor mlp = both.narrow(2, hidden_ * 3, both.size(2) - hidden_ * 3);
      const at::Tensor out =
          HeadAttention(ApplyRope(block.query_norm(qkv.q), rope), ApplyRope(block.key_norm(qkv.k), rope), qkv.v);
      x = GuardHalf(x + mod[2].unsqueeze(1) * block.out(at::cat({out, at::gelu(mlp, "tanh")}, 2)));
    }
    x = x.narrow(1, text_tokens, rows * columns);
    const std::vector<at::Tensor> mod = final_modulation_(active).chunk(2, -1);
    x = final_(Modulate(PlainNorm(x), mod[0], mod[1]));
    x = x.view({batch, rows, columns, shape_.out_channels, kPatch, kPatch}).permute({0, 3, 1, 4, 2, 5});
    x = x.reshape({batch, shape_.out_channels, rows * kPatch, columns * kPatch});
    return x.narrow(2, 0, height).narrow(3, 0, width).to(at::kFloat);
  }

 private:
  SiluMlp TakeMlp(LayerBuilder& b, const std::string& name, int64_t in) const {
    return {b.TakeLinear(name + ".in_layer", in, hidden_), b.TakeLinear(name + ".out_layer", hidden_, hidden_)};
  }

  Stream TakeStream(LayerBuilder& b, const std::string& at) const {
    Stream s;
    s.modulation = b.TakeLinear(at + "mod.lin", hidden_, hidden_ * 6);
    s.qkv = b.TakeLinear(at + "attn.qkv", hidden_, hidden_ * 3);
    s.proj = b.TakeLinear(at + "attn.proj", hidden_, hidden_);
    s.query_norm = b.TakeRmsNorm(at + "attn.norm.query_norm.scale", kHeadWidth);
    s.key_norm = b.TakeRmsNorm(at + "attn.norm.key_norm.scale", kHeadWidth);
    const int64_t mlp = b.weights().Dim(at + "mlp.0.weight", 0);
    s.mlp_in = b.TakeLinear(at + "mlp.0", hidden_, mlp);
    s.mlp_out = b.TakeLinear(at + "mlp.2", mlp, hidden_);
    return s;
  }

  static at::Tensor Sinusoid(const at::Tensor& value, const at::TensorOptions& options) {
    return engine::SinusoidalEmbedding(value.to(options.device()).to(at::kFloat) * kTimeFactor, kSinusoid).to(options);
  }

  // [B,C,H,W] to [B,tokens,C*4], a token's elements ordered channel, row, column.
  static at::Tensor Patches(const at::Tensor& x) {
    const at::Tensor p = PadToPatch(x, kPatch);
    const int64_t rows = p.size(2) / kPatch, columns = p.size(3) / kPatch;
    return p.view({p.size(0), p.size(1), rows, kPatch, columns, kPatch})
        .permute({0, 2, 4, 1, 3, 5})
        .reshape({p.size(0), rows * columns, p.size(1) * kPatch * kPatch});
  }

  // (index, row, column) of each token, f32 [rows*columns, 3].
  static at::Tensor Ids(int64_t rows, int64_t columns, int64_t index, int64_t row, int64_t column) {
    at::Tensor ids = at::zeros({rows, columns, 3});
    ids.select(2, 0).fill_(static_cast<double>(index));
    ids.select(2, 1).copy_(at::arange(row, row + rows, at::kFloat).unsqueeze(1).expand({rows, columns}));
    ids.select(2, 2).copy_(at::arange(column, column + columns, at::kFloat).unsqueeze(0).expand({rows, columns}));
    return ids.view({rows * columns, 3});
  }

  // Reference pictures follow the main one, each at a place of its own.
  void AddReferences(const engine::ModelCallInputs& inputs, int64_t batch, int64_t rows, int64_t columns,
                     std::vector<at::Tensor>& images, std::vector<at::Tensor>& ids) const {
    int64_t index = 0, h = 0, w = 0;  // in tokens
    const std::string& method = inputs.ref_latents_method;
    for (const at::Tensor& latent : inputs.ref_latents) {
      TORCH_CHECK(latent.dim() == 4 && latent.size(1) == shape_.channels, "the model takes reference latents of ",
                  shape_.channels, " channels, not ", latent.size(1));
      const int64_t high = (latent.size(2) + kPatch - 1) / kPatch, wide = (latent.size(3) + kPatch - 1) / kPatch;
      int64_t row = 0, column = 0;
      if (method == "index") {
        ++index;
      } else if (method == "uxo") {
        row = rows + h;
        column = columns + w;
        h += high;
        w += wide;
      } else {
        index = 1;
        (high + h > wide + w ? column : row) = high + h > wide + w ? w : h;
        h = std::max(h, high + row);
        w = std::max(w, wide + column);
      }
      at::Tensor reference = latent.to(images[0].options());
      if (reference.size(0) != batch)
        reference =
            reference.repeat({(batch + reference.size(0) - 1) / reference.size(0), 1, 1, 1}).narrow(0, 0, batch);
      images.push_back(Patches(reference));
      ids.push_back(Ids(high, wide, index, row, column));
    }
  }

  Prepared Prepare(const Stream& s, const at::Tensor& x, const at::Tensor& active) const {
    Prepared p;
    p.mod = s.modulation(active).chunk(6, -1);
    p.qkv = SplitQkv(s.qkv(Modulate(PlainNorm(x), p.mod[0], p.mod[1])), heads_);
    p.qkv.q = s.query_norm(p.qkv.q);
    p.qkv.k = s.key_norm(p.qkv.k);
    return p;
  }

  static at::Tensor Finish(const Stream& s, const at::Tensor& x, const at::Tensor& attention,
                           const std::vector<at::Tensor>& mod) {
    const at::Tensor y = x + mod[2].unsqueeze(1) * s.proj(attention);
    const at::Tensor feed = s.mlp_out(at::gelu(s.mlp_in(Modulate(PlainNorm(y), mod[3], mod[4])), "tanh"));
    return y + mod[5].unsqueeze(1) * feed;
  }

  mutable engine::ParamSet params_;
  FluxShape shape_;
  int64_t hidden_ = 0, heads_ = 0;
  Linear image_in_, text_in_, final_modulation_, final_;
  SiluMlp time_in_, vector_in_, guidance_in_;
  std::vector<DoubleBlock> double_;
  std::vector<SingleBlock> single_;
};

}  // namespace

FluxShape ShapeOfFlux(const engine::WeightSource& weights) {
  FluxShape shape;
  shape.hidden = weights.Dim("img_in.weight", 0);
  shape.channels = weights.Dim("img_in.weight", 1) / (kPatch * kPatch);
  shape.out_channels = weights.Dim("final_layer.linear.weight", 0) / (kPatch * kPatch);
  shape.context_width = weights.Dim("txt_in.weight", 1);
  shape.vector_width = weights.Dim("vector_in.in_layer.weight", 1);
  shape.guidance = weights.Has("guidance_in.in_layer.weight");
  return shape;
}

StatusOr<std::shared_ptr<const engine::DiffusionNetwork>> BuildFlux(const engine::WeightSource& weights,
                                                                    engine::Engine& engine) {
  return engine::Guard([&]() -> StatusOr<std::shared_ptr<const engine::DiffusionNetwork>> {
    auto network = std::make_shared<Flux>(engine);
    RETURN_IF_ERROR(network->Build(weights));
    return std::shared_ptr<const engine::DiffusionNetwork>(std::move(network));
  });
}

}  // namespace atelier::models
