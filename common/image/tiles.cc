#include "common/image/tiles.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/base/limits.h"
#include "common/image/composite.h"
#include "common/image/resize.h"
#include "common/image/tile_mask.h"

namespace atelier {
namespace {

constexpr int kTileSideMax = 16384;  // of tiles and padding; keeps all sums far inside int
constexpr int kBlurMax = 1024;
constexpr int kBatchMax = 4096;

int RoundTo8(int v) {
  const int eighths = v / 8;
  const int rest = v % 8;
  return 8 * (rest > 4 || (rest == 4 && eighths % 2 == 1) ? eighths + 1 : eighths);
}

int RoundHalfEven(double v) { return static_cast<int>(std::nearbyint(v)); }

void Grow(int* a, int* b, int length, int target) {
  *b = std::min(*b + (target - (*b - *a)) / 2, length);
  *a = std::max(*a - (target - (*b - *a)), 0);
  *b = std::min(*b + (target - (*b - *a)), length);
}

Status CheckRange(const char* name, int value, int low, int high) {
  if (value >= low && value <= high) return OkStatus();
  return InvalidArgument(name, " is ", value, ", expected ", low, " to ", high);
}

Status CheckCanvas(const TilePlan& plan, const ImageU8& canvas) {
  RETURN_IF_ERROR(CheckImage(canvas));
  if (canvas.width == plan.canvas_width && canvas.height == plan.canvas_height) return OkStatus();
  return InvalidArgument("canvas of ", canvas.width, "x", canvas.height, ", the tile plan is for ", plan.canvas_width,
                         "x", plan.canvas_height);
}

template <typename Enum, size_t kCount>
StatusOr<Enum> ParseName(const std::array<const char*, kCount>& names, const char* what, std::string_view name) {
  for (size_t i = 0; i < kCount; ++i)
    if (name == names[i]) return static_cast<Enum>(i);
  return InvalidArgument(what, " is \"", name, "\", expected ", names[0], " or another of its choices");
}

}  // namespace

StatusOr<RedrawMode> ParseRedrawMode(std::string_view name) {
  return ParseName<RedrawMode>(kRedrawModes, "mode_type", name);
}
StatusOr<SeamFix> ParseSeamFix(std::string_view name) { return ParseName<SeamFix>(kSeamFixes, "seam_fix_mode", name); }

Box BoxOnPicture(const Box& crop, int64_t canvas_width, int64_t canvas_height, int64_t width, int64_t height) {
  const auto range = [](int64_t from, int64_t to, int64_t canvas, int64_t size) {
    const int64_t first = std::clamp<int64_t>(from * size / canvas, 0, size - 1);
    const int64_t last = std::clamp<int64_t>((to * size + canvas - 1) / canvas, first + 1, size);
    return std::pair(static_cast<int>(first), static_cast<int>(last));
  };
  const auto [x1, x2] = range(crop.x1, crop.x2, canvas_width, width);
  const auto [y1, y2] = range(crop.y1, crop.y2, canvas_height, height);
  return {x1, y1, x2, y2};
}

Box LatentBox(const Box& crop, int canvas_width, int canvas_height) {
  const auto round = [](int pixels) {
    const int whole = pixels / kTileLatentUnit, rest = 2 * (pixels % kTileLatentUnit);
    return whole + (rest > kTileLatentUnit || (rest == kTileLatentUnit && whole % 2 != 0) ? 1 : 0);
  };
  const auto range = [&round](int from, int to, int size) {
    const int first = std::min(round(from), size - 1);
    return std::pair(first, std::clamp(round(to), first + 1, size));
  };
  const auto [x1, x2] = range(crop.x1, crop.x2, LatentSide(canvas_width));
  const auto [y1, y2] = range(crop.y1, crop.y2, LatentSide(canvas_height));
  return {x1, y1, x2, y2};
}

Box CropBox(const Box& mark, int canvas_width, int canvas_height, int padding, bool uniform, int process_width,
            int process_height, int* width, int* height) {
  Box e{std::max(mark.x1 - padding, 0), std::max(mark.y1 - padding, 0), std::min(mark.x2 + padding, canvas_width),
        std::min(mark.y2 + padding, canvas_height)};
  if (e.x2 < canvas_width) --e.x2;
  if (e.y2 < canvas_height) --e.y2;
  const int cw = e.width();
  const int ch = e.height();
  int target_width;
  int target_height;
  if (uniform) {
    const double process_ratio = static_cast<double>(process_width) / process_height;
    const double crop_ratio = static_cast<double>(cw) / ch;
    const bool wide = crop_ratio > process_ratio;
    target_width = wide ? cw : RoundHalfEven(ch * process_ratio);
    target_height = wide ? RoundHalfEven(cw / process_ratio) : ch;
    *width = process_width;
    *height = process_height;
  } else {
    target_width = *width = std::max((cw + 7) / 8 * 8, 8);
    target_height = *height = std::max((ch + 7) / 8 * 8, 8);
  }
  Grow(&e.x1, &e.x2, canvas_width, target_width);
  Grow(&e.y1, &e.y2, canvas_height, target_height);
  return e;
}

namespace {

// Gives a tile its crop, process size and reach. REQUIRES: shape, placed, mark, blur and phase are set.
Status Lay(const TilePlan& plan, int padding, int process_width, int process_height, Tile* tile) {
  if (process_width < 8 || process_height < 8) {
    return InvalidArgument("a seam pass would be redrawn at ", process_width, "x", process_height,
                           ", expected at least 8x8, use a larger seam_fix_width or seam_fix_padding");
  }
  tile->index = 0;
  tile->crop = CropBox(tile->mark, plan.canvas_width, plan.canvas_height, padding, plan.settings.force_uniform,
                       process_width, process_height, &tile->process_width, &tile->process_height);
  RETURN_IF_ERROR(CheckImageSize(tile->process_width, tile->process_height, 3));
  ASSIGN_OR_RETURN(tile->written, WrittenBox(plan, *tile));
  return OkStatus();
}

Status AddRedraw(TilePlan* plan) {
  const TileSettings& settings = plan->settings;
  const int tw = settings.tile_width;
  const int th = settings.tile_height;
  for (int row = 0; row < plan->rows; ++row) {
    for (int column = 0; column < plan->columns; ++column) {
      Tile tile;
      const int x = column * tw;
      const int y = row * th;
      tile.mark = {x, y, std::min(x + tw + 1, plan->canvas_width), std::min(y + th + 1, plan->canvas_height)};
      tile.placed = tile.mark;
      tile.blur = settings.mask_blur;
      RETURN_IF_ERROR(Lay(*plan, settings.padding, std::max(RoundTo8(tw + settings.padding), 8),
                          std::max(RoundTo8(th + settings.padding), 8), &tile));
      tile.index = static_cast<int>(plan->tiles.size());
      plan->tiles.push_back(tile);
    }
  }
  const bool chess = settings.mode == RedrawMode::kChess;
  for (int colour = 0; colour < (chess ? 2 : 1); ++colour) {
    bool full = true;  // the first tile of a colour begins a batch
    for (const Tile& tile : plan->tiles) {
      const int parity = (tile.index / plan->columns + tile.index % plan->columns) % 2;
      if (chess && parity != colour) continue;
      if (full) plan->steps.emplace_back();
      plan->steps.back().push_back(tile.index);
      full = static_cast<int>(plan->steps.back().size()) >= settings.batch;
    }
  }
  return OkStatus();
}

/// Seam passes of one kind: the same picture at several places.
struct SeamKind {
  MaskShape shape;
  int width, height;  // of the picture
  int padding;
  int process_width, process_height;
  int blur;
  std::vector<std::pair<int, int>> places;  // left, top
};

// Source: spec distributed.md 3.16.
std::vector<SeamKind> SeamKinds(const TilePlan& plan) {
  const TileSettings& s = plan.settings;
  const int tw = s.tile_width;
  const int th = s.tile_height;
  const int w = plan.canvas_width;
  const int h = plan.canvas_height;
  std::vector<SeamKind> kinds;
  if (s.seam_fix == SeamFix::kBandPass) {
    const int thick = s.seam_width + 2 * s.seam_padding;
    SeamKind columns{MaskShape::kBandColumn, s.seam_width, h, s.seam_padding, thick, h, 0, {}};
    SeamKind rows{MaskShape::kBandRow, w, s.seam_width, s.seam_padding, w, thick, 0, {}};
    for (int i = 1; i < plan.columns; ++i) columns.places.emplace_back(i * tw - s.seam_width / 2, 0);
    for (int j = 1; j < plan.rows; ++j) rows.places.emplace_back(0, j * th - s.seam_width / 2);
    kinds = {std::move(columns), std::move(rows)};
  } else if (s.seam_fix != SeamFix::kNone) {
    SeamKind rows{MaskShape::kHalfRow, tw, th, s.seam_padding, tw, th, s.seam_blur, {}};
    SeamKind columns{MaskShape::kHalfColumn, tw, th, s.seam_padding, tw, th, s.seam_blur, {}};
    SeamKind crosses{MaskShape::kIntersection, tw, th, 0, tw, th, s.seam_blur, {}};
    for (int j = 0; j < plan.rows; ++j) {
      for (int i = 0; i < plan.columns; ++i) {
        const bool last_row = j + 1 == plan.rows;
        const bool last_column = i + 1 == plan.columns;
        if (!last_row) rows.places.emplace_back(i * tw, j * th + th / 2);
        if (!last_column) columns.places.emplace_back(i * tw + tw / 2, j * th);
        if (!last_row && !last_column) crosses.places.emplace_back(i * tw + tw / 2, j * th + th / 2);
      }
    }
    kinds = {std::move(rows), std::move(columns)};
    if (s.seam_fix == SeamFix::kHalfTileIntersections) kinds.push_back(std::move(crosses));
  }
  return kinds;
}

Status AddSeams(TilePlan* plan) {
  int phase = 0;
  for (const SeamKind& kind : SeamKinds(*plan)) {
    ++phase;
    if (kind.places.empty()) continue;
    ASSIGN_OR_RETURN(const ImageU8 picture, SeamPicture(kind.shape, kind.width, kind.height));
    for (const auto& [x, y] : kind.places) {
      Tile tile;
      tile.shape = kind.shape;
      tile.placed = {x, y, x + kind.width, y + kind.height};
      tile.blur = kind.blur;
      tile.phase = phase;
      const Box seen = Intersect(tile.placed, {0, 0, plan->canvas_width, plan->canvas_height});
      if (seen.empty()) continue;
      ASSIGN_OR_RETURN(const ImageU8 part, Crop(picture, {seen.x1 - x, seen.y1 - y, seen.x2 - x, seen.y2 - y}));
      const Box box = BoundingBox(part);
      if (box.empty()) continue;
      tile.mark = {seen.x1 + box.x1, seen.y1 + box.y1, seen.x1 + box.x2, seen.y1 + box.y2};
      RETURN_IF_ERROR(Lay(*plan, kind.padding, kind.process_width, kind.process_height, &tile));
      tile.index = static_cast<int>(plan->tiles.size());
      plan->steps.push_back({tile.index});
      plan->tiles.push_back(tile);
    }
  }
  return OkStatus();
}

}  // namespace

StatusOr<TilePlan> MakeTilePlan(int canvas_width, int canvas_height, const TileSettings& settings) {
  RETURN_IF_ERROR(CheckImageSize(canvas_width, canvas_height, 3));
  RETURN_IF_ERROR(CheckRange("tile_width", settings.tile_width, 1, kTileSideMax));
  RETURN_IF_ERROR(CheckRange("tile_height", settings.tile_height, 1, kTileSideMax));
  RETURN_IF_ERROR(CheckRange("padding", settings.padding, 0, kTileSideMax));
  RETURN_IF_ERROR(CheckRange("mask_blur", settings.mask_blur, 0, kBlurMax));
  RETURN_IF_ERROR(
      CheckRange("seam_fix_width", settings.seam_width, settings.seam_fix == SeamFix::kBandPass ? 1 : 0, kTileSideMax));
  RETURN_IF_ERROR(CheckRange("seam_fix_mask_blur", settings.seam_blur, 0, kBlurMax));
  RETURN_IF_ERROR(CheckRange("seam_fix_padding", settings.seam_padding, 0, kTileSideMax));
  RETURN_IF_ERROR(CheckRange("batch_size", settings.batch, 1, kBatchMax));
  if (settings.batch > 1 && !settings.force_uniform) {
    return InvalidArgument("batch_size is ", settings.batch,
                           ", but tiles of different sizes share no batch, turn "
                           "force_uniform_tiles on or set batch_size to 1");
  }
  TilePlan plan;
  plan.canvas_width = canvas_width;
  plan.canvas_height = canvas_height;
  plan.settings = settings;
  if (settings.round_tiles) {
    plan.settings.tile_width = RoundTo8(settings.tile_width);
    plan.settings.tile_height = RoundTo8(settings.tile_height);
  }
  const int tw = plan.settings.tile_width;
  const int th = plan.settings.tile_height;
  if (tw < 8 || th < 8) {
    return InvalidArgument("tiles of ", settings.tile_width, "x", settings.tile_height,
                           " round to nothing, expected at least 8 pixels a side");
  }
  const int64_t columns = (int64_t{canvas_width} + tw - 1) / tw;
  const int64_t rows = (int64_t{canvas_height} + th - 1) / th;
  // Redraw, half tiles along both axes and intersections are at most four times the grid.
  if (columns * rows > limits::kTilesMax / (settings.seam_fix == SeamFix::kNone ? 1 : 4)) {
    return ResourceExhausted("a canvas of ", canvas_width, "x", canvas_height, " has ", columns * rows, " tiles of ",
                             tw, "x", th, settings.seam_fix == SeamFix::kNone ? "" : " and their seams",
                             ", the limit is ", limits::kTilesMax, ", use larger tiles");
  }
  plan.columns = static_cast<int>(columns);
  plan.rows = static_cast<int>(rows);
  if (settings.mode != RedrawMode::kNone) RETURN_IF_ERROR(AddRedraw(&plan));
  RETURN_IF_ERROR(AddSeams(&plan));
  return plan;
}

StatusOr<ImageU8> CutTile(const TilePlan& plan, const Tile& tile, const ImageU8& canvas) {
  RETURN_IF_ERROR(CheckCanvas(plan, canvas));
  ASSIGN_OR_RETURN(const ImageU8 crop, Crop(canvas, tile.crop));
  return Resize(crop, tile.process_width, tile.process_height, ResizeFilter::kLanczos);
}

Status BlendTile(const TilePlan& plan, const Tile& tile, const ImageU8& redrawn, ImageU8* canvas) {
  RETURN_IF_ERROR(CheckCanvas(plan, *canvas));
  ASSIGN_OR_RETURN(const ImageU8 fitted,
                   Resize(redrawn, tile.crop.width(), tile.crop.height(), ResizeFilter::kLanczos));
  ASSIGN_OR_RETURN(const ImageU8 mask, MakeTileMask(plan, tile));
  return PasteTile(fitted, mask, tile.crop, canvas);
}

namespace {

/// Two steps whose tiles touch.
struct Touch {
  bool cut_after = false;           // the earlier one writes into the later one's crops
  bool paste_after_cut_of = false;  // the later one writes into the earlier one's crops
  bool paste_after = false;         // both write the same pixels
};

Touch FindTouch(const TilePlan& plan, const std::vector<int>& earlier, const std::vector<int>& later) {
  Touch touch;
  for (const int e : earlier) {
    const Tile& a = plan.tiles[static_cast<size_t>(e)];
    for (const int l : later) {
      const Tile& b = plan.tiles[static_cast<size_t>(l)];
      touch.cut_after |= Meets(a.written, b.crop);
      touch.paste_after_cut_of |= Meets(a.crop, b.written);
      touch.paste_after |= Meets(a.written, b.written);
    }
  }
  return touch;
}

}  // namespace

StatusOr<TileGraph> MakeTileGraph(const TilePlan& plan, TileOrder order) {
  // Crops of the steps so far, entered into the cells of the tile grid that they touch; written regions lie inside
  // crops.
  const size_t count = plan.steps.size();
  std::vector<std::vector<size_t>> cells(static_cast<size_t>(plan.columns) * static_cast<size_t>(plan.rows));
  TileGraph graph;
  graph.cut_after.resize(count);
  graph.paste_after_cut_of.resize(count);
  graph.paste_after.resize(count);
  std::vector<size_t> seen_by(count, count);
  int64_t work = 0;
  for (size_t step = 0; step < count; ++step) {
    std::vector<size_t> near;
    for (const int index : plan.steps[step]) {
      const Tile& tile = plan.tiles[static_cast<size_t>(index)];
      const int last_column = (tile.crop.x2 - 1) / plan.settings.tile_width;
      const int last_row = (tile.crop.y2 - 1) / plan.settings.tile_height;
      for (int row = tile.crop.y1 / plan.settings.tile_height; row <= last_row; ++row) {
        for (int column = tile.crop.x1 / plan.settings.tile_width; column <= last_column; ++column) {
          std::vector<size_t>& cell =
              cells[static_cast<size_t>(row) * static_cast<size_t>(plan.columns) + static_cast<size_t>(column)];
          work += 1 + static_cast<int64_t>(cell.size());
          for (const size_t other : cell) {
            if (other == step || seen_by[other] == step) continue;
            seen_by[other] = step;
            near.push_back(other);
            work += static_cast<int64_t>(plan.steps[other].size() * plan.steps[step].size());
          }
          if (cell.empty() || cell.back() != step) cell.push_back(step);
        }
      }
      if (work > limits::kTileLinksMax) {
        return ResourceExhausted("tiles of ", plan.settings.tile_width, "x", plan.settings.tile_height,
                                 " with padding ", plan.settings.padding, " overlap each other more than ",
                                 limits::kTileLinksMax, " times, use larger tiles or less padding");
      }
    }
    std::sort(near.begin(), near.end());
    const auto phase = [&plan](size_t s) { return plan.tiles[static_cast<size_t>(plan.steps[s].front())].phase; };
    for (const size_t before : near) {
      const Touch touch = FindTouch(plan, plan.steps[before], plan.steps[step]);
      const bool blind = order == TileOrder::kIndependent && phase(before) == phase(step);
      const int earlier = static_cast<int>(before);
      if (touch.cut_after && !blind) graph.cut_after[step].push_back(earlier);
      if (touch.cut_after && blind) graph.paste_after_cut_of[before].push_back(static_cast<int>(step));
      if (touch.paste_after_cut_of) graph.paste_after_cut_of[step].push_back(earlier);
      if (touch.paste_after) graph.paste_after[step].push_back(earlier);
    }
  }
  return graph;
}

}  // namespace atelier
