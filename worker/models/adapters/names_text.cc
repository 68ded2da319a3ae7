// Names of text encoders' weights: CLIP's by trainer, T5's by its place among the encoders. Source: spec engine.md 8.1.
#include <algorithm>

#include "worker/models/adapter.h"

namespace atelier::models::names_text {
namespace {

constexpr std::string_view kWeight = ".weight";

std::string Underscored(std::string name) {
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
}

void AddClip(const engine::WeightSource& weights, const std::string& encoder, const std::vector<std::string>& trainers,
             const std::vector<std::string>& paths, AdapterNames& names) {
  const std::string root = encoder + ".transformer.text_model.encoder.layers.";
  const auto& tensors = weights.tensors();
  for (auto it = tensors.lower_bound(root); it != tensors.end() && it->first.starts_with(root); ++it) {
    const std::string& name = it->first;
    if (!name.ends_with(kWeight) || name.find("layer_norm") != std::string::npos) continue;
    const std::string layer = name.substr(root.size(), name.size() - root.size() - kWeight.size());
    for (const std::string& trainer : trainers)
      names[trainer + "_text_model_encoder_layers_" + Underscored(layer)] = {name};
    for (const std::string& path : paths) names[path + ".text_model.encoder.layers." + layer] = {name};
  }
}

void Add(const engine::WeightSource& weights, AdapterNames& names) {
  for (const auto& [name, tensor] : weights.tensors()) {
    const bool weight = name.ends_with(kWeight);
    names["text_encoders." + (weight ? name.substr(0, name.size() - kWeight.size()) : name)] = {name};
  }
  const bool l = weights.HasPrefix("clip_l."), g = weights.HasPrefix("clip_g.");
  for (const char* first : {"clip_h", "clip_l"})
    AddClip(weights, first, {"lora_te", "lora_te1"}, {"text_encoder"}, names);
  if (l) {
    AddClip(weights, "clip_g", {"lora_te2"}, {"text_encoder_2"}, names);
  } else {
    AddClip(weights, "clip_g", {"lora_te", "lora_prior_te"}, {"text_encoder"}, names);
  }
  const std::string projection = ".transformer.text_projection.weight";
  // A CLIP-L without a projection of its own has the name all the same: the reference gives it one that nothing uses.
  if (g) {
    names["lora_te2_text_projection"] = names["lora_prior_te_text_projection"] = {"clip_g" + projection};
  }
  if (l) names["lora_te1_text_projection"] = {"clip_l" + projection};

  const std::string t5 = "t5xxl.transformer.";
  std::vector<std::string> trainers = {Cat("lora_te", 1 + (l ? 1 : 0) + (g ? 1 : 0), "_")};
  if (l && !g) trainers.emplace_back("lora_te3_");  // Flux files count an encoder that Flux has not
  const auto& tensors = weights.tensors();
  for (auto it = tensors.lower_bound(t5); it != tensors.end() && it->first.starts_with(t5); ++it) {
    if (!it->first.ends_with(kWeight)) continue;
    const std::string layer = it->first.substr(t5.size(), it->first.size() - t5.size() - kWeight.size());
    for (const std::string& trainer : trainers) names[trainer + Underscored(layer)] = {it->first};
  }
}
ATELIER_REGISTER_ADAPTER_NAMING("text", 0, {AdapterNaming::Side::kText, Add});

}  // namespace
}  // namespace atelier::models::names_text
