// How far a tile's mask reaches; for tiles.cc.
#pragma once

#include "common/base/status.h"
#include "common/image/tiles.h"

namespace atelier {

/// The part of tile.crop in which the blurred mask may be non-zero: of a rectangle exactly that, of a seam mask what a
/// white rectangle in its place would reach. Errors: MakeBoxKernel's. Thread: any.
StatusOr<Box> WrittenBox(const TilePlan& plan, const Tile& tile);

}  // namespace atelier
