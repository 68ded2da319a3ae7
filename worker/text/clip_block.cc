#include "worker/text/clip_block.h"

namespace atelier::text {

at::Tensor Activate(const at::Tensor& x, ClipActivation kind) {
  if (kind == ClipActivation::kQuickGelu) return x * at::sigmoid(x * 1.702);
  return at::gelu(x, kind == ClipActivation::kGeluTanh ? "tanh" : "none");
}

at::Tensor ClipBlock::operator()(at::Tensor x, int64_t heads, bool causal, ClipActivation activation) const {
  const at::Tensor n = norm1(x);
  x = x + out(engine::Attention(q(n), k(n), v(n), heads, causal));
  return x + fc2(Activate(fc1(norm2(x)), activation));
}

ClipBlock TakeClipBlock(engine::LayerBuilder& b, const std::string& at, int64_t width, double eps) {
  const int64_t hidden = b.weights().Dim(at + "mlp.fc1.weight", 0);
  ClipBlock block;
  block.norm1 = b.TakeLayerNorm(at + "layer_norm1", width, eps);
  block.norm2 = b.TakeLayerNorm(at + "layer_norm2", width, eps);
  block.q = b.TakeLinear(at + "self_attn.q_proj", width, width);
  block.k = b.TakeLinear(at + "self_attn.k_proj", width, width);
  block.v = b.TakeLinear(at + "self_attn.v_proj", width, width);
  block.out = b.TakeLinear(at + "self_attn.out_proj", width, width);
  block.fc1 = b.TakeLinear(at + "mlp.fc1", width, hidden);
  block.fc2 = b.TakeLinear(at + "mlp.fc2", hidden, width);
  return block;
}

at::Tensor FusedClipBlock::operator()(at::Tensor x, int64_t heads) const {
  const std::vector<at::Tensor> parts = qkv(norm1(x)).chunk(3, -1);
  x = x + out(engine::Attention(parts[0], parts[1], parts[2], heads));
  return x + proj(Activate(fc(norm2(x)), ClipActivation::kQuickGelu));
}

std::vector<FusedClipBlock> TakeFusedClipBlocks(engine::LayerBuilder& b, const std::string& prefix, int64_t width) {
  std::vector<FusedClipBlock> blocks;
  for (int64_t i = 0; i < b.weights().CountBlocks(prefix); ++i) {
    const std::string at = Cat(prefix, i, ".");
    FusedClipBlock& block = blocks.emplace_back();
    block.qkv = {b.Take(at + "attn.in_proj_weight", {3 * width, width}), b.Take(at + "attn.in_proj_bias", {3 * width})};
    block.out = b.TakeLinear(at + "attn.out_proj", width, width);
    block.norm1 = b.TakeLayerNorm(at + "ln_1", width);
    block.norm2 = b.TakeLayerNorm(at + "ln_2", width);
    block.fc = b.TakeLinear(at + "mlp.c_fc", width, width * 4);
    block.proj = b.TakeLinear(at + "mlp.c_proj", width * 4, width);
  }
  return blocks;
}

}  // namespace atelier::text
