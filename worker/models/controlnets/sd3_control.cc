// Control networks of SD3: the first blocks of its transformer, which see the picture as latents. Source: spec
// engine.md 8.2, 9.4; the published networks (diffusers, Apache-2.0), by their tensors.
#include <cmath>

#include "worker/engine/guard.h"
#include "worker/models/controlnets/dit_hints.h"
#include "worker/models/mmdit_blocks.h"
#include "worker/models/network.h"

namespace atelier::models::sd3_control {
namespace {

using engine::Conv2d;
using engine::LayerBuilder;
using engine::Linear;
using engine::WeightSource;
using Network = std::shared_ptr<const engine::ControlNetwork>;

class Sd3Control final : public engine::ControlNetwork {
 public:
  explicit Sd3Control(engine::Engine& engine)
      : params_(engine.device(), engine::Part::kDiffusion, engine.residency()) {}

  Status Build(const WeightSource& weights) {
    LayerBuilder b(weights, params_);
    hidden_ = weights.Dim("x_embedder.proj.weight", 0);
    channels_ = weights.Dim("x_embedder.proj.weight", 1);
    heads_ = hidden_ / kMmditHeadWidth;
    if (heads_ == 0 || hidden_ % kMmditHeadWidth != 0)
      b.Fail(Cat("this is no SD3 control network: its pictures become tokens of ", hidden_,
                 " numbers, which 64 does not divide"));
    image_in_ = b.TakeConv("x_embedder.proj", channels_, hidden_, kMmditPatch, kMmditPatch, 0);
    positions_ = b.Take("pos_embed", {1, 0, hidden_});
    side_ = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(weights.Dim("pos_embed", 1)))));
    if (side_ * side_ != weights.Dim("pos_embed", 1)) b.Fail("its table of positions is no square");
    context_in_ = b.TakeLinear("context_embedder", 0, hidden_);
    time_in_ = {b.TakeLinear("t_embedder.mlp.0", kMmditSinusoid, hidden_),
                b.TakeLinear("t_embedder.mlp.2", hidden_, hidden_)};
    vector_width_ = weights.Dim("y_embedder.mlp.0.weight", 1);
    vector_in_ = {b.TakeLinear("y_embedder.mlp.0", 0, hidden_), b.TakeLinear("y_embedder.mlp.2", hidden_, hidden_)};
    hint_channels_ = weights.Dim("pos_embed_input.proj.weight", 1);
    hint_in_ = b.TakeConv("pos_embed_input.proj", hint_channels_, hidden_, kMmditPatch, kMmditPatch, 0);
    for (int64_t i = 0; i < weights.CountBlocks("joint_blocks.") && b.status().ok(); ++i) {
      blocks_.push_back(TakeJointBlock(b, Cat("joint_blocks.", i, ".")));
      if (blocks_.back().image.ends || blocks_.back().context.ends) b.Fail(Cat("tensors of block ", i, " are missing"));
      out_.push_back(b.TakeLinear(Cat("controlnet_blocks.", i), hidden_, hidden_));
    }
    return b.status();
  }

  StatusOr<std::vector<at::Tensor>> Prepare(const engine::ControlPicture& picture, int64_t height, int64_t width,
                                            const engine::LatentFormat& format) const override {
    engine::LatentFormat unshifted = format;
    unshifted.shift = 0;
    ASSIGN_OR_RETURN(const at::Tensor seen, HintLatents(picture, height, width, unshifted, hint_channels_));
    params_.Load();
    return std::vector<at::Tensor>{Tokens(hint_in_, seen)};
  }

  engine::ControlResiduals Residuals(const std::vector<at::Tensor>& prepared, const at::Tensor& x, const at::Tensor& t,
                                     const engine::ModelCallInputs& inputs) const override {
    params_.Load();
    const auto options = Options();
    const int64_t rows = (x.size(2) + kMmditPatch - 1) / kMmditPatch;
    const int64_t columns = (x.size(3) + kMmditPatch - 1) / kMmditPatch;
    TORCH_CHECK(x.size(1) == channels_ && rows <= side_ && columns <= side_, "the control network takes latents of ",
                channels_, " channels and at most ", side_ * kMmditPatch, " pixels a side");
    at::Tensor tokens = Tokens(image_in_, x);
    tokens = tokens + CentredPositions(engine::Cast(positions_, tokens.scalar_type()), side_, rows, columns);
    tokens = tokens + prepared[0];
    at::Tensor text = context_in_(inputs.context.to(options));
    at::Tensor c = time_in_(engine::SinusoidalEmbedding(t.to(params_.device()), kMmditSinusoid).to(options));
    if (inputs.y.defined()) {
      TORCH_CHECK(inputs.y.dim() == 2 && inputs.y.size(1) == vector_width_,
                  "the control network takes a conditioning vector of width ", vector_width_, ", not ",
                  inputs.y.size(1));
      c = c + vector_in_(inputs.y.to(options));
    }
    const at::Tensor active = at::silu(c);
    std::vector<at::Tensor> results;
    for (size_t i = 0; i < blocks_.size(); ++i) {
      blocks_[i](tokens, text, active, heads_);
      results.push_back(out_[i](tokens));
    }
    // The network that is steered has as many blocks as heads.
    engine::ControlResiduals residuals;
    residuals.output = SpreadResiduals(results, static_cast<size_t>(heads_), /*each=*/true);
    return residuals;
  }

 private:
  at::TensorOptions Options() const { return at::TensorOptions(params_.device()).dtype(params_.compute()); }
  at::Tensor Tokens(const Conv2d& in, const at::Tensor& x) const {
    return in(PadToPatch(x.to(Options()), kMmditPatch)).flatten(2).transpose(1, 2);
  }

  mutable engine::ParamSet params_;
  int64_t hidden_ = 0, heads_ = 0, channels_ = 0, hint_channels_ = 0, side_ = 0, vector_width_ = 0;
  Conv2d image_in_, hint_in_;
  engine::Param positions_;
  Linear context_in_;
  SiluMlp time_in_, vector_in_;
  std::vector<JointBlock> blocks_;
  std::vector<Linear> out_;
};

// SD3's own names for what diffusers stores.
WeightSource OwnNames(const WeightSource& file) {
  std::vector<StackedTensor> tensors;
  AddStackedLayer(tensors, "x_embedder.proj", {"pos_embed.proj"});
  tensors.push_back({"pos_embed", {"pos_embed.pos_embed"}});
  for (const auto& [own, other] : {std::pair("t_embedder", "timestep"), std::pair("y_embedder", "text")}) {
    AddStackedLayer(tensors, Cat(own, ".mlp.0"), {Cat("time_text_embed.", other, "_embedder.linear_1")});
    AddStackedLayer(tensors, Cat(own, ".mlp.2"), {Cat("time_text_embed.", other, "_embedder.linear_2")});
  }
  for (int64_t i = 0; i < file.CountBlocks("transformer_blocks."); ++i) {
    const std::string at = Cat("transformer_blocks.", i, "."), own = Cat("joint_blocks.", i, ".");
    const std::string x = own + "x_block.", context = own + "context_block.";
    AddStackedLayer(tensors, x + "adaLN_modulation.1", {at + "norm1.linear"});
    AddStackedLayer(tensors, context + "adaLN_modulation.1", {at + "norm1_context.linear"});
    AddStackedLayer(tensors, x + "attn.qkv", {at + "attn.to_q", at + "attn.to_k", at + "attn.to_v"});
    AddStackedLayer(tensors, x + "attn2.qkv", {at + "attn2.to_q", at + "attn2.to_k", at + "attn2.to_v"});
    AddStackedLayer(tensors, context + "attn.qkv",
                    {at + "attn.add_q_proj", at + "attn.add_k_proj", at + "attn.add_v_proj"});
    AddStackedLayer(tensors, x + "attn.proj", {at + "attn.to_out.0"});
    AddStackedLayer(tensors, x + "attn2.proj", {at + "attn2.to_out.0"});
    AddStackedLayer(tensors, context + "attn.proj", {at + "attn.to_add_out"});
    for (const char* letter : {"q", "k"}) {
      tensors.push_back({Cat(x, "attn.ln_", letter, ".weight"), {Cat(at, "attn.norm_", letter, ".weight")}});
      tensors.push_back({Cat(x, "attn2.ln_", letter, ".weight"), {Cat(at, "attn2.norm_", letter, ".weight")}});
      tensors.push_back(
          {Cat(context, "attn.ln_", letter, ".weight"), {Cat(at, "attn.norm_added_", letter, ".weight")}});
    }
    AddStackedLayer(tensors, x + "mlp.fc1", {at + "ff.net.0.proj"});
    AddStackedLayer(tensors, x + "mlp.fc2", {at + "ff.net.2"});
    AddStackedLayer(tensors, context + "mlp.fc1", {at + "ff_context.net.0.proj"});
    AddStackedLayer(tensors, context + "mlp.fc2", {at + "ff_context.net.2"});
  }
  return Stacked(file, tensors);
}

bool Detect(const WeightSource& file) {
  return file.Has("controlnet_blocks.0.weight") && file.Has("pos_embed_input.proj.weight") &&
         !file.Has("transformer_blocks.0.adaLN_modulation.1.bias");
}

StatusOr<Network> Build(const WeightSource& file, engine::Engine& engine) {
  return engine::Guard([&] { return BuildNetwork<engine::ControlNetwork, Sd3Control>(OwnNames(file), engine); });
}

ATELIER_REGISTER_CONTROL("sd3", 32, {Detect, Build});

}  // namespace
}  // namespace atelier::models::sd3_control
