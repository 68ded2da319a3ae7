// Runs a function over overlapping tiles of an image or a video and blends the results. Source: spec engine.md 6.3.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "common/base/status.h"

namespace atelier::engine {

/// How one dimension is cut into tiles.
struct TileAxis {
  int64_t tile = 512;   // in input units
  int64_t overlap = 0;  // in input units, below `tile`
  /// Where a tile that begins at an input position begins in the output.
  double scale = 1.0;
  /// Output units of so many input units; empty: round(size * scale).
  std::function<int64_t(int64_t)> size_out;
};

/// Number of tiles of one item of these sizes, one for each axis.
int64_t TileCount(at::IntArrayRef sizes, const std::vector<TileAxis>& axes);

/// input: f32 [B,C,...] with one dimension for each of `axes` behind the channels. `run` maps a tile [1,C,...] to
/// [1,out_channels,...] of the axes' output sizes on any device; `tick` is called after each tile and may stop the run.
/// Edges of tiles are feathered over the overlap, also at the border, and the sum is divided by the weights. An item
/// that fits into one tile is one call without feathering. Returns f32 [B,out_channels,...] on the CPU. Errors:
/// INVALID_ARGUMENT for an overlap that is not below the tile; those of `tick`. What `run` throws passes through.
/// Thread: one at a time.
StatusOr<at::Tensor> RunTiled(const at::Tensor& input, const std::vector<TileAxis>& axes, int64_t out_channels,
                              const std::function<at::Tensor(const at::Tensor&)>& run,
                              const std::function<Status()>& tick = nullptr);

/// Tiles of pictures.
struct Tiling {
  int64_t tile_x = 512, tile_y = 512;  // in input pixels
  int64_t overlap = 32;                // in input pixels, below the tile's size
  double scale = 1.0;                  // output pixels per input pixel
};

/// Number of tiles of one item of h x w pixels.
int64_t TileCount(int64_t h, int64_t w, const Tiling& tiling);

/// The same for input f32 [B,C,h,w]; the output's sides are round(side * scale).
StatusOr<at::Tensor> RunTiled(const at::Tensor& input, const Tiling& tiling, int64_t out_channels,
                              const std::function<at::Tensor(const at::Tensor&)>& run,
                              const std::function<Status()>& tick = nullptr);

}  // namespace atelier::engine
