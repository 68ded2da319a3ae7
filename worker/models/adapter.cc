#include "worker/models/adapter.h"

#include <limits>

#include "worker/engine/guard.h"
#include "worker/engine/model_cache.h"

namespace atelier::models {
namespace {

using engine::WeightPatch;
using engine::WeightPatches;
using engine::WeightSource;

// The weight and the bias that a prefix stands for: a bias has the weight's name but for the end.
std::string ParameterOf(const AdapterTarget& target, std::string_view suffix) {
  if (suffix == ".weight" || !target.weight.ends_with(".weight")) return suffix == ".weight" ? target.weight : "";
  return target.weight.substr(0, target.weight.size() - std::string_view(".weight").size()) + std::string(suffix);
}

WeightPatch PatchOf(AdapterChange change, const AdapterTarget& target, double strength) {
  if (target.length == 0) {
    return [change = std::move(change), strength](const at::Tensor& weight) { return change(weight, strength); };
  }
  return [change = std::move(change), strength, target](const at::Tensor& weight) {
    at::Tensor whole = weight.clone();
    whole.narrow(0, target.offset, target.length)
        .copy_(change(weight.narrow(0, target.offset, target.length), strength));
    return whole;
  };
}

// Whether the change of `weight` gives a tensor of this shape. Nothing is computed.
bool Fits(const WeightPatch& patch, const at::Tensor& weight, at::IntArrayRef shape) {
  const at::Tensor probe = at::empty(weight.sizes(), at::TensorOptions(at::kMeta).dtype(at::kFloat));
  try {
    return patch(probe).sizes() == shape;
  } catch (const c10::Error&) {
    return false;
  }
}

// FLUX's control adapters, as their makers spell them, under the usual names: biases and norms with names of their own,
// and the input layer told to grow by the control picture's channels. Source: spec engine.md 8.1 "pre-conversions".
WeightSource LikeOthers(const WeightSource& file) {
  constexpr std::string_view kBias = ".lora_B.bias", kNorm = ".scale";
  const at::Tensor down = file.Find("img_in.lora_A.weight"), up = file.Find("img_in.lora_B.weight");
  if (!down.defined() || !up.defined() || !file.Has("single_blocks.0.norm.key_norm.scale")) return file;
  WeightSource::Tensors tensors;
  for (const auto& [name, tensor] : file.tensors()) {
    const std::string usual = "diffusion_model." + name;
    if (name.ends_with(kBias))
      tensors[usual.substr(0, usual.size() - kBias.size()) + ".diff_b"] = tensor;
    else if (name.ends_with(kNorm))
      tensors[usual + ".set_weight"] = tensor;
    else
      tensors[usual] = tensor;
  }
  if (down.dim() == 2 && up.dim() == 2)
    tensors["diffusion_model.img_in.reshape_weight"] = at::tensor({up.size(0), down.size(1)}, at::kLong);
  return WeightSource(file.file(), std::move(tensors));
}

}  // namespace

std::vector<int64_t> ShapeIn(const at::Tensor& reshape) {
  const at::Tensor sizes = reshape.to(at::kCPU, at::kLong).flatten().contiguous();
  return {sizes.const_data_ptr<int64_t>(), sizes.const_data_ptr<int64_t>() + sizes.numel()};
}

StatusOr<AdapterFile> AdapterFile::Open(const std::string& path) {
  ASSIGN_OR_RETURN(WeightSource file, WeightSource::Open(path));
  // Wan's Fun adapters have one underscore too many.
  if (file.HasPrefix("lora_unet__")) {
    file = file.Renamed([](const std::string& name) {
      return name.starts_with("lora_unet__") ? "lora_unet_" + name.substr(11) : name;
    });
  }
  return AdapterFile(LikeOthers(file));
}

at::Tensor AdapterFile::Take(const std::string& name) {
  at::Tensor tensor = file_.Find(name);
  if (tensor.defined()) used_.insert(name);
  return tensor;
}

std::vector<std::string> AdapterFile::Unused() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : file_.tensors())
    if (!used_.contains(name)) names.push_back(name);
  return names;
}

AdapterNames NamesFor(AdapterNaming::Side side, const WeightSource& weights) {
  AdapterNames names;
  const auto& registry = Registry<AdapterNaming>::Get();
  for (const std::string& name : registry.Names()) {
    const AdapterNaming* naming = registry.Find(name);
    if (naming->side == side) naming->add(weights, names);
  }
  return names;
}

at::Tensor Beside(const at::Tensor& x, const at::Tensor& like) { return x.to(like.device(), at::kFloat); }

std::optional<double> TakeNumber(AdapterFile& file, const std::string& name) {
  const at::Tensor value = file.Take(name);
  if (!value.defined() || value.numel() != 1) return std::nullopt;
  return value.to(at::kDouble).item<double>();
}

at::Tensor Applied(const at::Tensor& weight, const at::Tensor& delta, const at::Tensor& dora, double scale,
                   double strength) {
  if (!dora.defined()) return weight + delta * (strength * scale);
  const at::Tensor magnitude = Beside(dora, weight);
  const at::Tensor changed = weight + delta * scale;
  std::vector<int64_t> ones(static_cast<size_t>(weight.dim()), 1);
  at::Tensor norm;
  if (magnitude.size(0) == changed.size(0)) {
    ones[0] = weight.size(0);
    norm = weight.reshape({weight.size(0), -1}).norm(2, {1}, true).reshape(ones);
  } else {
    const at::Tensor columns = changed.transpose(0, 1);
    ones[0] = columns.size(0);
    norm = columns.reshape({columns.size(0), -1}).norm(2, {1}, true).reshape(ones).transpose(0, 1);
  }
  norm = norm + std::numeric_limits<float>::epsilon();
  const at::Tensor decomposed = changed * (magnitude / norm);
  return strength == 1.0 ? decomposed : weight + (decomposed - weight) * strength;
}

AdapterResult ReadAdapter(AdapterFile& file, AdapterNaming::Side side, const WeightSource& weights, double strength) {
  AdapterResult result;
  const auto& registry = Registry<AdapterKind>::Get();
  const std::vector<std::string> kinds = registry.Names();
  for (const auto& [prefix, target] : NamesFor(side, weights)) {
    for (const std::string_view suffix : {".weight", ".bias"}) {
      std::optional<AdapterChange> change;
      for (const std::string& kind : kinds) {
        if (std::optional<AdapterChange> found = registry.Find(kind)->read(file, prefix, suffix))
          change = std::move(found);
      }
      if (!change) continue;
      const std::string name = ParameterOf(target, suffix);
      const at::Tensor weight = weights.Find(name);
      if (!weight.defined()) continue;
      WeightPatch patch = PatchOf(*std::move(change), suffix == ".weight" ? target : AdapterTarget{name}, strength);
      const at::Tensor reshape = suffix == ".weight" ? file.source().Find(prefix + ".reshape_weight") : at::Tensor();
      if (!Fits(patch, weight, reshape.defined() ? ShapeIn(reshape) : weight.sizes().vec())) {
        result.misfits.push_back(prefix);
        continue;
      }
      result.patches[name].push_back(std::move(patch));
    }
  }
  return result;
}

WeightPatches Joined(WeightPatches patches, const WeightPatches& more) {
  for (const auto& [name, list] : more) {
    std::vector<WeightPatch>& all = patches[name];
    all.insert(all.end(), list.begin(), list.end());
  }
  return patches;
}

StatusOr<engine::Model> WithPatches(const engine::Model& model, const WeightPatches& more,
                                    const std::string& identity) {
  if (more.empty()) return model;
  if (!model.rebuild)
    return InvalidArgument("the weights of this model (", model.family, ") cannot be altered; leave the node out");
  engine::Model changed = model;
  changed.patches = Joined(model.patches, more);
  changed.identity = model.identity.empty() || identity.empty() ? "" : Cat(model.identity, "\n", identity);
  const auto make = [&] { return model.rebuild(changed.patches); };
  if (changed.identity.empty()) {
    ASSIGN_OR_RETURN(changed.network, make());
  } else {
    ASSIGN_OR_RETURN(changed.network, engine::TheEngine().models().GetMade<engine::DiffusionNetwork>(
                                          changed.identity + "\ndiffusion", make));
  }
  return changed;
}

StatusOr<engine::Clip> WithPatches(const engine::Clip& clip, const WeightPatches& more, const std::string& identity) {
  if (more.empty()) return clip;
  if (clip.encoder == nullptr) return InvalidArgument("there is no text encoder to alter: the checkpoint has none");
  engine::Clip changed = clip;
  changed.patches = Joined(clip.patches, more);
  changed.identity = clip.identity.empty() || identity.empty() ? "" : Cat(clip.identity, "\n", identity);
  const auto make = [&] { return clip.encoder->Patched(changed.patches); };
  if (changed.identity.empty()) {
    ASSIGN_OR_RETURN(changed.encoder, make());
  } else {
    ASSIGN_OR_RETURN(changed.encoder,
                     engine::TheEngine().models().GetMade<engine::TextEncoder>(changed.identity + "\ntext", make));
  }
  return changed;
}

}  // namespace atelier::models
