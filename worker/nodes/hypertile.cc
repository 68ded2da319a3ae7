// HyperTile: self-attention of large pictures within tiles. Source: the public description
// (github.com/tfernd/HyperTile, MIT); spec engine.md 8.1.
#include <algorithm>
#include <cmath>
#include <memory>

#include "worker/nodes/support.h"
#include "worker/sampling/hooks.h"
#include "worker/sampling/noise.h"

namespace atelier::nodes {
namespace {

// How many tiles of at least `smallest` a side is cut into: one of the `options` counts with the smallest tiles.
int64_t TileCount(int64_t side, int64_t smallest, int64_t options, at::Generator& generator) {
  std::vector<int64_t> counts;
  for (int64_t tile = std::min(smallest, side); tile <= side && static_cast<int64_t>(counts.size()) < options; ++tile)
    if (side % tile == 0) counts.push_back(side / tile);
  const auto last = static_cast<int64_t>(counts.size()) - 1;
  if (last <= 0) return counts.empty() ? 1 : counts.front();
  return counts[static_cast<size_t>(at::randint(last, {1}, generator, at::kLong).item<int64_t>())];
}

struct Grid {
  int64_t rows = 1, columns = 1, height = 0, width = 0;  // tiles, and places in one

  at::Tensor Cut(const at::Tensor& x) const {
    return x.reshape({x.size(0), rows, height, columns, width, x.size(2)})
        .permute({0, 1, 3, 2, 4, 5})
        .reshape({x.size(0) * rows * columns, height * width, x.size(2)});
  }
  at::Tensor Joined(const at::Tensor& x) const {
    const int64_t batch = x.size(0) / (rows * columns);
    return x.reshape({batch, rows, columns, height, width, x.size(2)})
        .permute({0, 1, 3, 2, 4, 5})
        .reshape({batch, rows * height * columns * width, x.size(2)});
  }
};

struct HyperTile {
  Model model;
  int64_t tile_size = 256, swap_size = 2, max_depth = 0;
  bool scale_depth = false;

  static void Describe(NodeSchema<HyperTile>& s) {
    s.Category("model_patches/unet").Cheap().Description("Attention within tiles, for the speed of large pictures.");
    s.Input<&HyperTile::model>("model").Tooltip("The model, a UNet.");
    s.Input<&HyperTile::tile_size>("tile_size").Default(256).Range(1, 2048).Tooltip("Smallest tile in pixels.");
    s.Input<&HyperTile::swap_size>("swap_size")
        .Default(2)
        .Range(1, 128)
        .Tooltip("Among how many tile sizes each layer draws.");
    s.Input<&HyperTile::max_depth>("max_depth").Default(0).Range(0, 10).Tooltip("Levels of the network that are cut.");
    s.Input<&HyperTile::scale_depth>("scale_depth").Default(false).Tooltip("Whether tiles grow with the level.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const {
    return engine::WithHook(
        model, [smallest = std::max<int64_t>(32, tile_size) / 8, options = swap_size, levels = max_depth,
                scale = scale_depth](const engine::HookRun& run, engine::RunHooks& hooks) {
          const auto generator = std::make_shared<at::Generator>(run.DrawAfterNoise(at::kCPU));
          const auto grid = std::make_shared<std::optional<Grid>>();
          hooks.network.self_inputs.push_back([=](engine::AttentionInputs& in, const engine::BlockCall& at) {
            grid->reset();
            const int64_t tokens = in.query.size(1);
            for (int64_t level = 0; level <= levels; ++level) {
              const int64_t height = at.height >> level, width = at.width >> level;
              if (height * width != tokens) continue;
              const int64_t least = scale ? smallest << level : smallest;
              Grid found;
              found.rows = TileCount(height, least, options, *generator);
              found.columns = TileCount(width, least, options, *generator);
              if (found.rows * found.columns <= 1) return;
              found.height = height / found.rows;
              found.width = width / found.columns;
              *grid = found;
              in = {found.Cut(in.query), found.Cut(in.key), found.Cut(in.value)};
              return;
            }
          });
          hooks.network.self_results.push_back([=](const at::Tensor& result, const engine::BlockCall&) {
            return *grid ? (*grid)->Joined(result) : result;
          });
          return OkStatus();
        });
  }
};
ATELIER_REGISTER_NODE(HyperTile);

}  // namespace
}  // namespace atelier::nodes
