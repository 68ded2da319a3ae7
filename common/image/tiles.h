// Tile geometry of UltimateSDUpscaleDistributed: grid, crops, masks, order, and who must wait for whom. Pure.
// Source: spec distributed.md 3.1-3.5; design.md section 5 ("Tiles").
#pragma once

#include <vector>

#include "common/base/status.h"
#include "common/image/image_u8.h"

namespace atelier {

struct TileSettings {
  int tile_width = 512;  // pixels; rounded to a multiple of 8, half to even
  int tile_height = 512;
  int padding = 32;           // pixels of context around a tile
  int mask_blur = 8;          // sigma of the mask's blur, pixels
  bool force_uniform = true;  // all tiles are redrawn at one size
  bool chess = false;         // order: all tiles with even row + column first; else row by row
};

/// One redraw of a part of the canvas. All boxes are canvas pixels.
struct Tile {
  int index = 0;          // row * columns + column, whatever the order
  Box mark;               // white part of the mask before its blur
  Box crop;               // extraction box E: what is cut, redrawn and pasted
  int process_width = 0;  // size at which the crop is redrawn; another size than the crop's: Lanczos both ways
  int process_height = 0;
  Box written;  // part of `crop` where the mask may be non-zero: all that pasting can change
};

struct TilePlan {
  int canvas_width = 0;
  int canvas_height = 0;
  TileSettings settings;  // tile sizes rounded
  int columns = 0;
  int rows = 0;
  std::vector<Tile> tiles;  // by index
  std::vector<int> order;   // indices of tiles in the order one GPU draws them
};

/// The plan of a canvas. Errors: INVALID_ARGUMENT (tile size < 8 after rounding or > 16384, padding or blur negative or
/// too large, canvas not an image), RESOURCE_EXHAUSTED (more than limits::kTilesMax tiles, process size or canvas
/// beyond limits::kImagePixelsMax). Thread: any.
StatusOr<TilePlan> MakeTilePlan(int canvas_width, int canvas_height, const TileSettings& settings);

/// A mark box padded, shrunk by its far pixel where the border allows, and grown to the process size's aspect (uniform)
/// or to multiples of 8. `process_width/height` are what uniform tiles are redrawn at; *width, *height get the size to
/// redraw at. Also right for seam masks, whose mark is BoundingBox(mask). REQUIRES: a canvas and mark that are not
/// empty, positive process sizes. Source: spec distributed.md 3.3 steps 2 to 6. Thread: any.
Box CropBox(const Box& mark, int canvas_width, int canvas_height, int padding, bool uniform, int process_width,
            int process_height, int* width, int* height);

/// The blurred mask of `tile` inside tile.crop (L, the crop's size): the bytes that drawing and blurring a mask of the
/// whole canvas gives there. Errors: RESOURCE_EXHAUSTED. Thread: any.
StatusOr<ImageU8> MakeTileMask(const TilePlan& plan, const Tile& tile);

/// The crop of `canvas` at the tile's process size. Errors: INVALID_ARGUMENT when the canvas has not the plan's size.
/// Thread: any, while nobody writes the canvas.
StatusOr<ImageU8> CutTile(const TilePlan& plan, const Tile& tile, const ImageU8& canvas);

/// Brings `redrawn` (any size) to the crop's size by Lanczos and blends it into `canvas` through the tile's mask.
/// Errors: INVALID_ARGUMENT when canvas or channels do not fit. Thread: one writer a canvas.
Status BlendTile(const TilePlan& plan, const Tile& tile, const ImageU8& redrawn, ImageU8* canvas);

/// Who waits for whom so that any schedule gives the canvas of the loop "cut, redraw, paste" in plan.order. Lists hold
/// tile indices, are sorted by order, and name only tiles earlier in the order.
struct TileGraph {
  std::vector<std::vector<int>> cut_after;           // [t]: pasted before t is cut: what they write meets t's crop
  std::vector<std::vector<int>> paste_after_cut_of;  // [t]: cut before t is pasted: t writes into their crop
  std::vector<std::vector<int>> paste_after;         // [t]: pasted before t is pasted: both write the same pixels
};

/// The graph of a plan. *exact* order obeys all three lists; *independent* order (all tiles read the untouched canvas)
/// cuts every tile first and then obeys paste_after. Errors: RESOURCE_EXHAUSTED when tiles overlap so much that there
/// are more than limits::kTileLinksMax links. Thread: any.
StatusOr<TileGraph> MakeTileGraph(const TilePlan& plan);

}  // namespace atelier
