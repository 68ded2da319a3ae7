// Tile geometry of the Ultimate SD Upscale nodes: grid, seam passes, crops, masks, order, and who must wait for whom.
// Pure. Source: spec distributed.md 3.1-3.5, 3.14-3.18; design.md section 5 ("Tiles").
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/image/image_u8.h"

namespace atelier {

enum class RedrawMode {
  kLinear,  // row by row
  kChess,   // all tiles with even row + column first
  kNone,    // no tiles, only the seam passes
};
enum class SeamFix { kNone, kBandPass, kHalfTile, kHalfTileIntersections };

/// Their names in the nodes' inputs, in the order of the enums.
inline constexpr std::array<const char*, 3> kRedrawModes = {"Linear", "Chess", "None"};
inline constexpr std::array<const char*, 4> kSeamFixes = {"None", "Band Pass", "Half Tile",
                                                          "Half Tile + Intersections"};
/// Errors: INVALID_ARGUMENT for another name. Thread: any.
StatusOr<RedrawMode> ParseRedrawMode(std::string_view name);
StatusOr<SeamFix> ParseSeamFix(std::string_view name);

struct TileSettings {
  int tile_width = 512;  // pixels
  int tile_height = 512;
  int padding = 32;           // pixels of context around a tile
  int mask_blur = 8;          // sigma of the mask's blur, pixels
  bool force_uniform = true;  // all tiles are redrawn at one size
  RedrawMode mode = RedrawMode::kLinear;
  bool round_tiles = true;  // tile sizes are first rounded to multiples of 8, half to even
  SeamFix seam_fix = SeamFix::kNone;
  int seam_width = 64;  // of the bands, pixels
  int seam_blur = 8;    // sigma; of the half tiles
  int seam_padding = 16;
  int batch = 1;  // tiles of one sampling run; the seam passes are always alone
};

/// What a mask looks like before its blur.
enum class MaskShape {
  kRectangle,     // the tile itself, white
  kBandColumn,    // black, white in the middle, black from left to right
  kBandRow,       // the same from top to bottom
  kHalfRow,       // two linear gradients from top to bottom
  kHalfColumn,    // the same from left to right
  kIntersection,  // a radial gradient, white in the middle
};

/// One redraw of a part of the canvas. All boxes are canvas pixels.
struct Tile {
  int index = 0;          // of a tile row * columns + column, whatever the order; seam passes follow
  Box mark;               // bounding box of the mask before its blur
  Box crop;               // extraction box E: what is cut, redrawn and pasted
  int process_width = 0;  // size at which the crop is redrawn; another size than the crop's: Lanczos both ways
  int process_height = 0;
  Box written;  // part of `crop` where the mask may be non-zero: all that pasting can change
  MaskShape shape = MaskShape::kRectangle;
  Box placed;     // where the mask's picture lies; it may leave the canvas
  int blur = 0;   // sigma of the mask's blur
  int phase = 0;  // 0: the redraw, then 1, 2, 3 for each kind of seam pass
};

struct TilePlan {
  int canvas_width = 0;
  int canvas_height = 0;
  TileSettings settings;  // tile sizes rounded
  int columns = 0;
  int rows = 0;
  std::vector<Tile> tiles;              // by index
  std::vector<std::vector<int>> steps;  // indices of the tiles of each sampling run, in the order one GPU draws them
};

/// The plan of a canvas. Passes whose mask is empty are left out, as nothing could change. Errors: INVALID_ARGUMENT
/// (tile size < 8 after rounding or > 16384, padding or blur negative or too large, a band of no width, a batch of
/// tiles of different sizes, canvas not an image), RESOURCE_EXHAUSTED (more than limits::kTilesMax tiles, process size
/// or canvas beyond limits::kImagePixelsMax). Thread: any.
StatusOr<TilePlan> MakeTilePlan(int canvas_width, int canvas_height, const TileSettings& settings);

/// A mark box padded, shrunk by its far pixel where the border allows, and grown to the process size's aspect (uniform)
/// or to multiples of 8. `process_width/height` are what uniform tiles are redrawn at; *width, *height get the size to
/// redraw at. Also right for seam masks, whose mark is BoundingBox(mask). REQUIRES: a canvas and mark that are not
/// empty, positive process sizes. Source: spec distributed.md 3.3 steps 2 to 6. Thread: any.
Box CropBox(const Box& mark, int canvas_width, int canvas_height, int padding, bool uniform, int process_width,
            int process_height, int* width, int* height);

/// The part of a picture of width x height, shown for a whole canvas, that lies below `crop` of that canvas: rounded
/// outwards, at least one pixel. REQUIRES: positive sizes. Source: spec distributed.md 3.6. Thread: any.
Box BoxOnPicture(const Box& crop, int64_t canvas_width, int64_t canvas_height, int64_t width, int64_t height);

/// Pixels of a canvas beside one latent, as the reference counts them for tiles' reference latents.
inline constexpr int kTileLatentUnit = 8;
/// The canvas in latents, at least one along each side. Thread: any.
inline int LatentSide(int canvas) { return canvas < kTileLatentUnit ? 1 : canvas / kTileLatentUnit; }
/// The latents that `crop` of a canvas becomes: rounded, halves to even, at least one. REQUIRES: positive sizes.
/// Source: spec distributed.md 3.6. Thread: any.
Box LatentBox(const Box& crop, int canvas_width, int canvas_height);

/// The picture of a seam mask at width x height, before its blur (L). REQUIRES: not kRectangle. Errors: Resize's.
/// Source: spec distributed.md 3.16. Thread: any.
StatusOr<ImageU8> SeamPicture(MaskShape shape, int width, int height);

/// The blurred mask of `tile` inside tile.crop (L, the crop's size): the bytes that drawing and blurring a mask of the
/// whole canvas gives there. Errors: RESOURCE_EXHAUSTED. Thread: any.
StatusOr<ImageU8> MakeTileMask(const TilePlan& plan, const Tile& tile);

/// The crop of `canvas` at the tile's process size. Errors: INVALID_ARGUMENT when the canvas has not the plan's size.
/// Thread: any, while nobody writes the canvas.
StatusOr<ImageU8> CutTile(const TilePlan& plan, const Tile& tile, const ImageU8& canvas);

/// Brings `redrawn` (any size) to the crop's size by Lanczos and blends it into `canvas` through the tile's mask.
/// Errors: INVALID_ARGUMENT when canvas or channels do not fit. Thread: one writer a canvas.
Status BlendTile(const TilePlan& plan, const Tile& tile, const ImageU8& redrawn, ImageU8* canvas);

enum class TileOrder {
  kExact,        // the canvas of the loop "cut, redraw, paste" over the steps
  kIndependent,  // every step is cut from the canvas as it was when its phase began
};

/// Who waits for whom so that any schedule gives the same canvas. Lists hold numbers of steps, sorted. In kExact order
/// they name earlier steps only.
struct TileGraph {
  std::vector<std::vector<int>> cut_after;           // [s]: pasted before s is cut: s has to see what they write
  std::vector<std::vector<int>> paste_after_cut_of;  // [s]: cut before s is pasted: they must not see what s writes
  std::vector<std::vector<int>> paste_after;         // [s]: pasted before s is pasted: both write the same pixels
};

/// The graph of a plan's steps. Errors: RESOURCE_EXHAUSTED when tiles overlap so much that there are more than
/// limits::kTileLinksMax links. Thread: any.
StatusOr<TileGraph> MakeTileGraph(const TilePlan& plan, TileOrder order);

}  // namespace atelier
