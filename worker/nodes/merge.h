// Weights mixed from two networks. Source: spec engine.md 8.1, 12.4 (nodes_model_merging).
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "worker/nodes/support.h"

namespace atelier::nodes {

/// How much of each network's weight, by the weight's name.
struct MergeShare {
  double first = 1.0, second = 0.0;
};

/// `first` with every weight that both have made first * share.first + second * share.second. Weights of different
/// shapes stay. Errors: as models::WithPatches. Thread: any.
StatusOr<Model> Merged(const Model& first, const Model& second, const std::string& identity,
                       const std::function<MergeShare(const std::string& name)>& share, NodeContext& ctx);
/// The same of text encoders; `position_ids` and the scale of training stay.
StatusOr<Clip> Merged(const Clip& first, const Clip& second, const std::string& identity, MergeShare share,
                      NodeContext& ctx);

/// Ratio of a weight: that of the longest prefix that its name starts with, else the first one's.
double RatioFor(const std::string& name, const std::vector<std::pair<std::string, double>>& ratios);

}  // namespace atelier::nodes
