// Control networks of FLUX.1: the first blocks of its transformer, which see the picture as latents (InstantX, union)
// or as pixels (XLabs). Source: spec engine.md 8.2; the published networks (diffusers and x-flux, Apache-2.0), by
// their tensors.
#include "worker/engine/guard.h"
#include "worker/models/controlnets/dit_hints.h"
#include "worker/models/flux_blocks.h"
#include "worker/models/network.h"

namespace atelier::models::flux_control {
namespace {

using engine::Conv2d;
using engine::LayerBuilder;
using engine::Linear;
using engine::WeightSource;
using Network = std::shared_ptr<const engine::ControlNetwork>;

constexpr size_t kDoubles = 19, kSingles = 38;  // of the network that is steered
constexpr int64_t kPixelsPerLatent = 8;

class FluxControl final : public engine::ControlNetwork {
 public:
  explicit FluxControl(engine::Engine& engine)
      : params_(engine.device(), engine::Part::kDiffusionBfloat16, engine.residency()) {}

  Status Build(const WeightSource& weights) {
    LayerBuilder b(weights, params_);
    hidden_ = weights.Dim("img_in.weight", 0);
    if (hidden_ <= 0 || hidden_ % kFluxHeadWidth != 0)
      b.Fail(Cat("this is no FLUX control network: its pictures become tokens of ", hidden_,
                 " numbers, which 128 does not divide"));
    heads_ = hidden_ / kFluxHeadWidth;
    image_in_ = b.TakeLinear("img_in", 0, hidden_);
    text_in_ = b.TakeLinear("txt_in", 0, hidden_);
    time_in_ = TakeFluxMlp(b, "time_in", kFluxSinusoid, hidden_);
    vector_width_ = weights.Dim("vector_in.in_layer.weight", 1);
    vector_in_ = TakeFluxMlp(b, "vector_in", 0, hidden_);
    guided_ = weights.Has("guidance_in.in_layer.weight");
    if (guided_) guidance_in_ = TakeFluxMlp(b, "guidance_in", kFluxSinusoid, hidden_);
    for (int64_t i = 0; i < weights.CountBlocks("double_blocks.") && b.status().ok(); ++i) {
      double_.push_back(TakeFluxDouble(b, Cat("double_blocks.", i, "."), hidden_));
      double_out_.push_back(b.TakeLinear(Cat("controlnet_blocks.", i), hidden_, hidden_));
    }
    for (int64_t i = 0; i < weights.CountBlocks("single_blocks.") && b.status().ok(); ++i) {
      single_.push_back(TakeFluxSingle(b, Cat("single_blocks.", i, "."), hidden_));
      single_out_.push_back(b.TakeLinear(Cat("controlnet_single_blocks.", i), hidden_, hidden_));
    }
    sees_pixels_ = weights.Has("input_hint_block.0.weight");
    if (sees_pixels_) {
      int64_t channels = weights.Dim("input_hint_block.0.weight", 1);
      pixel_channels_ = channels;
      for (int64_t i = 0; weights.Has(Cat("input_hint_block.", i, ".weight")); i += 2) {
        const int64_t out = weights.Dim(Cat("input_hint_block.", i, ".weight"), 0);
        const bool halves = i == 4 || i == 8 || i == 12;
        stem_.push_back(b.TakeConv(Cat("input_hint_block.", i), channels, out, 3, halves ? 2 : 1));
        channels = out;
      }
      hint_in_ = b.TakeLinear("pos_embed_input", channels * kFluxPatch * kFluxPatch, hidden_);
    } else {
      hint_channels_ = weights.Dim("controlnet_x_embedder.weight", 1) / (kFluxPatch * kFluxPatch);
      hint_in_ = b.TakeLinear("controlnet_x_embedder", hint_channels_ * kFluxPatch * kFluxPatch, hidden_);
    }
    kinds_ = weights.Dim("controlnet_mode_embedder.weight", 0);
    if (kinds_ > 0) kind_table_ = b.Take("controlnet_mode_embedder.weight", {kinds_, hidden_});
    return b.status();
  }

  StatusOr<std::vector<at::Tensor>> Prepare(const engine::ControlPicture& picture, int64_t height, int64_t width,
                                            const engine::LatentFormat& format) const override {
    for (const int64_t kind : picture.kinds) {
      if (kinds_ > 0 && (kind < 0 || kind >= kinds_))
        return InvalidArgument("the control network knows ", kinds_, " kinds of pictures, kind ", kind,
                               " is not among them; choose another type");
    }
    at::Tensor seen;
    if (sees_pixels_) {
      ASSIGN_OR_RETURN(
          seen, HintPixels(picture.pixels, height * kPixelsPerLatent, width * kPixelsPerLatent, pixel_channels_));
      seen = seen * 2.0 - 1.0;
    } else {
      ASSIGN_OR_RETURN(seen, HintLatents(picture, height, width, format, hint_channels_));
    }
    params_.Load();
    const auto options = Options();
    seen = seen.to(options);
    for (size_t i = 0; i < stem_.size(); ++i) {
      if (i > 0) seen = at::silu(seen);
      seen = stem_[i](seen);
    }
    const at::Tensor tokens = hint_in_(FluxPatches(seen));
    at::Tensor kinds;
    if (kinds_ > 0 && !picture.kinds.empty()) {
      const at::Tensor chosen = at::tensor(picture.kinds, at::kLong).to(params_.device());
      kinds = engine::Embed(kind_table_, chosen).to(options).unsqueeze(0).expand({tokens.size(0), -1, -1});
    }
    return std::vector<at::Tensor>{tokens, kinds};
  }

  engine::ControlResiduals Residuals(const std::vector<at::Tensor>& prepared, const at::Tensor& x, const at::Tensor& t,
                                     const engine::ModelCallInputs& inputs) const override {
    params_.Load();
    const auto options = Options();
    const int64_t batch = x.size(0);
    const int64_t rows = (x.size(2) + kFluxPatch - 1) / kFluxPatch, columns = (x.size(3) + kFluxPatch - 1) / kFluxPatch;
    at::Tensor image = image_in_(FluxPatches(x.to(options))) + prepared[0];
    at::Tensor text = text_in_(inputs.context.to(options));
    if (prepared[1].defined()) text = at::cat({prepared[1], text}, 1);
    at::Tensor vec = time_in_(FluxSinusoid(t, options));
    if (guided_ && inputs.guidance.defined()) vec = vec + guidance_in_(FluxSinusoid(inputs.guidance, options));
    const at::Tensor y = inputs.y.defined() ? inputs.y : at::zeros({batch, vector_width_});
    TORCH_CHECK(y.dim() == 2 && y.size(1) >= vector_width_, "the control network takes a conditioning vector of width ",
                vector_width_, ", not ", y.size(1));
    vec = vec + vector_in_(y.narrow(1, 0, vector_width_).to(options));
    const at::Tensor active = at::silu(vec);
    const int64_t words = text.size(1);
    const Rope rope = FluxRope(at::cat({at::zeros({words, 3}), FluxIds(rows, columns, 0, 0, 0)}, 0), params_.device());

    std::vector<at::Tensor> doubles, singles;
    for (size_t i = 0; i < double_.size(); ++i) {
      double_[i](image, text, active, rope, heads_);
      doubles.push_back(double_out_[i](image));
    }
    if (!single_.empty()) {
      at::Tensor both = at::cat({text, image}, 1);
      for (size_t i = 0; i < single_.size(); ++i) {
        both = single_[i](both, active, rope, heads_);
        singles.push_back(single_out_[i](both.narrow(1, words, image.size(1))));
      }
    }
    engine::ControlResiduals residuals;
    residuals.input = SpreadResiduals(doubles, kDoubles, !sees_pixels_);
    residuals.output = SpreadResiduals(singles, kSingles, !sees_pixels_);
    return residuals;
  }

 private:
  at::TensorOptions Options() const { return at::TensorOptions(params_.device()).dtype(params_.compute()); }

  mutable engine::ParamSet params_;
  int64_t hidden_ = 0, heads_ = 0, vector_width_ = 0, hint_channels_ = 0, pixel_channels_ = 0, kinds_ = 0;
  bool guided_ = false, sees_pixels_ = false;
  Linear image_in_, text_in_, hint_in_;
  SiluMlp time_in_, vector_in_, guidance_in_;
  engine::Param kind_table_;
  std::vector<Conv2d> stem_;
  std::vector<FluxDoubleBlock> double_;
  std::vector<FluxSingleBlock> single_;
  std::vector<Linear> double_out_, single_out_;
};

StatusOr<Network> Build(const WeightSource& weights, engine::Engine& engine) {
  return BuildNetwork<engine::ControlNetwork, FluxControl>(weights, engine);
}

// FLUX's own names for what diffusers stores.
WeightSource OwnNames(const WeightSource& file) {
  std::vector<StackedTensor> tensors;
  AddStackedLayer(tensors, "img_in", {"x_embedder"});
  AddStackedLayer(tensors, "txt_in", {"context_embedder"});
  for (const auto& [own, other] :
       {std::pair("time_in", "timestep"), std::pair("vector_in", "text"), std::pair("guidance_in", "guidance")}) {
    AddStackedLayer(tensors, Cat(own, ".in_layer"), {Cat("time_text_embed.", other, "_embedder.linear_1")});
    AddStackedLayer(tensors, Cat(own, ".out_layer"), {Cat("time_text_embed.", other, "_embedder.linear_2")});
  }
  for (int64_t i = 0; i < file.CountBlocks("transformer_blocks."); ++i) {
    const std::string at = Cat("transformer_blocks.", i, "."), own = Cat("double_blocks.", i, ".");
    AddStackedLayer(tensors, own + "img_mod.lin", {at + "norm1.linear"});
    AddStackedLayer(tensors, own + "txt_mod.lin", {at + "norm1_context.linear"});
    AddStackedLayer(tensors, own + "img_attn.qkv", {at + "attn.to_q", at + "attn.to_k", at + "attn.to_v"});
    AddStackedLayer(tensors, own + "txt_attn.qkv",
                    {at + "attn.add_q_proj", at + "attn.add_k_proj", at + "attn.add_v_proj"});
    AddStackedLayer(tensors, own + "img_attn.proj", {at + "attn.to_out.0"});
    AddStackedLayer(tensors, own + "txt_attn.proj", {at + "attn.to_add_out"});
    tensors.push_back({own + "img_attn.norm.query_norm.scale", {at + "attn.norm_q.weight"}});
    tensors.push_back({own + "img_attn.norm.key_norm.scale", {at + "attn.norm_k.weight"}});
    tensors.push_back({own + "txt_attn.norm.query_norm.scale", {at + "attn.norm_added_q.weight"}});
    tensors.push_back({own + "txt_attn.norm.key_norm.scale", {at + "attn.norm_added_k.weight"}});
    AddStackedLayer(tensors, own + "img_mlp.0", {at + "ff.net.0.proj"});
    AddStackedLayer(tensors, own + "img_mlp.2", {at + "ff.net.2"});
    AddStackedLayer(tensors, own + "txt_mlp.0", {at + "ff_context.net.0.proj"});
    AddStackedLayer(tensors, own + "txt_mlp.2", {at + "ff_context.net.2"});
  }
  for (int64_t i = 0; i < file.CountBlocks("single_transformer_blocks."); ++i) {
    const std::string at = Cat("single_transformer_blocks.", i, "."), own = Cat("single_blocks.", i, ".");
    AddStackedLayer(tensors, own + "modulation.lin", {at + "norm.linear"});
    AddStackedLayer(tensors, own + "linear1", {at + "attn.to_q", at + "attn.to_k", at + "attn.to_v", at + "proj_mlp"});
    AddStackedLayer(tensors, own + "linear2", {at + "proj_out"});
    tensors.push_back({own + "norm.query_norm.scale", {at + "attn.norm_q.weight"}});
    tensors.push_back({own + "norm.key_norm.scale", {at + "attn.norm_k.weight"}});
  }
  return Stacked(file, tensors);
}

bool IsXlabs(const WeightSource& file) {
  return file.Has("controlnet_blocks.0.weight") && file.Has("double_blocks.0.img_attn.norm.key_norm.scale") &&
         file.Has("input_hint_block.0.weight");
}

bool IsInstantX(const WeightSource& file) {
  return file.Has("controlnet_blocks.0.weight") && file.Has("controlnet_x_embedder.weight") &&
         !file.Has("transformer_blocks.0.img_mlp.net.0.proj.weight");
}

StatusOr<Network> BuildInstantX(const WeightSource& file, engine::Engine& engine) {
  return engine::Guard([&]() -> StatusOr<Network> { return Build(OwnNames(file), engine); });
}

ATELIER_REGISTER_CONTROL("flux_xlabs", 30, {IsXlabs, Build});
ATELIER_REGISTER_CONTROL("flux_instantx", 34, {IsInstantX, BuildInstantX});

}  // namespace
}  // namespace atelier::models::flux_control
