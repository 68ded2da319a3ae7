#include "worker/text/encoder_weights.h"

#include <utility>

namespace atelier::text {

engine::WeightPatches PatchesOf(const std::string& name, const engine::WeightPatches& changes) {
  const std::string prefix = SetPrefix(name);
  engine::WeightPatches own;
  for (auto it = changes.lower_bound(prefix); it != changes.end() && it->first.starts_with(prefix); ++it)
    own.emplace(it->first.substr(prefix.size()), it->second);
  return own;
}

engine::WeightSource SetWeights(const std::vector<NamedWeights>& encoders) {
  engine::WeightSource::Tensors all;
  engine::WeightSource::Extras extras;
  for (const NamedWeights& encoder : encoders) {
    const std::string prefix = SetPrefix(encoder.name);
    for (const auto& [name, tensor] : encoder.weights->tensors()) {
      all.emplace(prefix + name, tensor);
      if (const engine::WeightExtras* extra = encoder.weights->ExtrasOf(name)) extras.emplace(prefix + name, *extra);
    }
  }
  return engine::WeightSource(encoders.front().weights->file(), std::move(all), std::move(extras));
}

}  // namespace atelier::text
