#include "worker/models/mmdit_blocks.h"

namespace atelier::models {
namespace {

using engine::HeadAttention;

at::Tensor Feed(const JointStream& s, const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale) {
  return s.mlp_out(at::gelu(s.mlp_in(Modulate(PlainNorm(x), shift, scale)), "tanh"));
}

}  // namespace

Qkv JointAttention::operator()(const at::Tensor& x, int64_t heads) const {
  Qkv parts = SplitQkv(qkv(x), heads);
  if (query_norm.weight != nullptr) parts.q = query_norm(parts.q);
  if (key_norm.weight != nullptr) parts.k = key_norm(parts.k);
  return parts;
}

void JointBlock::operator()(at::Tensor& x, at::Tensor& text, const at::Tensor& active, int64_t heads) const {
  const int64_t tokens = text.size(1);
  const auto m = image.modulation(active).chunk(image.second ? 9 : 6, -1);
  const auto n = context.modulation(active).chunk(context.ends ? 2 : 6, -1);
  const at::Tensor normal = PlainNorm(x);
  const Qkv qi = image.attention(Modulate(normal, m[0], m[1]), heads);
  const Qkv qc = context.attention(Modulate(PlainNorm(text), n[0], n[1]), heads);
  const at::Tensor out = HeadAttention(at::cat({qc.q, qi.q}, 2), at::cat({qc.k, qi.k}, 2), at::cat({qc.v, qi.v}, 2));
  at::Tensor y = x + m[2].unsqueeze(1) * image.attention.proj(out.narrow(1, tokens, x.size(1)));
  if (image.second) {
    const Qkv own = (*image.second)(Modulate(normal, m[6], m[7]), heads);
    y = y + m[8].unsqueeze(1) * image.second->proj(HeadAttention(own.q, own.k, own.v));
  }
  x = y + m[5].unsqueeze(1) * Feed(image, y, m[3], m[4]);
  if (context.ends) return;
  text = text + n[2].unsqueeze(1) * context.attention.proj(out.narrow(1, 0, tokens));
  text = text + n[5].unsqueeze(1) * Feed(context, text, n[3], n[4]);
}

JointStream TakeJointStream(engine::LayerBuilder& b, const std::string& at) {
  JointStream s;
  const int64_t hidden = b.weights().Dim(at + "attn.qkv.weight", 1);
  s.ends = !b.Has(at + "attn.proj.weight");
  const auto attention = [&](const std::string& name) {
    JointAttention a;
    a.qkv = b.TakeLinear(name + ".qkv", hidden, hidden * 3);
    if (!s.ends) a.proj = b.TakeLinear(name + ".proj", hidden, hidden);
    if (b.Has(name + ".ln_q.weight")) a.query_norm = b.TakeRmsNorm(name + ".ln_q.weight", kMmditHeadWidth);
    if (b.Has(name + ".ln_k.weight")) a.key_norm = b.TakeRmsNorm(name + ".ln_k.weight", kMmditHeadWidth);
    return a;
  };
  s.attention = attention(at + "attn");
  if (b.Has(at + "attn2.qkv.weight")) s.second = attention(at + "attn2");
  s.modulation = b.TakeLinear(at + "adaLN_modulation.1", hidden, hidden * (s.ends ? 2 : s.second ? 9 : 6));
  if (!s.ends) {
    const int64_t mlp = b.weights().Dim(at + "mlp.fc1.weight", 0);
    s.mlp_in = b.TakeLinear(at + "mlp.fc1", hidden, mlp);
    s.mlp_out = b.TakeLinear(at + "mlp.fc2", mlp, hidden);
  }
  return s;
}

JointBlock TakeJointBlock(engine::LayerBuilder& b, const std::string& at) {
  JointBlock block;
  block.context = TakeJointStream(b, at + "context_block.");
  block.image = TakeJointStream(b, at + "x_block.");
  return block;
}

at::Tensor CentredPositions(const at::Tensor& table, int64_t side, int64_t rows, int64_t columns) {
  const int64_t hidden = table.size(2);
  return table.view({side, side, hidden})
      .narrow(0, (side - rows) / 2, rows)
      .narrow(1, (side - columns) / 2, columns)
      .reshape({1, rows * columns, hidden});
}

}  // namespace atelier::models
