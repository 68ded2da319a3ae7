// What runs in each task of a tiled stage before the tile: the nodes whose results cannot cross to another task, and
// those that hold what a tile gets its part of. docs/tiles.md "What is sent".
#pragma once

#include <set>
#include <string>

#include "master/planner/planned_nodes.h"

namespace atelier {

struct TileChain {
  std::set<std::string> prompts;    // those that the tile sees as prompts and in no other way
  std::set<std::string> for_parts;  // those that run there as they hold what is cut to the tile
};

/// What a tile gets its part of: inputs of `type` of nodes that say `holds`; `node` hands the part on from `input`.
struct PartKind {
  bool NodeSpec::*holds;
  const char* type;
  const char* node;
  const char* input;
};

/// The chain of a tiled node. A node that the tile sees as a prompt and in no other way gets its part of a picture
/// (keeps_handles), mask or latent (cut_for_tiles); what a guider holds is not cut. Thread: any.
TileChain ChainOf(const PlannedNodes& nodes, const PlannedNode& tiled);

/// Whether the link brings a prompt that is made in the tile's task for the parts that it holds. Thread: any.
bool InChain(const TileChain& chain, const PlannedLink& link, const PlannedNode& consumer);

/// How the tile's part of what the link brings is handed on, or null when all of it comes. Thread: any.
const PartKind* PartOf(const PlannedNodes& nodes, const TileChain& chain, const PlannedLink& link,
                       const std::string& consumer);

}  // namespace atelier
