// Runs a function over overlapping tiles of an image and blends the results. Source: spec engine.md 6.3.
#pragma once

#include <ATen/ATen.h>

#include <functional>

#include "common/base/status.h"

namespace atelier::engine {

struct Tiling {
  int64_t tile_x = 512, tile_y = 512;  // in input pixels
  int64_t overlap = 32;                // in input pixels, below the tile's size
  double scale = 1.0;                  // output pixels per input pixel
};

/// Number of tiles of one item of h x w pixels.
int64_t TileCount(int64_t h, int64_t w, const Tiling& tiling);

/// input: f32 [B,C,h,w]. `run` maps a tile [1,C,th,tw] to [1,out_channels,th*scale,tw*scale] on any device; `tick` is
/// called after each tile and may stop the run. Edges of tiles are feathered over the overlap, also at the border, and
/// the sum is divided by the weights. An item that fits into one tile is one call without feathering. Returns f32
/// [B,out_channels,round(h*scale), round(w*scale)] on the CPU. Errors: INVALID_ARGUMENT for an overlap that is not
/// below the tile; those of `tick`. What `run` throws passes through. Thread: one at a time.
StatusOr<at::Tensor> RunTiled(const at::Tensor& input, const Tiling& tiling, int64_t out_channels,
                              const std::function<at::Tensor(const at::Tensor&)>& run,
                              const std::function<Status()>& tick = nullptr);

}  // namespace atelier::engine
