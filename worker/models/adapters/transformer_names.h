// What the naming of transformers has in common.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "worker/models/adapter.h"

namespace atelier::models {

/// A layer's own name and the one that diffusers gives to it, or to `share` of `shares` equal row blocks of it.
struct LayerName {
  std::string own, other;
  int64_t share = 0, shares = 1;
};

/// Adds "PREFIX.other" for each of `dotted` and "PREFIX_other" with underscores for each of `flat`, for the layers that
/// the network has.
void AddLayerNames(const engine::WeightSource& weights, const std::vector<LayerName>& layers,
                   const std::vector<std::string>& dotted, const std::vector<std::string>& flat, AdapterNames& names);

}  // namespace atelier::models
