#include "worker/engine/tiler.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace atelier::engine {
namespace {

// Python's round(): halves go to the even neighbour.
int64_t RoundHalfEven(double v) { return static_cast<int64_t>(std::nearbyint(v)); }

std::vector<int64_t> Positions(int64_t size, int64_t tile, int64_t overlap) {
  std::vector<int64_t> positions;
  if (size <= tile) return {0};
  for (int64_t p = 0; p < size - overlap; p += tile - overlap) positions.push_back(p);
  return positions;
}

// The weights along one side of a tile of `n` output pixels.
at::Tensor Feather(int64_t n, int64_t feather) {
  at::Tensor ramp = at::ones({n});
  if (feather >= n) return ramp;
  auto* w = ramp.mutable_data_ptr<float>();
  for (int64_t t = 0; t < feather; ++t) {
    const float a = static_cast<float>(static_cast<double>(t + 1) / static_cast<double>(feather));
    w[t] *= a;
    w[n - 1 - t] *= a;
  }
  return ramp;
}

}  // namespace

int64_t TileCount(int64_t h, int64_t w, const Tiling& t) {
  if (h <= t.tile_y && w <= t.tile_x) return 1;
  return static_cast<int64_t>(Positions(h, t.tile_y, t.overlap).size() * Positions(w, t.tile_x, t.overlap).size());
}

StatusOr<at::Tensor> RunTiled(const at::Tensor& input, const Tiling& t, int64_t out_channels,
                              const std::function<at::Tensor(const at::Tensor&)>& run,
                              const std::function<Status()>& tick) {
  const int64_t batch = input.size(0), h = input.size(2), w = input.size(3);
  const bool single = h <= t.tile_y && w <= t.tile_x;
  if (!single && (t.overlap < 0 || t.overlap >= t.tile_x || t.overlap >= t.tile_y)) {
    return InvalidArgument("overlap ", t.overlap, " does not fit into tiles of ", t.tile_x, "x", t.tile_y,
                           ", use a smaller one");
  }
  const int64_t out_h = RoundHalfEven(static_cast<double>(h) * t.scale),
                out_w = RoundHalfEven(static_cast<double>(w) * t.scale);
  at::Tensor output = at::empty({batch, out_channels, out_h, out_w}, at::kFloat);
  const std::vector<int64_t> ys = Positions(h, t.tile_y, t.overlap), xs = Positions(w, t.tile_x, t.overlap);
  for (int64_t b = 0; b < batch; ++b) {
    const at::Tensor item = input.narrow(0, b, 1);
    if (single) {
      output.narrow(0, b, 1).copy_(run(item));
      if (tick) RETURN_IF_ERROR(tick());
      continue;
    }
    at::Tensor sum = at::zeros({1, out_channels, out_h, out_w}), weight = at::zeros({1, 1, out_h, out_w});
    for (const int64_t y0 : ys) {
      for (const int64_t x0 : xs) {
        const int64_t y = std::max<int64_t>(0, std::min(h - t.overlap, y0)),
                      x = std::max<int64_t>(0, std::min(w - t.overlap, x0));
        const at::Tensor tile = item.narrow(2, y, std::min(t.tile_y, h - y)).narrow(3, x, std::min(t.tile_x, w - x));
        const at::Tensor result = run(tile).to(at::TensorOptions(at::kCPU).dtype(at::kFloat));
        const int64_t rh = result.size(2), rw = result.size(3),
                      feather = RoundHalfEven(static_cast<double>(t.overlap) * t.scale);
        const at::Tensor mask = Feather(rh, feather).view({1, 1, rh, 1}) * Feather(rw, feather).view({1, 1, 1, rw});
        const int64_t oy = RoundHalfEven(static_cast<double>(y) * t.scale),
                      ox = RoundHalfEven(static_cast<double>(x) * t.scale);
        sum.narrow(2, oy, rh).narrow(3, ox, rw).addcmul_(result, mask);
        weight.narrow(2, oy, rh).narrow(3, ox, rw).add_(mask);
        if (tick) RETURN_IF_ERROR(tick());
      }
    }
    output.narrow(0, b, 1).copy_(sum.div_(weight));
  }
  return output;
}

}  // namespace atelier::engine
