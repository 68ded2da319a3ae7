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

/// REQUIRES: at least one crop, sizes that are positive. Of several crops the first counts, as in the reference. Per
/// entry, all measured on the whole canvas:
///   option "area" ([h,w,y,x] in 8 pixels of the picture before it was enlarged, or ["percentage", shares of it...]):
///     the part of it in the crop. An entry whose area does not meet the tile is left out; if that would leave none,
///     all stay and apply everywhere, as each does in the reference.
///   tensor "mask" [B,H,W], of the whole canvas, or with the option "mask_part" of the tile's crop: cut, brought to the
///     process size. Tensors "reference_latents.0", ... ([B,C,h,w] or
///     [B,C,1,h,w]): resized to the canvas in 8 pixels, cut (or cut
///     already, "reference_latent_part.N"), resized to the process size in 8 pixels, bilinear.
///   control nets: their pictures cut and resized; boxes bound to prompts (GLIGEN): the part of each in the crop, as of
///     areas, those that do not meet it left out (tile_control.h).
/// Errors: INVALID_ARGUMENT for malformed options. Thread: any.
StatusOr<Conditioning> CropConditioning(const Conditioning& conditioning, const TileGeometry& tile);

}  // namespace atelier::nodes
