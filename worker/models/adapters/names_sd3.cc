// The names that diffusers gives to the weights of SD3's transformer. Source: spec engine.md 8.1.
#include "worker/models/adapters/transformer_names.h"

namespace atelier::models::names_sd3 {
namespace {

void Add(const engine::WeightSource& weights, AdapterNames& names) {
  if (!weights.HasPrefix("joint_blocks.")) return;
  std::vector<LayerName> layers = {{"context_embedder", "context_embedder"},
                                   {"x_embedder.proj", "pos_embed.proj"},
                                   {"t_embedder.mlp.0", "time_text_embed.timestep_embedder.linear_1"},
                                   {"t_embedder.mlp.2", "time_text_embed.timestep_embedder.linear_2"},
                                   {"y_embedder.mlp.0", "time_text_embed.text_embedder.linear_1"},
                                   {"y_embedder.mlp.2", "time_text_embed.text_embedder.linear_2"},
                                   {"final_layer.linear", "proj_out"}};
  const int64_t blocks = weights.CountBlocks("joint_blocks.");
  for (int64_t i = 0; i < blocks; ++i) {
    const std::string own = Cat("joint_blocks.", i, "."), other = Cat("transformer_blocks.", i, ".");
    const std::string x = own + "x_block.", context = own + "context_block.";
    for (int64_t part = 0; part < 3; ++part) {
      const std::string letter(1, "qkv"[part]);
      layers.push_back({x + "attn.qkv", other + "attn.to_" + letter, part, 3});
      layers.push_back({x + "attn2.qkv", other + "attn2.to_" + letter, part, 3});
      layers.push_back({context + "attn.qkv", other + "attn.add_" + letter + "_proj", part, 3});
    }
    layers.push_back({x + "attn.proj", other + "attn.to_out.0"});
    layers.push_back({x + "attn2.proj", other + "attn2.to_out.0"});
    layers.push_back({context + "attn.proj", other + "attn.to_add_out"});
    layers.push_back({x + "adaLN_modulation.1", other + "norm1.linear"});
    layers.push_back({context + "adaLN_modulation.1", other + "norm1_context.linear"});
    layers.push_back({x + "mlp.fc1", other + "ff.net.0.proj"});
    layers.push_back({x + "mlp.fc2", other + "ff.net.2"});
    layers.push_back({context + "mlp.fc1", other + "ff_context.net.0.proj"});
    layers.push_back({context + "mlp.fc2", other + "ff_context.net.2"});
  }
  AddLayerNames(weights, layers, {"transformer", "base_model.model"}, {"lora_transformer", "lycoris"}, names);
}
ATELIER_REGISTER_ADAPTER_NAMING("sd3", 2, {AdapterNaming::Side::kDiffusion, Add});

}  // namespace
}  // namespace atelier::models::names_sd3
