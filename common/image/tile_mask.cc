#include "common/image/tile_mask.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "common/image/blur.h"
#include "common/image/composite.h"
#include "common/image/resize.h"

namespace atelier {
namespace {

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

}  // namespace

// Blurring along x first leaves rows that are all alike inside the mark and zero outside; so a column depends only on
// its value there, and along x the largest value bounds all others.
StatusOr<Box> WrittenBox(const TilePlan& plan, const Tile& tile) {
  if (tile.blur == 0) return Intersect(tile.mark, tile.crop);
  ASSIGN_OR_RETURN(const BoxKernel kernel, MakeBoxKernel(tile.blur));
  const Box& mark = tile.mark;
  const Box& crop = tile.crop;
  const auto across = BlurredSpan(kernel, mark.x1, mark.x2, plan.canvas_width, crop.x1, crop.x2, 255);
  const auto down = BlurredSpan(kernel, mark.y1, mark.y2, plan.canvas_height, crop.y1, crop.y2,
                                *std::max_element(across.begin(), across.end()));
  Box written;
  NonZero(across, crop.x1, &written.x1, &written.x2);
  NonZero(down, crop.y1, &written.y1, &written.y2);
  return written.empty() ? Box{} : written;
}

namespace {

StatusOr<ImageU8> RectangleMask(const TilePlan& plan, const Tile& tile) {
  const Box& mark = tile.mark;
  const Box& crop = tile.crop;
  ASSIGN_OR_RETURN(ImageU8 mask, MakeImage(crop.width(), crop.height(), 1));
  if (tile.blur == 0) {
    const Box white = Intersect(mark, crop);
    for (int y = white.y1; y < white.y2; ++y) {
      std::memset(mask.row(y - crop.y1) + (white.x1 - crop.x1), 255, static_cast<size_t>(white.width()));
    }
    return mask;
  }
  ASSIGN_OR_RETURN(const BoxKernel kernel, MakeBoxKernel(tile.blur));
  const auto across = BlurredSpan(kernel, mark.x1, mark.x2, plan.canvas_width, crop.x1, crop.x2, 255);
  // After the passes along x a column is across[x] inside the mark and 0 outside: at most 256 different columns.
  std::array<std::vector<uint8_t>, 256> columns;
  for (const uint8_t v : across) {
    if (columns[v].empty()) columns[v] = BlurredSpan(kernel, mark.y1, mark.y2, plan.canvas_height, crop.y1, crop.y2, v);
  }
  std::vector<size_t> used;
  for (size_t v = 0; v < 256; ++v)
    if (!columns[v].empty()) used.push_back(v);
  std::array<uint8_t, 256> value{}, above{};
  for (int y = 0; y < mask.height; ++y) {
    for (const size_t v : used) value[v] = columns[v][static_cast<size_t>(y)];
    uint8_t* row = mask.row(y);
    if (y > 0 && value == above)  // most rows are like the one above
      std::memcpy(row, mask.row(y - 1), mask.stride());
    else
      for (size_t x = 0; x < across.size(); ++x) row[x] = value[across[x]];
    above = value;
  }
  return mask;
}

// The picture is drawn into the crop and as much around it as the blur can carry.
StatusOr<ImageU8> SeamMask(const TilePlan& plan, const Tile& tile) {
  ASSIGN_OR_RETURN(const ImageU8 picture, SeamPicture(tile.shape, tile.placed.width(), tile.placed.height()));
  int reach = 0;
  if (tile.blur > 0) {
    ASSIGN_OR_RETURN(const BoxKernel kernel, MakeBoxKernel(tile.blur));
    reach = kernel.reach();
  }
  const Box& crop = tile.crop;
  const Box window{std::max(crop.x1 - reach, 0), std::max(crop.y1 - reach, 0),
                   std::min(crop.x2 + reach, plan.canvas_width), std::min(crop.y2 + reach, plan.canvas_height)};
  ASSIGN_OR_RETURN(ImageU8 mask, MakeImage(window.width(), window.height(), 1));
  RETURN_IF_ERROR(Paste(picture, tile.placed.x1 - window.x1, tile.placed.y1 - window.y1, &mask));
  ASSIGN_OR_RETURN(mask, GaussianBlur(mask, tile.blur));
  return Crop(mask, {crop.x1 - window.x1, crop.y1 - window.y1, crop.x2 - window.x1, crop.y2 - window.y1});
}

// `near` at the left or top and its other turn at the right or bottom of a black picture.
StatusOr<ImageU8> Mirrored(int width, int height, int quarters, int part_width, int part_height) {
  ASSIGN_OR_RETURN(ImageU8 mask, MakeImage(width, height, 1));
  ASSIGN_OR_RETURN(const ImageU8 gradient, LinearGradient());
  for (const int turn : {0, 2}) {
    ASSIGN_OR_RETURN(const ImageU8 turned, RotateQuarters(gradient, quarters + turn));
    ASSIGN_OR_RETURN(const ImageU8 part, Resize(turned, part_width, part_height, ResizeFilter::kBicubic));
    const bool sideways = quarters % 2 != 0;
    RETURN_IF_ERROR(
        Paste(part, turn != 0 && sideways ? part_width : 0, turn != 0 && !sideways ? part_height : 0, &mask));
  }
  return mask;
}

}  // namespace

StatusOr<ImageU8> SeamPicture(MaskShape shape, int width, int height) {
  switch (shape) {
    case MaskShape::kRectangle:
      break;
    case MaskShape::kBandColumn:
    case MaskShape::kBandRow: {
      ASSIGN_OR_RETURN(ImageU8 profile, Mirrored(256, 256, 0, 256, 128));
      if (shape == MaskShape::kBandColumn) {
        ASSIGN_OR_RETURN(profile, RotateQuarters(profile, 1));
      }
      return Resize(profile, width, height, ResizeFilter::kBicubic);
    }
    case MaskShape::kHalfRow:
      return Mirrored(width, height, 0, width, height / 2);
    case MaskShape::kHalfColumn:
      return Mirrored(width, height, 1, width / 2, height);
    case MaskShape::kIntersection: {
      ASSIGN_OR_RETURN(const ImageU8 radial, RadialGradient());
      ASSIGN_OR_RETURN(ImageU8 mask, Resize(radial, width, height, ResizeFilter::kBicubic));
      for (uint8_t& v : mask.data) v = static_cast<uint8_t>(255 - v);
      return mask;
    }
  }
  return MakeImage(width, height, 1, 255);
}

StatusOr<ImageU8> MakeTileMask(const TilePlan& plan, const Tile& tile) {
  return tile.shape == MaskShape::kRectangle ? RectangleMask(plan, tile) : SeamMask(plan, tile);
}

}  // namespace atelier
