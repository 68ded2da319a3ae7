#include "master/control/chains.h"

#include <algorithm>

namespace atelier {

std::vector<std::vector<int>> CutAfter(const StageGraph& graph) {
  std::vector<std::vector<int>> followers(graph.tiles.size());
  for (size_t t = 0; t < graph.tiles.size(); ++t)
    for (const int earlier : graph.tiles[t].cut_after)
      followers[static_cast<size_t>(earlier)].push_back(static_cast<int>(t));
  return followers;
}

std::vector<int> ChainsFrom(const StageGraph& graph) {
  std::vector<int> urgency(graph.tiles.size(), 1), waiting(graph.tiles.size(), 0), open;
  for (const StageGraph::Tile& tile : graph.tiles)
    for (int earlier : tile.cut_after) ++waiting[static_cast<size_t>(earlier)];
  for (size_t t = 0; t < waiting.size(); ++t)
    if (waiting[t] == 0) open.push_back(static_cast<int>(t));
  while (!open.empty()) {
    const auto t = static_cast<size_t>(open.back());
    open.pop_back();
    for (int e : graph.tiles[t].cut_after) {
      const auto earlier = static_cast<size_t>(e);
      urgency[earlier] = std::max(urgency[earlier], urgency[t] + 1);
      if (--waiting[earlier] == 0) open.push_back(e);
    }
  }
  return urgency;
}

}  // namespace atelier
