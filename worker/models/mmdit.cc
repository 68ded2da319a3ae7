#include "worker/models/mmdit.h"

#include <cmath>
#include <string>
#include <vector>

#include "worker/engine/layers.h"
#include "worker/engine/network_hooks.h"
#include "worker/models/mmdit_blocks.h"
#include "worker/models/network.h"

namespace atelier::models {
namespace {

using engine::LayerBuilder;
using engine::Linear;

constexpr int64_t kPatch = kMmditPatch;

class Mmdit final : public engine::DiffusionNetwork {
 public:
  explicit Mmdit(engine::Engine& engine) : params_(engine.device(), engine::Part::kDiffusion, engine.residency()) {}

  Status Build(const engine::WeightSource& weights) {
    LayerBuilder b(weights, params_);
    hidden_ = weights.Dim("x_embedder.proj.weight", 0);
    channels_ = weights.Dim("x_embedder.proj.weight", 1);
    heads_ = hidden_ / kMmditHeadWidth;
    if (heads_ == 0 || hidden_ % kMmditHeadWidth != 0)
      b.Fail(
          Cat("this is no SD3 network: \"x_embedder.proj.weight\" has ", hidden_, " rows, which 64 does not divide"));
    image_in_ = b.TakeConv("x_embedder.proj", channels_, hidden_, kPatch, kPatch, 0);
    positions_ = b.Take("pos_embed", {1, 0, hidden_});
    side_ = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(weights.Dim("pos_embed", 1)))));
    if (side_ * side_ != weights.Dim("pos_embed", 1)) b.Fail("tensor \"pos_embed\" holds no square of positions");
    context_width_ = weights.Dim("context_embedder.weight", 1);
    context_in_ = b.TakeLinear("context_embedder", context_width_, hidden_);
    time_in_ = {b.TakeLinear("t_embedder.mlp.0", kMmditSinusoid, hidden_),
                b.TakeLinear("t_embedder.mlp.2", hidden_, hidden_)};
    vector_width_ = weights.Dim("y_embedder.mlp.0.weight", 1);
    vector_in_ = {b.TakeLinear("y_embedder.mlp.0", 0, hidden_), b.TakeLinear("y_embedder.mlp.2", hidden_, hidden_)};
    const int64_t count = weights.CountBlocks("joint_blocks.");
    for (int64_t i = 0; i < count && b.status().ok(); ++i) {
      blocks_.push_back(TakeJointBlock(b, Cat("joint_blocks.", i, ".")));
    }
    for (size_t i = 0; i < blocks_.size() && b.status().ok(); ++i) {
      if (blocks_[i].image.ends || (blocks_[i].context.ends && i + 1 < blocks_.size()))
        b.Fail(Cat("tensors of \"joint_blocks.", i, "\" are missing"));
    }
    out_channels_ = weights.Dim("final_layer.linear.weight", 0) / (kPatch * kPatch);
    final_modulation_ = b.TakeLinear("final_layer.adaLN_modulation.1", hidden_, hidden_ * 2);
    final_ = b.TakeLinear("final_layer.linear", hidden_, out_channels_ * kPatch * kPatch);
    return b.status();
  }

  at::Device device() const override { return params_.device(); }

  at::Tensor Forward(const at::Tensor& input, const at::Tensor& t,
                     const engine::ModelCallInputs& inputs) const override {
    params_.Load();
    const auto options = at::TensorOptions(params_.device()).dtype(inputs.compute.value_or(params_.compute()));
    const at::Tensor joined = JoinedInput(input, inputs);
    CheckChannels(joined, 4, channels_);
    CheckContext(inputs, context_width_);
    const int64_t height = input.size(2), width = input.size(3), batch = input.size(0);
    const int64_t rows = (height + kPatch - 1) / kPatch, columns = (width + kPatch - 1) / kPatch;
    TORCH_CHECK(rows <= side_ && columns <= side_, "the model takes pictures of at most ", side_ * kPatch,
                " latent pixels a side, not ", std::max(height, width));

    at::Tensor x = image_in_(PadToPatch(joined.to(options), kPatch)).flatten(2).transpose(1, 2);
    x = x + CentredPositions(engine::Cast(positions_, x.scalar_type()), side_, rows, columns);
    at::Tensor context = context_in_(inputs.context.to(options));
    at::Tensor c = time_in_(engine::SinusoidalEmbedding(t.to(params_.device()), kMmditSinusoid).to(options));
    if (inputs.y.defined()) {
      TORCH_CHECK(inputs.y.dim() == 2 && inputs.y.size(1) == vector_width_,
                  "the model takes a conditioning vector of width ", vector_width_, ", not ", inputs.y.size(1));
      c = c + vector_in_(inputs.y.to(options));
    }
    const at::Tensor active = at::silu(c);

    for (size_t i = 0; i < blocks_.size(); ++i) {
      // Nodes may leave blocks out.
      if (inputs.hooks != nullptr && inputs.hooks->skip_double.contains(static_cast<int64_t>(i))) continue;
      blocks_[i](x, context, active, heads_);
      AddControl(inputs, i, x);
    }
    const std::vector<at::Tensor> m = final_modulation_(active).chunk(2, -1);
    x = final_(Modulate(PlainNorm(x), m[0], m[1]));
    x = x.view({batch, rows, columns, kPatch, kPatch, out_channels_}).permute({0, 5, 1, 3, 2, 4});
    x = x.reshape({batch, out_channels_, rows * kPatch, columns * kPatch});
    return x.narrow(2, 0, height).narrow(3, 0, width).to(at::kFloat);
  }

 private:
  static void AddControl(const engine::ModelCallInputs& inputs, size_t block, at::Tensor& x) {
    if (inputs.control == nullptr || block >= inputs.control->output.size()) return;
    const at::Tensor& residual = inputs.control->output[block];
    if (residual.defined()) x = x + residual.to(x.options());
  }

  mutable engine::ParamSet params_;
  int64_t hidden_ = 0, heads_ = 0, channels_ = 0, out_channels_ = 0, side_ = 0;
  int64_t context_width_ = 0, vector_width_ = 0;
  engine::Conv2d image_in_;
  engine::Param positions_;
  Linear context_in_, final_modulation_, final_;
  SiluMlp time_in_, vector_in_;
  std::vector<JointBlock> blocks_;
};

}  // namespace

StatusOr<std::shared_ptr<const engine::DiffusionNetwork>> BuildMmdit(const engine::WeightSource& weights,
                                                                     engine::Engine& engine) {
  return BuildNetwork<engine::DiffusionNetwork, Mmdit>(weights, engine);
}

}  // namespace atelier::models
