// From a tiled node's settings and the size of its canvas to the steps that the reducer runs. Pure.
#pragma once

#include <string>
#include <string_view>

#include "common/base/status.h"
#include "common/graph/schema.h"
#include "common/image/tiles.h"
#include "master/control/control.h"

namespace atelier {

/// A plan and the same as the reducer needs it: graph.tiles[i] is plan.steps[i].
struct TileStage {
  TilePlan plan;
  StageGraph graph;
};

/// Whether the geometry depends on this input, so that a linked value has to be read before the canvas is cut.
/// Thread: any.
bool IsTileSetting(std::string_view input, const TileSplit& split);

/// `settings`: literal inputs of the tiled node by name, with "init_width" and "init_height" where a base made the
/// canvas. `order`: "exact" or "independent", unless the node's own "order" is one of these. `documented`: the seam
/// passes are redrawn with "seam_fix_denoise", which the reference ignores. Errors: INVALID_ARGUMENT
/// naming the setting; those of MakeTilePlan and MakeTileGraph. Source: spec distributed.md 1.8, 3.14. Thread: any.
StatusOr<TileStage> PlanTileStage(const Json& settings, const TileSplit& split, const std::string& order,
                                  bool documented, int width, int height);

}  // namespace atelier
