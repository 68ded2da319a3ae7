#include "worker/models/unet.h"

#include <algorithm>
#include <utility>
#include <variant>
#include <vector>

#include "worker/engine/cpu_kernels.h"
#include "worker/engine/layers.h"
#include "worker/engine/network_hooks.h"
#include "worker/models/network.h"

namespace atelier::models {
namespace {

using engine::Attention;
using engine::AttentionInputs;
using engine::Bias;
using engine::BlockCall;
using engine::Conv2d;
using engine::GroupNorm;
using engine::LayerBuilder;
using engine::LayerNorm;
using engine::Linear;
using engine::NetworkHooks;

struct ResBlock {
  GroupNorm in_norm, out_norm;
  Conv2d in_conv, out_conv, skip;
  Linear embedding;

  at::Tensor operator()(const at::Tensor& x, const at::Tensor& activated_embedding) const {
    at::Tensor h = in_conv(in_norm.WithSilu(x));
    h = out_conv(out_norm.WithSilu(h, embedding(activated_embedding)));
    return h.add_(skip.weight != nullptr ? skip(x) : x);
  }
};

struct CrossAttention {
  Linear q, k, v, out;
  int64_t heads = 8;
  bool fp32 = false;

  at::Tensor operator()(const AttentionInputs& in, const std::vector<NetworkHooks::Replace>* replace,
                        const BlockCall& call) const {
    const at::Tensor queries = q(in.query), keys = k(in.key), values = v(in.value);
    if (replace != nullptr) {
      for (auto it = replace->rbegin(); it != replace->rend(); ++it) {
        if (const std::optional<at::Tensor> result = (*it)(queries, keys, values, call)) return out(*result);
      }
    }
    if (!fp32 || queries.scalar_type() == at::kFloat) return out(Attention(queries, keys, values, heads));
    const at::Tensor result = Attention(queries.to(at::kFloat), keys.to(at::kFloat), values.to(at::kFloat), heads);
    return out(result.to(queries.scalar_type()));
  }
};

struct TransformerBlock {
  LayerNorm norm1, norm2, norm3;
  CrossAttention self, cross;
  Linear ff_in, ff_out;

  // x is written over.
  at::Tensor operator()(at::Tensor x, const at::Tensor& context, const NetworkHooks* hooks, BlockCall& call) const {
    call.heads = self.heads;
    const at::Tensor n = norm1(x);
    AttentionInputs in{n, n, n};
    if (hooks != nullptr)
      for (const auto& hook : hooks->self_inputs) hook(in, call);
    at::Tensor result = self(in, hooks == nullptr ? nullptr : &hooks->self_replace, call);
    if (hooks != nullptr)
      for (const auto& hook : hooks->self_results) result = hook(result, call);
    x.add_(result);
    if (hooks != nullptr)
      for (const auto& hook : hooks->after_self) x = hook(x, call);
    in = {norm2(x), context, context};
    if (hooks != nullptr)
      for (const auto& hook : hooks->cross_inputs) hook(in, call);
    result = cross(in, hooks == nullptr ? nullptr : &hooks->cross_replace, call);
    if (hooks != nullptr)
      for (const auto& hook : hooks->cross_results) result = hook(result, call);
    x.add_(result);
    return x.add_(ff_out(engine::GatedGelu(ff_in(norm3(x)))));
  }
};

struct SpatialTransformer {
  GroupNorm norm;
  Linear in, out;
  std::vector<TransformerBlock> blocks;

  // A 1x1 convolution before flattening and a linear layer after it are the same sums.
  at::Tensor operator()(const at::Tensor& x, const at::Tensor& context, const NetworkHooks* hooks,
                        BlockCall& call) const {
    const int64_t b = x.size(0), c = x.size(1), h = x.size(2), w = x.size(3);
    at::Tensor tokens = in(norm(x).permute({0, 2, 3, 1}).reshape({b, h * w, c}));
    for (size_t i = 0; i < blocks.size(); ++i) {
      call.depth = static_cast<int64_t>(i);
      tokens = blocks[i](std::move(tokens), context, hooks, call);
    }
    return out(tokens).reshape({b, h, w, c}).permute({0, 3, 1, 2}).add_(x);
  }
};

struct Downsample {
  Conv2d conv;
};
struct Upsample {
  Conv2d conv;
};
using Layer = std::variant<Conv2d, ResBlock, SpatialTransformer, Downsample, Upsample>;
using BlockLayers = std::vector<Layer>;

// The input blocks, the middle and what makes the embedding.
class Encoder final : public UNetEncoder {
 public:
  UNetShape shape;
  bool attention_fp32 = false;
  Linear time_in, time_out, label_in, label_out;
  std::vector<BlockLayers> input;
  BlockLayers middle;
  std::vector<int64_t> skips;  // channels after each input block
  int64_t middle_width = 0;    // channels after the middle

  Encoder(LayerBuilder& b, bool fp32) : shape(ShapeOfUNet(b.weights())), attention_fp32(fp32) {
    const int64_t mc = shape.model_channels;
    if (mc <= 0) {
      b.Fail("this is no UNet: \"input_blocks.0.0.weight\" is missing");
      return;
    }
    time_in = b.TakeLinear("time_embed.0", mc, mc * 4);
    time_out = b.TakeLinear("time_embed.2", mc * 4, mc * 4);
    if (shape.vector_width > 0) {
      label_in = b.TakeLinear("label_emb.0.0", shape.vector_width, mc * 4);
      label_out = b.TakeLinear("label_emb.0.2", mc * 4, mc * 4);
    }
    int64_t channels = shape.in_channels;
    for (int64_t i = 0; b.weights().HasPrefix(Cat("input_blocks.", i, ".")) && b.status().ok(); ++i) {
      input.push_back(TakeBlock(b, Cat("input_blocks.", i, "."), channels));
      skips.push_back(channels);
    }
    middle = TakeBlock(b, "middle_block.", channels);
    middle_width = channels;
  }

  const std::vector<int64_t>& block_channels() const override { return skips; }
  int64_t middle_channels() const override { return middle_width; }
  const UNetShape& unet_shape() const override { return shape; }

  // f32 [B] timesteps to the embedding before its activation.
  at::Tensor Embedding(const at::Tensor& t, const at::Tensor& y, const at::TensorOptions& options) const {
    const at::Tensor sinusoid =
        engine::SinusoidalEmbedding(t.to(options.device()), shape.model_channels).to(options.dtype());
    at::Tensor embedding = time_out(at::silu(time_in(sinusoid)));
    if (label_in.weight != nullptr) embedding = embedding + label_out(at::silu(label_in(y.to(options))));
    return embedding;
  }

  // x [B,C,h,w] in `options`, checked against the shape.
  at::Tensor CheckedInput(const at::Tensor& given, const engine::ModelCallInputs& inputs,
                          const at::TensorOptions& options) const {
    TORCH_CHECK(given.size(1) == shape.in_channels, "the model takes ", shape.in_channels, " latent channels, not ",
                given.size(1));
    CheckContext(inputs, shape.context_width);
    TORCH_CHECK(inputs.y.defined() == (shape.vector_width > 0), "the model takes a conditioning vector of width ",
                shape.vector_width);
    return given.to(options).contiguous(at::MemoryFormat::ChannelsLast);
  }

  std::vector<at::Tensor> Encode(const at::Tensor& given, const at::Tensor& t, const engine::ModelCallInputs& inputs,
                                 const at::Tensor& embedding_offset, const at::Tensor& hint) const override {
    const at::TensorOptions options = hint.options();
    at::Tensor x = CheckedInput(given, inputs, options);
    const at::Tensor context = inputs.context.to(options);
    at::Tensor embedding = Embedding(t, inputs.y, options);
    if (embedding_offset.defined()) embedding = embedding + embedding_offset;
    embedding = at::silu(embedding);
    BlockCall call;
    std::vector<at::Tensor> results;
    for (size_t i = 0; i < input.size(); ++i) {
      x = Run(input[i], std::move(x), embedding, context, nullptr, nullptr, call);
      if (i == 0) x = x + hint;
      results.push_back(x);
    }
    results.push_back(Run(middle, std::move(x), embedding, context, nullptr, nullptr, call));
    return results;
  }

  static void AddControl(at::Tensor& x, const std::vector<at::Tensor>* residuals, size_t i) {
    if (residuals == nullptr || i >= residuals->size() || !(*residuals)[i].defined()) return;
    x = x + (*residuals)[i].to(x.options());
  }

  // next_skip: what the block's result will be joined to, which an upsampling has to match in size.
  static at::Tensor Run(const BlockLayers& layers, at::Tensor x, const at::Tensor& embedding, const at::Tensor& context,
                        const at::Tensor* next_skip, const NetworkHooks* hooks, BlockCall& call) {
    for (const Layer& layer : layers) {
      if (const auto* res = std::get_if<ResBlock>(&layer)) {
        x = (*res)(x, embedding);
      } else if (const auto* transformer = std::get_if<SpatialTransformer>(&layer)) {
        x = (*transformer)(x, context, hooks, call);
      } else if (const auto* conv = std::get_if<Conv2d>(&layer)) {
        x = (*conv)(x);
      } else if (const auto* down = std::get_if<Downsample>(&layer)) {
        x = down->conv(x);
      } else if (const auto* up = std::get_if<Upsample>(&layer)) {
        const int64_t h = next_skip != nullptr ? next_skip->size(2) : x.size(2) * 2;
        const int64_t w = next_skip != nullptr ? next_skip->size(3) : x.size(3) * 2;
        x = up->conv(at::upsample_nearest2d(x, {h, w}));
      }
    }
    return x;
  }

  // The layers "0.", "1.", ... of a block, told apart by their tensors. `channels` goes in and comes out.
  BlockLayers TakeBlock(LayerBuilder& b, const std::string& at, int64_t& channels) {
    BlockLayers layers;
    const engine::WeightSource& w = b.weights();
    for (int64_t j = 0; w.HasPrefix(Cat(at, j, ".")); ++j) {
      const std::string name = Cat(at, j);
      if (b.Has(name + ".in_layers.0.weight")) {
        layers.emplace_back(TakeRes(b, name, channels));
      } else if (b.Has(name + ".proj_in.weight")) {
        layers.emplace_back(TakeTransformer(b, name, channels));
      } else if (b.Has(name + ".op.weight")) {
        layers.emplace_back(Downsample{b.TakeConv(name + ".op", channels, channels, 3, 2)});
      } else if (b.Has(name + ".conv.weight")) {
        layers.emplace_back(Upsample{b.TakeConv(name + ".conv", channels, channels, 3)});
      } else if (b.Has(name + ".weight")) {
        const int64_t out = w.Dim(name + ".weight", 0);
        layers.emplace_back(b.TakeConv(name, channels, out, 3));
        channels = out;
      } else {
        b.Fail(Cat("the layer \"", name, "\" is of no known kind"));
        return layers;
      }
    }
    return layers;
  }

  ResBlock TakeRes(LayerBuilder& b, const std::string& name, int64_t& channels) {
    ResBlock block;
    const int64_t out = b.weights().Dim(name + ".in_layers.2.weight", 0);
    block.in_norm = b.TakeGroupNorm(name + ".in_layers.0", channels);
    block.in_conv = b.TakeConv(name + ".in_layers.2", channels, out, 3);
    block.embedding = b.TakeLinear(name + ".emb_layers.1", shape.model_channels * 4, out);
    block.out_norm = b.TakeGroupNorm(name + ".out_layers.0", out);
    block.out_conv = b.TakeConv(name + ".out_layers.3", out, out, 3);
    if (out != channels) {
      const int64_t kernel = b.weights().Dim(name + ".skip_connection.weight", 2);
      block.skip = b.TakeConv(name + ".skip_connection", channels, out, kernel == 3 ? 3 : 1);
    }
    channels = out;
    return block;
  }

  SpatialTransformer TakeTransformer(LayerBuilder& b, const std::string& name, int64_t channels) {
    SpatialTransformer t;
    const int64_t inner = b.weights().Dim(name + ".proj_in.weight", 0);
    t.norm = b.TakeGroupNorm(name + ".norm", channels, 1e-6);
    t.in = b.TakeLinear(name + ".proj_in", channels, inner);
    const int64_t heads = shape.linear_projection ? inner / 64 : 8;
    if (heads == 0 || inner % heads != 0)
      b.Fail(Cat("\"", name, "\" has ", inner, " channels, which ", heads, " heads do not divide"));
    const int64_t depth = b.weights().CountBlocks(name + ".transformer_blocks.");
    for (int64_t k = 0; k < depth; ++k) {
      const std::string at = Cat(name, ".transformer_blocks.", k, ".");
      TransformerBlock& block = t.blocks.emplace_back();
      block.norm1 = b.TakeLayerNorm(at + "norm1", inner);
      block.norm2 = b.TakeLayerNorm(at + "norm2", inner);
      block.norm3 = b.TakeLayerNorm(at + "norm3", inner);
      const auto attention = [&](const std::string& which, int64_t width) {
        return CrossAttention{b.TakeLinear(at + which + ".to_q", inner, inner, Bias::kNone),
                              b.TakeLinear(at + which + ".to_k", width, inner, Bias::kNone),
                              b.TakeLinear(at + which + ".to_v", width, inner, Bias::kNone),
                              b.TakeLinear(at + which + ".to_out.0", inner, inner),
                              heads,
                              attention_fp32};
      };
      block.self = attention("attn1", inner);
      block.cross = attention("attn2", shape.context_width);
      const int64_t hidden = b.weights().Dim(at + "ff.net.2.weight", 1);
      block.ff_in = b.TakeLinear(at + "ff.net.0.proj", inner, hidden * 2);
      block.ff_out = b.TakeLinear(at + "ff.net.2", hidden, inner);
    }
    t.out = b.TakeLinear(name + ".proj_out", inner, channels);
    return t;
  }
};

class UNet final : public engine::DiffusionNetwork {
 public:
  UNet(bool attention_fp32, engine::Engine& engine)
      : params_(engine.device(), engine::Part::kDiffusion, engine.residency()), attention_fp32_(attention_fp32) {}

  Status Build(const engine::WeightSource& weights) {
    LayerBuilder b(weights, params_);
    const int64_t out_channels = ShapeOfUNet(weights).out_channels;
    if (out_channels <= 0) b.Fail("this is no UNet: \"out.2.weight\" is missing");
    encoder_ = std::make_unique<Encoder>(b, attention_fp32_);
    std::vector<int64_t> skips = encoder_->skips;
    int64_t channels = encoder_->middle_width;
    for (int64_t i = 0; weights.HasPrefix(Cat("output_blocks.", i, ".")) && b.status().ok(); ++i) {
      if (skips.empty()) {
        b.Fail("it has more output blocks than input blocks");
        break;
      }
      channels += skips.back();
      skips.pop_back();
      output_.push_back(encoder_->TakeBlock(b, Cat("output_blocks.", i, "."), channels));
    }
    if (b.status().ok() && !skips.empty())
      b.Fail(Cat("it has ", encoder_->input.size(), " input blocks but ", output_.size(), " output blocks"));
    out_norm_ = b.TakeGroupNorm("out.0", channels);
    out_conv_ = b.TakeConv("out.2", channels, out_channels, 3);
    return b.status();
  }

  at::Device device() const override { return params_.device(); }

  at::Tensor Forward(const at::Tensor& input, const at::Tensor& t,
                     const engine::ModelCallInputs& inputs) const override {
    params_.Load();
    const auto options = at::TensorOptions(params_.device()).dtype(inputs.compute.value_or(params_.compute()));
    const at::Tensor joined = JoinedInput(input, inputs);
    at::Tensor x = encoder_->CheckedInput(joined, inputs, options);
    const at::Tensor context = inputs.context.to(options);
    const at::Tensor embedding = at::silu(encoder_->Embedding(t, inputs.y, options));  // every block starts with this

    const NetworkHooks* hooks = inputs.hooks;
    BlockCall call;
    call.height = input.size(2);
    call.width = input.size(3);
    call.kinds = &inputs.kinds;
    call.sigma = inputs.sigma;
    std::vector<at::Tensor> skips;
    for (size_t i = 0; i < encoder_->input.size(); ++i) {
      call.number = static_cast<int64_t>(i);
      x = Encoder::Run(encoder_->input[i], std::move(x), embedding, context, nullptr, hooks, call);
      Encoder::AddControl(x, inputs.control != nullptr ? &inputs.control->input : nullptr, i);
      if (hooks != nullptr)
        for (const auto& hook : hooks->input_blocks) x = hook(x, call);
      skips.push_back(x);
      if (hooks != nullptr)
        for (const auto& hook : hooks->input_blocks_after_skip) x = hook(x, call);
    }
    call.part = BlockCall::Part::kMiddle;
    call.number = 0;
    x = Encoder::Run(encoder_->middle, std::move(x), embedding, context, nullptr, hooks, call);
    if (inputs.control != nullptr && !inputs.control->middle.empty())
      Encoder::AddControl(x, &inputs.control->middle, 0);
    call.part = BlockCall::Part::kOutput;
    for (size_t i = 0; i < output_.size(); ++i) {
      call.number = static_cast<int64_t>(i);
      at::Tensor skip = std::move(skips.back());
      skips.pop_back();
      if (inputs.control != nullptr && i < inputs.control->output.size()) {
        Encoder::AddControl(skip, &inputs.control->output, inputs.control->output.size() - 1 - i);
      }
      if (hooks != nullptr)
        for (const auto& hook : hooks->output_blocks) hook(x, skip, call);
      x = Encoder::Run(output_[i], at::cat({x, skip}, 1), embedding, context, skips.empty() ? nullptr : &skips.back(),
                       hooks, call);
    }
    return out_conv_(out_norm_.WithSilu(x)).to(at::kFloat).contiguous();
  }

 private:
  mutable engine::ParamSet params_;
  bool attention_fp32_;
  std::unique_ptr<Encoder> encoder_;
  std::vector<BlockLayers> output_;
  GroupNorm out_norm_;
  Conv2d out_conv_;
};

}  // namespace

UNetShape ShapeOfUNet(const engine::WeightSource& weights) {
  UNetShape shape;
  shape.model_channels = weights.Dim("input_blocks.0.0.weight", 0);
  shape.in_channels = weights.Dim("input_blocks.0.0.weight", 1);
  shape.out_channels = weights.Dim("out.2.weight", 0);
  shape.vector_width = weights.Dim("label_emb.0.0.weight", 1);
  for (const auto& [name, tensor] : weights.tensors()) {
    if (name.ends_with(".attn2.to_k.weight") && tensor.dim() == 2) shape.context_width = tensor.size(1);
    if (name.ends_with(".proj_in.weight")) shape.linear_projection = tensor.dim() == 2;
  }
  return shape;
}

std::unique_ptr<const UNetEncoder> TakeUNetEncoder(LayerBuilder& builder, bool attention_fp32) {
  return std::make_unique<const Encoder>(builder, attention_fp32);
}

StatusOr<std::shared_ptr<const engine::DiffusionNetwork>> BuildUNet(const engine::WeightSource& weights,
                                                                    bool attention_fp32, engine::Engine& engine) {
  return BuildNetwork<engine::DiffusionNetwork, UNet>(weights, attention_fp32, engine);
}

}  // namespace atelier::models
