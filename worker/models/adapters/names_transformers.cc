// Families whose adapters name the weights as the network does, bare or below "transformer.". Source: spec engine.md
// 8.1.
#include <algorithm>

#include "worker/models/adapter.h"

namespace atelier::models::names_transformers {
namespace {

// What tells a family, and the prefixes that its files use beside the usual ones.
struct Spelling {
  const char* tensor;
  bool bare, transformer, lycoris;
};
constexpr Spelling kSpellings[] = {
    {"t5_yproj.weight", true, false, false},                                        // Mochi
    {"genre_embedder.weight", true, false, false},                                  // ACE-Step
    {"time_caption_embed.timestep_embedder.linear_1.bias", true, false, false},     // OmniGen2
    {"caption_projection.0.linear.weight", false, true, true},                      // HiDream
    {"txt_norm.weight", true, true, true},                                          // Qwen-Image
    {"adaln_single.emb.timestep_embedder.linear_1.bias", false, true, false},       // PixArt, LTXV
    {"double_layers.0.attn.w1q.weight", false, true, false},                        // AuraFlow
    {"txt_in.individual_token_refiner.blocks.0.norm1.weight", false, true, false},  // HunyuanVideo
};

void Add(const engine::WeightSource& weights, AdapterNames& names) {
  for (const Spelling& spelling : kSpellings) {
    if (!weights.Has(spelling.tensor)) continue;
    for (const auto& [name, tensor] : weights.tensors()) {
      if (!name.ends_with(".weight")) continue;
      const std::string layer = name.substr(0, name.size() - 7);
      std::string underscored = layer;
      std::replace(underscored.begin(), underscored.end(), '.', '_');
      if (spelling.bare) names[layer] = {name};
      if (spelling.transformer) names["transformer." + layer] = {name};
      if (spelling.lycoris) names["lycoris_" + underscored] = {name};
    }
  }
}
ATELIER_REGISTER_ADAPTER_NAMING("transformers", 4, {AdapterNaming::Side::kDiffusion, Add});

}  // namespace
}  // namespace atelier::models::names_transformers
