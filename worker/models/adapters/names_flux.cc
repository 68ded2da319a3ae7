// The names that diffusers gives to the weights of FLUX's transformer. Source: spec engine.md 8.1.
#include "worker/models/adapters/transformer_names.h"

namespace atelier::models::names_flux {
namespace {

void Add(const engine::WeightSource& weights, AdapterNames& names) {
  if (!weights.HasPrefix("double_blocks.") || !weights.HasPrefix("single_blocks.")) return;
  std::vector<LayerName> layers = {{"img_in", "x_embedder"},
                                   {"txt_in", "context_embedder"},
                                   {"time_in.in_layer", "time_text_embed.timestep_embedder.linear_1"},
                                   {"time_in.out_layer", "time_text_embed.timestep_embedder.linear_2"},
                                   {"vector_in.in_layer", "time_text_embed.text_embedder.linear_1"},
                                   {"vector_in.out_layer", "time_text_embed.text_embedder.linear_2"},
                                   {"guidance_in.in_layer", "time_text_embed.guidance_embedder.linear_1"},
                                   {"guidance_in.out_layer", "time_text_embed.guidance_embedder.linear_2"},
                                   {"final_layer.linear", "proj_out"}};
  const int64_t doubles = weights.CountBlocks("double_blocks.");
  for (int64_t i = 0; i < doubles; ++i) {
    const std::string own = Cat("double_blocks.", i, "."), other = Cat("transformer_blocks.", i, ".");
    for (int64_t part = 0; part < 3; ++part) {
      const std::string letter(1, "qkv"[part]);
      layers.push_back({own + "img_attn.qkv", other + "attn.to_" + letter, part, 3});
      layers.push_back({own + "txt_attn.qkv", other + "attn.add_" + letter + "_proj", part, 3});
    }
    layers.push_back({own + "img_attn.proj", other + "attn.to_out.0"});
    layers.push_back({own + "txt_attn.proj", other + "attn.to_add_out"});
    layers.push_back({own + "img_mod.lin", other + "norm1.linear"});
    layers.push_back({own + "txt_mod.lin", other + "norm1_context.linear"});
    layers.push_back({own + "img_mlp.0", other + "ff.net.0.proj"});
    layers.push_back({own + "img_mlp.2", other + "ff.net.2"});
    layers.push_back({own + "txt_mlp.0", other + "ff_context.net.0.proj"});
    layers.push_back({own + "txt_mlp.2", other + "ff_context.net.2"});
  }
  const int64_t singles = weights.CountBlocks("single_blocks.");
  for (int64_t i = 0; i < singles; ++i) {
    const std::string own = Cat("single_blocks.", i, "."), other = Cat("single_transformer_blocks.", i, ".");
    layers.push_back({own + "linear2", other + "proj_out"});
    layers.push_back({own + "modulation.lin", other + "norm.linear"});
  }
  const std::vector<std::string> dotted = {"transformer"}, flat = {"lora_transformer", "lycoris"};
  AddLayerNames(weights, layers, dotted, flat, names);

  // linear1 of a single block holds q, k and v, each as wide as the network, then the MLP.
  const int64_t width = weights.Dim("img_in.weight", 0);
  for (int64_t i = 0; i < singles; ++i) {
    const std::string weight = Cat("single_blocks.", i, ".linear1.weight");
    const int64_t rows = weights.Dim(weight, 0);
    if (width == 0 || rows <= 3 * width) continue;
    const std::string dot = Cat("transformer.single_transformer_blocks.", i, ".");
    const auto add = [&](const std::string& path, const std::string& under, const AdapterTarget& target) {
      names[dot + path] = target;
      for (const std::string& prefix : flat) names[Cat(prefix, "_single_transformer_blocks_", i, "_", under)] = target;
    };
    add("attn.to_q", "attn_to_q", {weight, 0, width});
    add("attn.to_k", "attn_to_k", {weight, width, width});
    add("attn.to_v", "attn_to_v", {weight, 2 * width, width});
    add("proj_mlp", "proj_mlp", {weight, 3 * width, rows - 3 * width});
    names[Cat("diffusion_model.single_blocks.", i, ".linear1_qkv")] = {weight, 0, 3 * width};
  }
}
ATELIER_REGISTER_ADAPTER_NAMING("flux", 3, {AdapterNaming::Side::kDiffusion, Add});

}  // namespace
}  // namespace atelier::models::names_flux
