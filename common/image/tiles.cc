#include "common/image/tiles.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "common/base/limits.h"
#include "common/image/blur.h"
#include "common/image/composite.h"
#include "common/image/resize.h"

namespace atelier {
namespace {

constexpr int kSideMax = 16384;  // of tiles and padding; keeps all sums far inside int
constexpr int kBlurMax = 1024;

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

// One axis of a blurred rectangle: the blur of [a, b) drawn as `value` on a line of `length`, seen in [from, to). Only
// a window is computed; what lies beyond the blur's reach of [from, to) cannot touch it.
std::vector<uint8_t> BlurredSpan(const BoxKernel& kernel, int a, int b, int length, int from, int to, uint8_t value) {
  const int start = std::max(from - kernel.reach(), 0);
  const int end = std::min(to + kernel.reach(), length);
  std::vector<uint8_t> line(static_cast<size_t>(end - start), 0);
  std::fill(line.begin() + (std::clamp(a, start, end) - start), line.begin() + (std::clamp(b, start, end) - start),
            value);
  BlurLine(kernel, &line);
  return {line.begin() + (from - start), line.begin() + (to - start)};
}

// Half-open range of the non-zero entries, moved by `offset`; equal ends when there is none.
void NonZero(const std::vector<uint8_t>& line, int offset, int* a, int* b) {
  const auto is_set = [](uint8_t v) { return v != 0; };
  const auto first = std::find_if(line.begin(), line.end(), is_set);
  const auto last = std::find_if(line.rbegin(), line.rend(), is_set).base();
  *a = offset + static_cast<int>(first - line.begin());
  *b = first == line.end() ? *a : offset + static_cast<int>(last - line.begin());
}

// Blurring along x first leaves rows that are all alike inside the mark and zero outside; so a column depends only on
// its value there, and along x the largest value bounds all others.
Status FindWritten(int canvas_width, int canvas_height, int sigma, Tile* tile) {
  if (sigma == 0) {
    tile->written = Intersect(tile->mark, tile->crop);
    return OkStatus();
  }
  ASSIGN_OR_RETURN(const BoxKernel kernel, MakeBoxKernel(sigma));
  const Box& mark = tile->mark;
  const Box& crop = tile->crop;
  const auto across = BlurredSpan(kernel, mark.x1, mark.x2, canvas_width, crop.x1, crop.x2, 255);
  const auto down = BlurredSpan(kernel, mark.y1, mark.y2, canvas_height, crop.y1, crop.y2,
                                *std::max_element(across.begin(), across.end()));
  NonZero(across, crop.x1, &tile->written.x1, &tile->written.x2);
  NonZero(down, crop.y1, &tile->written.y1, &tile->written.y2);
  if (tile->written.empty()) tile->written = Box{};
  return OkStatus();
}

Status CheckCanvas(const TilePlan& plan, const ImageU8& canvas) {
  RETURN_IF_ERROR(CheckImage(canvas));
  if (canvas.width == plan.canvas_width && canvas.height == plan.canvas_height) return OkStatus();
  return InvalidArgument("canvas of ", canvas.width, "x", canvas.height, ", the tile plan is for ", plan.canvas_width,
                         "x", plan.canvas_height);
}

}  // namespace

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

StatusOr<TilePlan> MakeTilePlan(int canvas_width, int canvas_height, const TileSettings& settings) {
  RETURN_IF_ERROR(CheckImageSize(canvas_width, canvas_height, 3));
  RETURN_IF_ERROR(CheckRange("tile_width", settings.tile_width, 1, kSideMax));
  RETURN_IF_ERROR(CheckRange("tile_height", settings.tile_height, 1, kSideMax));
  RETURN_IF_ERROR(CheckRange("padding", settings.padding, 0, kSideMax));
  RETURN_IF_ERROR(CheckRange("mask_blur", settings.mask_blur, 0, kBlurMax));
  TilePlan plan;
  plan.canvas_width = canvas_width;
  plan.canvas_height = canvas_height;
  plan.settings = settings;
  const int tw = plan.settings.tile_width = RoundTo8(settings.tile_width);
  const int th = plan.settings.tile_height = RoundTo8(settings.tile_height);
  if (tw < 8 || th < 8) {
    return InvalidArgument("tiles of ", settings.tile_width, "x", settings.tile_height,
                           " round to nothing, expected at least 8 pixels a side");
  }
  const int64_t columns = (int64_t{canvas_width} + tw - 1) / tw;
  const int64_t rows = (int64_t{canvas_height} + th - 1) / th;
  if (columns * rows > limits::kTilesMax) {
    return ResourceExhausted("a canvas of ", canvas_width, "x", canvas_height, " has ", columns * rows, " tiles of ",
                             tw, "x", th, ", the limit is ", limits::kTilesMax, ", use larger tiles");
  }
  plan.columns = static_cast<int>(columns);
  plan.rows = static_cast<int>(rows);
  const int process_width = std::max(RoundTo8(tw + settings.padding), 8);
  const int process_height = std::max(RoundTo8(th + settings.padding), 8);
  for (int row = 0; row < plan.rows; ++row) {
    for (int column = 0; column < plan.columns; ++column) {
      Tile tile;
      tile.index = row * plan.columns + column;
      const int x = column * tw;
      const int y = row * th;
      tile.mark = {x, y, std::min(x + tw + 1, canvas_width), std::min(y + th + 1, canvas_height)};
      tile.crop = CropBox(tile.mark, canvas_width, canvas_height, settings.padding, settings.force_uniform,
                          process_width, process_height, &tile.process_width, &tile.process_height);
      RETURN_IF_ERROR(CheckImageSize(tile.process_width, tile.process_height, 3));
      RETURN_IF_ERROR(FindWritten(canvas_width, canvas_height, settings.mask_blur, &tile));
      plan.tiles.push_back(tile);
    }
  }
  plan.order.reserve(plan.tiles.size());
  for (int colour = 0; colour < (settings.chess ? 2 : 1); ++colour) {
    for (const Tile& tile : plan.tiles) {
      const int parity = (tile.index / plan.columns + tile.index % plan.columns) % 2;
      if (!settings.chess || parity == colour) plan.order.push_back(tile.index);
    }
  }
  return plan;
}

StatusOr<ImageU8> MakeTileMask(const TilePlan& plan, const Tile& tile) {
  const Box& mark = tile.mark;
  const Box& crop = tile.crop;
  ASSIGN_OR_RETURN(ImageU8 mask, MakeImage(crop.width(), crop.height(), 1));
  if (plan.settings.mask_blur == 0) {
    const Box white = Intersect(mark, crop);
    for (int y = white.y1; y < white.y2; ++y) {
      std::memset(mask.row(y - crop.y1) + (white.x1 - crop.x1), 255, static_cast<size_t>(white.width()));
    }
    return mask;
  }
  ASSIGN_OR_RETURN(const BoxKernel kernel, MakeBoxKernel(plan.settings.mask_blur));
  const auto across = BlurredSpan(kernel, mark.x1, mark.x2, plan.canvas_width, crop.x1, crop.x2, 255);
  // After the passes along x a column is across[x] inside the mark and 0 outside: at most 256 different columns.
  std::array<std::vector<uint8_t>, 256> columns;
  for (const uint8_t v : across) {
    if (columns[v].empty()) columns[v] = BlurredSpan(kernel, mark.y1, mark.y2, plan.canvas_height, crop.y1, crop.y2, v);
  }
  for (int y = 0; y < mask.height; ++y) {
    std::array<uint8_t, 256> value{};
    for (size_t v = 0; v < 256; ++v) value[v] = columns[v].empty() ? uint8_t{0} : columns[v][static_cast<size_t>(y)];
    uint8_t* row = mask.row(y);
    for (size_t x = 0; x < across.size(); ++x) row[x] = value[across[x]];
  }
  return mask;
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

StatusOr<TileGraph> MakeTileGraph(const TilePlan& plan) {
  // Crops of the tiles so far, entered into the cells of the tile grid that they touch; written regions lie inside
  // crops.
  const size_t count = plan.tiles.size();
  std::vector<std::vector<int>> cells(static_cast<size_t>(plan.columns) * static_cast<size_t>(plan.rows));
  std::vector<int> position(count);
  for (size_t i = 0; i < plan.order.size(); ++i) position[static_cast<size_t>(plan.order[i])] = static_cast<int>(i);
  TileGraph graph;
  graph.cut_after.resize(count);
  graph.paste_after_cut_of.resize(count);
  graph.paste_after.resize(count);
  std::vector<int> seen_by(count, -1);
  int64_t work = 0;
  for (const int index : plan.order) {
    const Tile& tile = plan.tiles[static_cast<size_t>(index)];
    const int first_column = tile.crop.x1 / plan.settings.tile_width;
    const int last_column = (tile.crop.x2 - 1) / plan.settings.tile_width;
    const int first_row = tile.crop.y1 / plan.settings.tile_height;
    const int last_row = (tile.crop.y2 - 1) / plan.settings.tile_height;
    std::vector<int> near;
    for (int row = first_row; row <= last_row; ++row) {
      for (int column = first_column; column <= last_column; ++column) {
        std::vector<int>& cell =
            cells[static_cast<size_t>(row) * static_cast<size_t>(plan.columns) + static_cast<size_t>(column)];
        work += 1 + static_cast<int64_t>(cell.size());
        for (const int other : cell) {
          if (seen_by[static_cast<size_t>(other)] == index) continue;
          seen_by[static_cast<size_t>(other)] = index;
          near.push_back(other);
        }
        cell.push_back(index);
      }
    }
    if (work > limits::kTileLinksMax) {
      return ResourceExhausted("tiles of ", plan.settings.tile_width, "x", plan.settings.tile_height, " with padding ",
                               plan.settings.padding, " overlap each other more than ", limits::kTileLinksMax,
                               " times, use larger tiles or less padding");
    }
    std::sort(near.begin(), near.end(), [&position](int a, int b) {
      return position[static_cast<size_t>(a)] < position[static_cast<size_t>(b)];
    });
    for (const int other : near) {
      const Tile& before = plan.tiles[static_cast<size_t>(other)];
      const size_t t = static_cast<size_t>(index);
      if (Meets(before.written, tile.crop)) graph.cut_after[t].push_back(other);
      if (Meets(before.crop, tile.written)) graph.paste_after_cut_of[t].push_back(other);
      if (Meets(before.written, tile.written)) graph.paste_after[t].push_back(other);
    }
  }
  return graph;
}

}  // namespace atelier
