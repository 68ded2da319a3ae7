#include "worker/models/flux_blocks.h"

namespace atelier::models {
namespace {

using engine::HeadAttention;
using engine::LayerBuilder;

constexpr double kTimeFactor = 1000.0;  // of noise levels and guidance
const std::vector<int64_t> kAxes{16, 56, 56};

// One stream's share of a joint attention.
struct Prepared {
  std::vector<at::Tensor> mod;  // shift, scale, gate, twice
  Qkv qkv;
};

Prepared Prepare(const FluxStream& s, const at::Tensor& x, const at::Tensor& active, int64_t heads) {
  Prepared p;
  p.mod = s.modulation(active).chunk(6, -1);
  p.qkv = SplitQkv(s.qkv(Modulate(PlainNorm(x), p.mod[0], p.mod[1])), heads);
  p.qkv.q = s.query_norm(p.qkv.q);
  p.qkv.k = s.key_norm(p.qkv.k);
  return p;
}

at::Tensor Finish(const FluxStream& s, const at::Tensor& x, const at::Tensor& attention,
                  const std::vector<at::Tensor>& mod) {
  const at::Tensor y = x + mod[2].unsqueeze(1) * s.proj(attention);
  const at::Tensor feed = s.mlp_out(at::gelu(s.mlp_in(Modulate(PlainNorm(y), mod[3], mod[4])), "tanh"));
  return y + mod[5].unsqueeze(1) * feed;
}

FluxStream TakeStream(LayerBuilder& b, const std::string& at, int64_t hidden) {
  FluxStream s;
  s.modulation = b.TakeLinear(at + "mod.lin", hidden, hidden * 6);
  s.qkv = b.TakeLinear(at + "attn.qkv", hidden, hidden * 3);
  s.proj = b.TakeLinear(at + "attn.proj", hidden, hidden);
  s.query_norm = b.TakeRmsNorm(at + "attn.norm.query_norm.scale", kFluxHeadWidth);
  s.key_norm = b.TakeRmsNorm(at + "attn.norm.key_norm.scale", kFluxHeadWidth);
  const int64_t mlp = b.weights().Dim(at + "mlp.0.weight", 0);
  s.mlp_in = b.TakeLinear(at + "mlp.0", hidden, mlp);
  s.mlp_out = b.TakeLinear(at + "mlp.2", mlp, hidden);
  return s;
}

}  // namespace

void FluxDoubleBlock::operator()(at::Tensor& image_tokens, at::Tensor& text_tokens, const at::Tensor& active,
                                 const Rope& rope, int64_t heads, const at::Tensor& bias) const {
  const int64_t words = text_tokens.size(1);
  const Prepared i = Prepare(image, image_tokens, active, heads), w = Prepare(text, text_tokens, active, heads);
  const at::Tensor q = ApplyRope(at::cat({w.qkv.q, i.qkv.q}, 2), rope);
  const at::Tensor k = ApplyRope(at::cat({w.qkv.k, i.qkv.k}, 2), rope);
  const at::Tensor out = HeadAttention(q, k, at::cat({w.qkv.v, i.qkv.v}, 2), bias);
  image_tokens = Finish(image, image_tokens, out.narrow(1, words, image_tokens.size(1)), i.mod);
  text_tokens = GuardHalf(Finish(text, text_tokens, out.narrow(1, 0, words), w.mod));
}

at::Tensor FluxSingleBlock::operator()(const at::Tensor& x, const at::Tensor& active, const Rope& rope, int64_t heads,
                                       const at::Tensor& bias) const {
  const std::vector<at::Tensor> mod = modulation(active).chunk(3, -1);
  const at::Tensor both = in(Modulate(PlainNorm(x), mod[0], mod[1]));
  const int64_t hidden = x.size(2);
  const Qkv qkv = SplitQkv(both.narrow(2, 0, hidden * 3), heads);
  const at::Tensor mlp = both.narrow(2, hidden * 3, both.size(2) - hidden * 3);
  const at::Tensor attended =
      HeadAttention(ApplyRope(query_norm(qkv.q), rope), ApplyRope(key_norm(qkv.k), rope), qkv.v, bias);
  return GuardHalf(x + mod[2].unsqueeze(1) * out(at::cat({attended, at::gelu(mlp, "tanh")}, 2)));
}

FluxDoubleBlock TakeFluxDouble(LayerBuilder& b, const std::string& at, int64_t hidden) {
  return {TakeStream(b, at + "img_", hidden), TakeStream(b, at + "txt_", hidden)};
}

FluxSingleBlock TakeFluxSingle(LayerBuilder& b, const std::string& at, int64_t hidden) {
  FluxSingleBlock block;
  const int64_t mlp = b.weights().Dim(at + "linear2.weight", 1) - hidden;
  block.modulation = b.TakeLinear(at + "modulation.lin", hidden, hidden * 3);
  block.in = b.TakeLinear(at + "linear1", hidden, hidden * 3 + mlp);
  block.out = b.TakeLinear(at + "linear2", 0, hidden);
  block.query_norm = b.TakeRmsNorm(at + "norm.query_norm.scale", kFluxHeadWidth);
  block.key_norm = b.TakeRmsNorm(at + "norm.key_norm.scale", kFluxHeadWidth);
  return block;
}

SiluMlp TakeFluxMlp(LayerBuilder& b, const std::string& name, int64_t in, int64_t hidden) {
  return {b.TakeLinear(name + ".in_layer", in, hidden), b.TakeLinear(name + ".out_layer", hidden, hidden)};
}

at::Tensor FluxSinusoid(const at::Tensor& value, const at::TensorOptions& options) {
  return engine::SinusoidalEmbedding(value.to(options.device()).to(at::kFloat) * kTimeFactor, kFluxSinusoid)
      .to(options);
}

at::Tensor FluxPatches(const at::Tensor& x) {
  const at::Tensor p = PadToPatch(x, kFluxPatch);
  const int64_t rows = p.size(2) / kFluxPatch, columns = p.size(3) / kFluxPatch;
  return p.view({p.size(0), p.size(1), rows, kFluxPatch, columns, kFluxPatch})
      .permute({0, 2, 4, 1, 3, 5})
      .reshape({p.size(0), rows * columns, p.size(1) * kFluxPatch * kFluxPatch});
}

at::Tensor FluxIds(int64_t rows, int64_t columns, int64_t index, int64_t row, int64_t column) {
  at::Tensor ids = at::zeros({rows, columns, 3});
  ids.select(2, 0).fill_(static_cast<double>(index));
  ids.select(2, 1).copy_(at::arange(row, row + rows, at::kFloat).unsqueeze(1).expand({rows, columns}));
  ids.select(2, 2).copy_(at::arange(column, column + columns, at::kFloat).unsqueeze(0).expand({rows, columns}));
  return ids.view({rows * columns, 3});
}

Rope FluxRope(const at::Tensor& ids, const at::Device& device) { return MakeRope(ids.to(device), kAxes); }

}  // namespace atelier::models
