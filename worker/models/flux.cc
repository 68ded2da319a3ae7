#include "worker/models/flux.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "worker/engine/layers.h"
#include "worker/engine/network_hooks.h"
#include "worker/models/flux_blocks.h"
#include "worker/models/network.h"

namespace atelier::models {
namespace {

using engine::LayerBuilder;
using engine::Linear;

constexpr int64_t kPatch = kFluxPatch;

class Flux final : public engine::DiffusionNetwork {
 public:
  explicit Flux(engine::Engine& engine)
      : params_(engine.device(), engine::Part::kDiffusionBfloat16, engine.residency()) {}

  Status Build(const engine::WeightSource& weights) {
    LayerBuilder b(weights, params_);
    shape_ = ShapeOfFlux(weights);
    hidden_ = shape_.hidden;
    if (hidden_ <= 0 || hidden_ % kFluxHeadWidth != 0)
      b.Fail(Cat("this is no FLUX network: \"img_in.weight\" has ", hidden_, " rows, which 128 does not divide"));
    heads_ = hidden_ / kFluxHeadWidth;
    image_in_ = b.TakeLinear("img_in", 0, hidden_);
    text_in_ = b.TakeLinear("txt_in", 0, hidden_);
    time_in_ = TakeFluxMlp(b, "time_in", kFluxSinusoid, hidden_);
    vector_in_ = TakeFluxMlp(b, "vector_in", 0, hidden_);
    if (shape_.guidance) guidance_in_ = TakeFluxMlp(b, "guidance_in", kFluxSinusoid, hidden_);
    const int64_t doubles = weights.CountBlocks("double_blocks."), singles = weights.CountBlocks("single_blocks.");
    for (int64_t i = 0; i < doubles && b.status().ok(); ++i)
      double_.push_back(TakeFluxDouble(b, Cat("double_blocks.", i, "."), hidden_));
    for (int64_t i = 0; i < singles && b.status().ok(); ++i)
      single_.push_back(TakeFluxSingle(b, Cat("single_blocks.", i, "."), hidden_));
    final_modulation_ = b.TakeLinear("final_layer.adaLN_modulation.1", hidden_, hidden_ * 2);
    final_ = b.TakeLinear("final_layer.linear", hidden_, shape_.out_channels * kPatch * kPatch);
    return b.status();
  }

  at::Device device() const override { return params_.device(); }
  int64_t input_channels() const override { return shape_.channels; }

  at::Tensor Forward(const at::Tensor& input, const at::Tensor& t,
                     const engine::ModelCallInputs& inputs) const override {
    params_.Load();
    const auto options = at::TensorOptions(params_.device()).dtype(inputs.compute.value_or(params_.compute()));
    const at::Tensor joined = JoinedInput(input, inputs);
    CheckChannels(joined, 4, shape_.channels);
    CheckContext(inputs, shape_.context_width);
    const int64_t height = input.size(2), width = input.size(3), batch = input.size(0);
    const int64_t rows = (height + kPatch - 1) / kPatch, columns = (width + kPatch - 1) / kPatch;

    std::vector<at::Tensor> images{FluxPatches(joined.to(options))};
    std::vector<at::Tensor> ids{at::zeros({inputs.context.size(1), 3}), FluxIds(rows, columns, 0, 0, 0)};
    AddReferences(inputs, batch, rows, columns, images, ids);
    at::Tensor image = image_in_(at::cat(images, 1));
    at::Tensor text = text_in_(inputs.context.to(options));
    const int64_t text_tokens = text.size(1);

    at::Tensor vec = time_in_(FluxSinusoid(t, options));
    if (shape_.guidance && inputs.guidance.defined()) vec = vec + guidance_in_(FluxSinusoid(inputs.guidance, options));
    at::Tensor y = inputs.y.defined() ? inputs.y : at::zeros({batch, shape_.vector_width});
    TORCH_CHECK(y.dim() == 2 && y.size(1) >= shape_.vector_width, "the model takes a conditioning vector of width ",
                shape_.vector_width, ", not ", y.size(1));
    vec = vec + vector_in_(y.narrow(1, 0, shape_.vector_width).to(options));
    const at::Tensor active = at::silu(vec);
    const Rope rope = FluxRope(at::cat(ids, 0), params_.device());

    const at::Tensor bias = AttentionBias(inputs.attention_mask, text_tokens, text_tokens + image.size(1), options);

    // Nodes may leave blocks out.
    const std::set<int64_t> none;
    const std::set<int64_t>& skip_double = inputs.hooks != nullptr ? inputs.hooks->skip_double : none;
    const std::set<int64_t>& skip_single = inputs.hooks != nullptr ? inputs.hooks->skip_single : none;
    for (size_t n = 0; n < double_.size(); ++n) {
      if (skip_double.contains(static_cast<int64_t>(n))) continue;
      double_[n](image, text, active, rope, heads_, bias);
      if (inputs.control != nullptr) image = Controlled(image, 0, inputs.control->input, n);
    }
    at::Tensor x = GuardHalf(at::cat({text, image}, 1));
    for (size_t n = 0; n < single_.size(); ++n) {
      if (skip_single.contains(static_cast<int64_t>(n))) continue;
      x = single_[n](x, active, rope, heads_, bias);
      if (inputs.control != nullptr) x = Controlled(x, text_tokens, inputs.control->output, n);
    }
    x = x.narrow(1, text_tokens, rows * columns);
    const std::vector<at::Tensor> mod = final_modulation_(active).chunk(2, -1);
    x = final_(Modulate(PlainNorm(x), mod[0], mod[1]));
    x = x.view({batch, rows, columns, shape_.out_channels, kPatch, kPatch}).permute({0, 3, 1, 4, 2, 5});
    x = x.reshape({batch, shape_.out_channels, rows * kPatch, columns * kPatch});
    return x.narrow(2, 0, height).narrow(3, 0, width).to(at::kFloat);
  }

 private:
  // What is added to the attention of `all` tokens to those of the context: the logarithm of their weights [B,T], where
  // 1 is none. Tokens of another weight look at each other as before. Undefined without weights.
  static at::Tensor AttentionBias(const at::Tensor& weights, int64_t context, int64_t all,
                                  const at::TensorOptions& options) {
    if (!weights.defined()) return {};
    TORCH_CHECK(weights.dim() == 2 && weights.size(1) == context,
                "the conditioning's attention mask is not one of its ", context, " tokens");
    const at::Tensor w = weights.to(options.device()).to(at::kFloat);
    at::Tensor bias = at::zeros({w.size(0), 1, all, all}, options.dtype(at::kFloat));
    const at::Tensor plain = at::constant_pad_nd((w == 1.0).to(at::kFloat), {0, all - context}, 1.0);
    bias.narrow(3, 0, context)
        .copy_(at::where(plain.view({-1, 1, all, 1}) == 1.0, w.log().view({-1, 1, 1, context}),
                         at::zeros({}, w.options())));
    return bias.to(options);
  }

  // x [B,tokens,hidden] with a control network's residual of block n on the tokens from `first` on; reference pictures
  // follow those that it has.
  static at::Tensor Controlled(const at::Tensor& x, int64_t first, const std::vector<at::Tensor>& residuals, size_t n) {
    if (n >= residuals.size() || !residuals[n].defined()) return x;
    const at::Tensor& residual = residuals[n];
    TORCH_CHECK(residual.size(2) == x.size(2) && first + residual.size(1) <= x.size(1),
                "the control network is made for another model than this FLUX network of width ", x.size(2));
    return at::cat({x.narrow(1, 0, first), x.narrow(1, first, residual.size(1)) + residual.to(x.options()),
                    x.narrow(1, first + residual.size(1), x.size(1) - first - residual.size(1))},
                   1);
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
      images.push_back(FluxPatches(reference));
      ids.push_back(FluxIds(high, wide, index, row, column));
    }
  }

  mutable engine::ParamSet params_;
  FluxShape shape_;
  int64_t hidden_ = 0, heads_ = 0;
  Linear image_in_, text_in_, final_modulation_, final_;
  SiluMlp time_in_, vector_in_, guidance_in_;
  std::vector<FluxDoubleBlock> double_;
  std::vector<FluxSingleBlock> single_;
};

}  // namespace

FluxShape ShapeOfFlux(const engine::WeightSource& weights) {
  FluxShape shape;
  shape.hidden = weights.Dim("img_in.weight", 0);
  const std::vector<int64_t> image_in = weights.PatchedShape("img_in.weight");  // adapters may widen it
  shape.channels = image_in.size() == 2 ? image_in[1] / (kPatch * kPatch) : 0;
  shape.out_channels = weights.Dim("final_layer.linear.weight", 0) / (kPatch * kPatch);
  shape.context_width = weights.Dim("txt_in.weight", 1);
  shape.vector_width = weights.Dim("vector_in.in_layer.weight", 1);
  shape.guidance = weights.Has("guidance_in.in_layer.weight");
  return shape;
}

StatusOr<std::shared_ptr<const engine::DiffusionNetwork>> BuildFlux(const engine::WeightSource& weights,
                                                                    engine::Engine& engine) {
  return BuildNetwork<engine::DiffusionNetwork, Flux>(weights, engine);
}

}  // namespace atelier::models
