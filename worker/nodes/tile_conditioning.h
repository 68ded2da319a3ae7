// Conditioning of a whole canvas, cut to one tile. Source: spec distributed.md 3.6.
#pragma once

#include "common/image/image_u8.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {

/// Where the tiles of one batch lie: `crops` in pixels of a canvas of canvas_width x canvas_height, redrawn at
/// process_width x process_height. init_width x init_height: the picture before it was enlarged to the canvas.
struct TileGeometry {
  std::vector<Box> crops;
  int64_t canvas_width = 0, canvas_height = 0, process_width = 0, process_height = 0, init_width = 0, init_height = 0;
};

/// REQUIRES: at least one crop, sizes that are positive. Of several crops the first counts, as in the reference. Areas,
/// measured in the picture before it was enlarged, become those of the crop (one that does not meet it is dropped, so
/// the prompt applies everywhere), masks are cut and brought to the process size. Errors: INVALID_ARGUMENT for
/// malformed options. Thread: any.
StatusOr<Conditioning> CropConditioning(const Conditioning& conditioning, const TileGeometry& tile);

}  // namespace atelier::nodes
