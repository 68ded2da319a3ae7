#include "worker/engine/tiler.h"

#include <algorithm>
#include <cmath>

namespace atelier::engine {
namespace {

// Python's round(): halves go to the even neighbour.
int64_t RoundHalfEven(double v) { return static_cast<int64_t>(std::nearbyint(v)); }

int64_t SizeOut(const TileAxis& axis, int64_t size) {
  return axis.size_out ? axis.size_out(size) : RoundHalfEven(static_cast<double>(size) * axis.scale);
}

std::vector<int64_t> Positions(int64_t size, int64_t tile, int64_t overlap) {
  std::vector<int64_t> positions;
  if (size <= tile) return {0};
  for (int64_t p = 0; p < size - overlap; p += tile - overlap) positions.push_back(p);
  return positions;
}

// The weights along one side of a tile of `n` output units.
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

// The next choice of one index for each list, the last one fastest; false after the last choice.
bool Advance(std::vector<size_t>& index, const std::vector<std::vector<int64_t>>& lists) {
  for (size_t d = index.size(); d-- > 0;) {
    if (++index[d] < lists[d].size()) return true;
    index[d] = 0;
  }
  return false;
}

std::vector<TileAxis> AxesOf(const Tiling& t) {
  return {{t.tile_y, t.overlap, t.scale, nullptr}, {t.tile_x, t.overlap, t.scale, nullptr}};
}

}  // namespace

int64_t TileCount(at::IntArrayRef sizes, const std::vector<TileAxis>& axes) {
  int64_t count = 1;
  for (size_t d = 0; d < axes.size(); ++d)
    count *= static_cast<int64_t>(Positions(sizes[d], axes[d].tile, axes[d].overlap).size());
  return count;
}

StatusOr<at::Tensor> RunTiled(const at::Tensor& input, const std::vector<TileAxis>& axes, int64_t out_channels,
                              const std::function<at::Tensor(const at::Tensor&)>& run,
                              const std::function<Status()>& tick) {
  const size_t dims = axes.size();
  const int64_t batch = input.size(0);
  const std::vector<int64_t> sizes = input.sizes().slice(2).vec();
  bool single = true;
  for (size_t d = 0; d < dims; ++d) single = single && sizes[d] <= axes[d].tile;
  std::vector<std::vector<int64_t>> positions;
  std::vector<int64_t> out_shape{batch, out_channels};
  for (size_t d = 0; d < dims; ++d) {
    const auto& [tile, overlap, scale, size_out] = axes[d];
    if (!single && sizes[d] > tile && (overlap < 0 || overlap >= tile))
      return InvalidArgument("overlap ", overlap, " does not fit into tiles of ", tile, ", use a smaller one");
    positions.push_back(Positions(sizes[d], tile, overlap));
    out_shape.push_back(SizeOut(axes[d], sizes[d]));
  }
  at::Tensor output = at::empty(out_shape, at::kFloat);
  out_shape[0] = 1;
  for (int64_t b = 0; b < batch; ++b) {
    const at::Tensor item = input.narrow(0, b, 1);
    if (single) {
      output.narrow(0, b, 1).copy_(run(item));
      if (tick) RETURN_IF_ERROR(tick());
      continue;
    }
    at::Tensor sum = at::zeros(out_shape);
    out_shape[1] = 1;
    at::Tensor weight = at::zeros(out_shape);
    out_shape[1] = out_channels;
    std::vector<size_t> index(dims, 0);
    do {
      at::Tensor tile = item;
      std::vector<int64_t> from(dims);
      for (size_t d = 0; d < dims; ++d) {
        from[d] = std::max<int64_t>(0, std::min(sizes[d] - axes[d].overlap, positions[d][index[d]]));
        tile = tile.narrow(static_cast<int64_t>(d) + 2, from[d], std::min(axes[d].tile, sizes[d] - from[d]));
      }
      const at::Tensor result = run(tile).to(at::TensorOptions(at::kCPU).dtype(at::kFloat));
      at::Tensor mask = at::ones(std::vector<int64_t>(dims + 2, 1)), sum_part = sum, weight_part = weight;
      for (size_t d = 0; d < dims; ++d) {
        const int64_t dim = static_cast<int64_t>(d) + 2, length = result.size(dim);
        std::vector<int64_t> shape(dims + 2, 1);
        shape[d + 2] = length;
        mask = mask * Feather(length, SizeOut(axes[d], axes[d].overlap)).view(shape);
        const int64_t to = RoundHalfEven(static_cast<double>(from[d]) * axes[d].scale);
        sum_part = sum_part.narrow(dim, to, length);
        weight_part = weight_part.narrow(dim, to, length);
      }
      sum_part.addcmul_(result, mask);
      weight_part.add_(mask);
      if (tick) RETURN_IF_ERROR(tick());
    } while (Advance(index, positions));
    output.narrow(0, b, 1).copy_(sum.div_(weight));
  }
  return output;
}

int64_t TileCount(int64_t h, int64_t w, const Tiling& tiling) { return TileCount({h, w}, AxesOf(tiling)); }

StatusOr<at::Tensor> RunTiled(const at::Tensor& input, const Tiling& t, int64_t out_channels,
                              const std::function<at::Tensor(const at::Tensor&)>& run,
                              const std::function<Status()>& tick) {
  return RunTiled(input, AxesOf(t), out_channels, run, tick);
}

}  // namespace atelier::engine
