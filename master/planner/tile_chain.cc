#include "master/planner/tile_chain.h"

#include <utility>
#include <vector>

#include "common/graph/picture_part.h"

namespace atelier {
namespace {

constexpr PartKind kPartKinds[] = {{&NodeSpec::keeps_handles, "IMAGE", kPicturePartType, "image"},
                                   {&NodeSpec::cut_for_tiles, "MASK", kMaskPartType, "mask"},
                                   {&NodeSpec::cut_for_tiles, "LATENT", kLatentPartType, "latent"}};

}  // namespace

TileChain ChainOf(const PlannedNodes& nodes, const PlannedNode& tiled) {
  TileChain chain;
  const bool parts = nodes.catalog().Find(kMaskPartType) != nullptr;
  std::set<std::string> others;
  std::vector<std::pair<const PlannedNode*, bool>> left{{&tiled, true}};
  while (!left.empty()) {
    const auto [node, cut] = left.back();
    left.pop_back();
    for (const PlannedLink& link : node->links) {
      const PlannedNode& source = nodes.at(link.source);
      if (source.spec->tiles) continue;
      const bool conditioning = node->spec->FindInput(link.input)->type == "CONDITIONING";
      const bool prompt = cut && conditioning, for_part = parts && conditioning && source.for_parts;
      if (!for_part && !nodes.IsHandle(link, *node)) continue;
      if (prompt && for_part) chain.for_parts.insert(link.source);
      if ((prompt ? chain.prompts : others).insert(link.source).second) left.emplace_back(&source, prompt);
    }
  }
  for (const std::string& id : others) chain.prompts.erase(id);
  return chain;
}

bool InChain(const TileChain& chain, const PlannedLink& link, const PlannedNode& consumer) {
  return chain.for_parts.contains(link.source) && consumer.spec->FindInput(link.input)->type == "CONDITIONING";
}

const PartKind* PartOf(const PlannedNodes& nodes, const TileChain& chain, const PlannedLink& link,
                       const std::string& consumer) {
  const NodeSpec& spec = *nodes.at(consumer).spec;
  if (!chain.prompts.contains(consumer)) return nullptr;
  for (const PartKind& kind : kPartKinds)
    if (spec.*kind.holds && spec.FindInput(link.input)->type == kind.type && nodes.catalog().Find(kind.node) != nullptr)
      return &kind;
  return nullptr;
}

}  // namespace atelier
