#include "worker/models/saving.h"

#include <array>
#include <set>
#include <utility>
#include <vector>

namespace atelier::models {
namespace {

using engine::WeightSource;

constexpr std::string_view kStage = ".transformer.";  // between an encoder's name and its weights' names

// Where checkpoints with a certain set of encoders keep each of them.
struct TextPlace {
  std::string encoder, prefix;
  bool open_clip = false;  // under OpenCLIP's names
};
struct TextLayout {
  std::vector<TextPlace> places;
};
const std::vector<TextLayout>& Layouts() {
  static const std::vector<TextLayout> layouts = {
      {{{"clip_l", "cond_stage_model.transformer."}}},
      {{{"clip_h", "cond_stage_model.model.", true}}},
      {{{"clip_g", "conditioner.embedders.0.model.", true}}},
      {{{"clip_l", "conditioner.embedders.0.transformer."}, {"clip_g", "conditioner.embedders.1.model.", true}}}};
  return layouts;
}

// The encoders of a set by name, their weights under the names of transformers.
StatusOr<std::map<std::string, WeightSource>> EncodersOf(const engine::Clip& clip) {
  if (clip.encoder == nullptr) return InvalidArgument("clip holds no text encoder");
  const WeightSource all = clip.encoder->weights().Patched(clip.patches);
  std::set<std::string> names;
  for (const auto& [name, tensor] : all.tensors())
    if (const size_t at = name.find(kStage); at != std::string::npos) names.insert(name.substr(0, at));
  if (names.empty()) return InvalidArgument("the weights of this text encoder are not at hand; it cannot be saved");
  std::map<std::string, WeightSource> encoders;
  for (const std::string& name : names) encoders[name] = all.Prefixed(name + std::string(kStage));
  return encoders;
}

// OpenCLIP's names and layouts for an encoder under those of transformers.
SavedTensors OpenClip(const SavedTensors& from) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kInside = {
      {{"layer_norm1.", "ln_1."},
       {"layer_norm2.", "ln_2."},
       {"mlp.fc1.", "mlp.c_fc."},
       {"mlp.fc2.", "mlp.c_proj."},
       {"self_attn.out_proj.", "attn.out_proj."}}};
  constexpr std::string_view kLayers = "text_model.encoder.layers.";
  SavedTensors out;
  for (const auto& [name, tensor] : from) {
    if (name == "text_model.embeddings.position_embedding.weight") {
      out["positional_embedding"] = tensor;
    } else if (name == "text_model.embeddings.token_embedding.weight") {
      out["token_embedding.weight"] = tensor;
    } else if (name.starts_with("text_model.final_layer_norm.")) {
      out["ln_final." + name.substr(28)] = tensor;
    } else if (name == "text_projection.weight") {
      out["text_projection"] = tensor.t().contiguous();
    } else if (name.starts_with(kLayers)) {
      const size_t dot = name.find('.', kLayers.size());
      const std::string at = Cat("transformer.resblocks.", name.substr(kLayers.size(), dot - kLayers.size()), ".");
      const std::string rest = name.substr(dot + 1), own = name.substr(0, dot + 1);
      for (const auto& [inner, outer] : kInside)
        if (rest.starts_with(inner)) out[Cat(at, outer, rest.substr(inner.size()))] = tensor;
      for (const char* kind : {"weight", "bias"}) {
        if (rest != Cat("self_attn.q_proj.", kind)) continue;
        const auto k = from.find(Cat(own, "self_attn.k_proj.", kind)),
                   v = from.find(Cat(own, "self_attn.v_proj.", kind));
        if (k != from.end() && v != from.end())
          out[Cat(at, "attn.in_proj_", kind)] = at::cat({tensor, k->second, v->second}, 0);
      }
    } else {
      out[name] = tensor;
    }
  }
  return out;
}

}  // namespace

void AddWeights(const WeightSource& source, const std::string& prefix, SavedTensors& tensors) {
  for (const auto& [name, stored] : source.tensors()) {
    const at::Tensor value =
        source.ExtrasOf(name) == nullptr ? stored : source.Value(name, at::Device(at::kCPU)).to(stored.scalar_type());
    tensors[prefix + name] = value;
  }
}

StatusOr<SavedTensors> DiffusionTensors(const engine::Model& model) {
  if (model.weights.tensors().empty())
    return InvalidArgument("the weights of this model are not at hand; it cannot be saved");
  SavedTensors tensors;
  AddWeights(model.weights.Patched(model.patches), "model.diffusion_model.", tensors);
  return tensors;
}

StatusOr<std::map<std::string, SavedTensors>> TextTensors(const engine::Clip& clip) {
  ASSIGN_OR_RETURN(const auto encoders, EncodersOf(clip));
  std::map<std::string, SavedTensors> files;
  for (const auto& [name, weights] : encoders) AddWeights(weights, "", files[name]);
  return files;
}

StatusOr<SavedTensors> AutoencoderTensors(const engine::Vae& vae) {
  const auto* stored = dynamic_cast<const StoredAutoencoder*>(vae.autoencoder.get());
  if (stored == nullptr) return InvalidArgument("vae holds no autoencoder that can be saved");
  SavedTensors tensors;
  AddWeights(stored->weights(), "", tensors);
  return tensors;
}

StatusOr<SavedTensors> CheckpointTensors(const engine::Model& model, const engine::Clip& clip, const engine::Vae& vae) {
  ASSIGN_OR_RETURN(SavedTensors all, DiffusionTensors(model));
  ASSIGN_OR_RETURN(const auto encoders, TextTensors(clip));
  const TextLayout* layout = nullptr;
  for (const TextLayout& known : Layouts()) {
    bool same = known.places.size() == encoders.size();
    for (const TextPlace& place : known.places) same = same && encoders.contains(place.encoder);
    if (same) layout = &known;
  }
  if (layout != nullptr) {
    for (const TextPlace& place : layout->places) {
      const SavedTensors& weights = encoders.at(place.encoder);
      for (const auto& [name, tensor] : place.open_clip ? OpenClip(weights) : weights)
        all[place.prefix + name] = tensor;
    }
  } else {
    for (const auto& [encoder, weights] : encoders)
      for (const auto& [name, tensor] : weights) all[Cat("text_encoders.", encoder, kStage, name)] = tensor;
  }
  ASSIGN_OR_RETURN(const SavedTensors autoencoder, AutoencoderTensors(vae));
  for (const auto& [name, tensor] : autoencoder)
    all[(layout != nullptr ? "first_stage_model." : "vae.") + name] = tensor;
  return all;
}

}  // namespace atelier::models
