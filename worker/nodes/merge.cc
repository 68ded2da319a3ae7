#include "worker/nodes/merge.h"

#include <memory>

#include "worker/models/adapter.h"

namespace atelier::nodes {
namespace {

// The second network's weights with what was changed of them.
struct Second {
  engine::WeightSource weights;
  engine::WeightPatches patches;
};

engine::WeightPatches PatchesFor(const engine::WeightSource& first, Second other_network,
                                 const std::function<MergeShare(const std::string&)>& share, NodeContext& ctx) {
  const auto second = std::make_shared<const Second>(std::move(other_network));
  engine::WeightPatches patches;
  int64_t misfits = 0;
  std::string misfit;
  for (const auto& [name, tensor] : first.tensors()) {
    const at::Tensor other = second->weights.Find(name);
    if (!other.defined() || !tensor.is_floating_point()) continue;
    if (other.sizes() != tensor.sizes()) {
      if (misfits++ == 0) misfit = name;
      continue;
    }
    patches[name].push_back([second, name = name, s = share(name)](const at::Tensor& weight) {
      const at::Tensor scaled = weight * s.first;
      if (weight.is_meta()) return scaled;  // the shape alone is asked for, and decoders read bytes
      return s.second == 0 ? scaled : scaled + second->weights.Value(name, weight.device(), second->patches) * s.second;
    });
  }
  if (misfits > 0) {
    ctx.Warn(Cat(misfits, " weights have other shapes in the second model and stay those of the first, \"", misfit,
                 "\" is the first of them"));
  }
  return patches;
}

std::string MergedIdentity(const std::string& second, const std::string& identity) {
  return second.empty() ? "" : Cat("merged with {", second, "} ", identity);
}

}  // namespace

StatusOr<Model> Merged(const Model& first, const Model& second, const std::string& identity,
                       const std::function<MergeShare(const std::string&)>& share, NodeContext& ctx) {
  return models::WithPatches(first, PatchesFor(first.weights, {second.weights, second.patches}, share, ctx),
                             MergedIdentity(second.identity, identity));
}

StatusOr<Clip> Merged(const Clip& first, const Clip& second, const std::string& identity, MergeShare share,
                      NodeContext& ctx) {
  if (first.encoder == nullptr || second.encoder == nullptr)
    return InvalidArgument("there is no text encoder to merge: a checkpoint has none");
  engine::WeightPatches patches = PatchesFor(
      first.encoder->weights(), {second.encoder->weights(), second.patches},
      [share](const std::string&) { return share; }, ctx);
  std::erase_if(patches, [](const auto& entry) {
    return entry.first.ends_with(".position_ids") || entry.first.ends_with(".logit_scale") ||
           entry.first.ends_with(".spiece_model");  // a tokenizer
  });
  return models::WithPatches(first, patches, MergedIdentity(second.identity, identity));
}

double RatioFor(const std::string& name, const std::vector<std::pair<std::string, double>>& ratios) {
  double ratio = ratios.empty() ? 1.0 : ratios.front().second;
  size_t longest = 0;
  for (const auto& [prefix, value] : ratios) {
    if (prefix.size() <= longest || !name.starts_with(prefix)) continue;
    longest = prefix.size();
    ratio = value;
  }
  return ratio;
}

}  // namespace atelier::nodes
