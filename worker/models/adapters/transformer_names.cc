#include "worker/models/adapters/transformer_names.h"

#include <algorithm>

namespace atelier::models {

void AddLayerNames(const engine::WeightSource& weights, const std::vector<LayerName>& layers,
                   const std::vector<std::string>& dotted, const std::vector<std::string>& flat, AdapterNames& names) {
  for (const LayerName& layer : layers) {
    const std::string weight = layer.own + ".weight";
    if (!weights.Has(weight)) continue;
    AdapterTarget target{weight};
    if (layer.shares > 1) {
      target.length = weights.Dim(weight, 0) / layer.shares;
      target.offset = target.length * layer.share;
    }
    std::string underscored = layer.other;
    std::replace(underscored.begin(), underscored.end(), '.', '_');
    for (const std::string& prefix : dotted) names[Cat(prefix, ".", layer.other)] = target;
    for (const std::string& prefix : flat) names[Cat(prefix, "_", underscored)] = target;
  }
}

}  // namespace atelier::models
