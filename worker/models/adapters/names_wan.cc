// WAN: the network's own names without a prefix (as its trainers save them), and the names that diffusers gives to its
// layers. Source: diffusers 0.35 (Apache-2.0), WanTransformer3DModel; the rest of spec engine.md 8.1 is in
// names_diffusion.cc.
#include "worker/models/adapters/transformer_names.h"

namespace atelier::models::names_wan {
namespace {

constexpr std::pair<const char*, const char*> kParts[] = {
    {"time_embedding.0", "condition_embedder.time_embedder.linear_1"},
    {"time_embedding.2", "condition_embedder.time_embedder.linear_2"},
    {"time_projection.1", "condition_embedder.time_proj"},
    {"text_embedding.0", "condition_embedder.text_embedder.linear_1"},
    {"text_embedding.2", "condition_embedder.text_embedder.linear_2"},
    {"img_emb.proj.0", "condition_embedder.image_embedder.norm1"},
    {"img_emb.proj.1", "condition_embedder.image_embedder.ff.net.0.proj"},
    {"img_emb.proj.3", "condition_embedder.image_embedder.ff.net.2"},
    {"img_emb.proj.4", "condition_embedder.image_embedder.norm2"},
    {"head.head", "proj_out"}};

constexpr std::pair<const char*, const char*> kAttention[] = {
    {"q", "to_q"},           {"k", "to_k"},           {"v", "to_v"},
    {"o", "to_out.0"},       {"norm_q", "norm_q"},    {"norm_k", "norm_k"},
    {"k_img", "add_k_proj"}, {"v_img", "add_v_proj"}, {"norm_k_img", "norm_added_k"}};

void Add(const engine::WeightSource& weights, AdapterNames& names) {
  if (!weights.Has("head.modulation")) return;
  std::vector<LayerName> layers = {{"patch_embedding", "patch_embedding"}};
  for (const auto& [own, other] : kParts) layers.push_back({own, other});
  for (const char* part : {"", "vace_"}) {
    const int64_t count = weights.CountBlocks(Cat(part, "blocks."));
    for (int64_t i = 0; i < count; ++i) {
      const std::string block = Cat(part, "blocks.", i, ".");
      for (const auto& [own, other] : kAttention) {
        layers.push_back({Cat(block, "self_attn.", own), Cat(block, "attn1.", other)});
        layers.push_back({Cat(block, "cross_attn.", own), Cat(block, "attn2.", other)});
      }
      layers.push_back({block + "ffn.0", block + "ffn.net.0.proj"});
      layers.push_back({block + "ffn.2", block + "ffn.net.2"});
      layers.push_back({block + "norm3", block + "norm2"});
    }
  }
  AddLayerNames(weights, layers, {"transformer"}, {}, names);
  for (const auto& [name, tensor] : weights.tensors())
    if (name.ends_with(".weight")) names[name.substr(0, name.size() - 7)] = {name};
}
ATELIER_REGISTER_ADAPTER_NAMING("wan", 5, {AdapterNaming::Side::kDiffusion, Add});

}  // namespace
}  // namespace atelier::models::names_wan
