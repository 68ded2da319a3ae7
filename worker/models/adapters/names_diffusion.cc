// Names after the network's own: kohya's with underscores, and the whole path. Source: spec engine.md 8.1.
#include <algorithm>

#include "worker/models/adapter.h"

namespace atelier::models::names_diffusion {
namespace {

void Add(const engine::WeightSource& weights, AdapterNames& names) {
  for (const auto& [name, tensor] : weights.tensors()) {
    if (!name.ends_with(".weight")) {
      names["diffusion_model." + name] = {name};
      continue;
    }
    const std::string layer = name.substr(0, name.size() - 7);
    std::string underscored = layer;
    std::replace(underscored.begin(), underscored.end(), '.', '_');
    names["lora_unet_" + underscored] = {name};
    names["diffusion_model." + layer] = {name};
  }
}
ATELIER_REGISTER_ADAPTER_NAMING("diffusion", 0, {AdapterNaming::Side::kDiffusion, Add});

}  // namespace
}  // namespace atelier::models::names_diffusion
