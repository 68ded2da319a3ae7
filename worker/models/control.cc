#include "worker/models/control.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "worker/engine/guard.h"

namespace atelier::models {
namespace {

using engine::WeightSource;
using Network = std::shared_ptr<const engine::ControlNetwork>;

// A training program's own prefix is left out, and differences become weights.
WeightSource Completed(const WeightSource& file, const engine::Model* base) {
  constexpr std::string_view kPrefix = "control_model.";
  WeightSource weights = file.HasPrefix(kPrefix) ? file.Prefixed(kPrefix) : file;
  if (base == nullptr || !file.Has("difference")) return weights;
  engine::WeightPatches patches;
  const WeightSource own = base->weights.Patched(base->patches);
  for (const auto& [name, tensor] : weights.tensors()) {
    const at::Tensor stored = own.Find(name);
    if (!stored.defined() || stored.sizes() != tensor.sizes()) continue;
    const engine::WeightExtras* extras = own.ExtrasOf(name);
    patches[name].push_back(
        [stored, extras = extras == nullptr ? engine::WeightExtras{} : *extras](const at::Tensor& difference) {
          at::Tensor weight = extras.decoder ? extras.decoder(extras.encoded.to(difference.device())) : stored;
          weight = weight.to(difference.options());
          for (const engine::WeightPatch& patch : extras.patches) weight = patch(weight);
          return difference + weight;
        });
  }
  return weights.Patched(patches);
}

}  // namespace

StatusOr<Network> BuildControlNet(const WeightSource& file, const engine::Model* base, engine::Engine& engine) {
  return engine::Guard([&]() -> StatusOr<Network> {
    const WeightSource weights = Completed(file, base);
    const auto& registry = Registry<ControlArch>::Get();
    std::string names;
    for (const std::string& name : registry.Names()) {
      const ControlArch* arch = registry.Find(name);
      if (arch->detect(weights)) return arch->build(weights, engine);
      names += (names.empty() ? "" : ", ") + name;
    }
    return InvalidArgument("file \"", file.file(), "\" holds no control network of a known kind (known: ", names,
                           "); choose a file of one of these");
  });
}

StatusOr<Network> LoadControlNet(const std::string& path, const engine::Model* base, engine::Engine& engine) {
  const auto load = [&]() -> StatusOr<Network> {
    ASSIGN_OR_RETURN(const WeightSource file, WeightSource::Open(path));
    return BuildControlNet(file, base, engine);
  };
  if (base != nullptr) return load();
  return engine.models().Get<engine::ControlNetwork>(path, "control", load);
}

StatusOr<at::Tensor> HintPixels(const at::Tensor& pixels, int64_t height, int64_t width, int64_t channels) {
  if (channels != 0 && pixels.size(3) != channels) {
    return InvalidArgument("the control picture has ", pixels.size(3), " channels, the control network takes ",
                           channels);
  }
  at::Tensor x = pixels.to(at::kFloat).permute({0, 3, 1, 2});
  const auto w = static_cast<double>(x.size(3)), h = static_cast<double>(x.size(2));
  const double old_aspect = w / h, new_aspect = static_cast<double>(width) / static_cast<double>(height);
  int64_t left = 0, top = 0;
  if (old_aspect > new_aspect)
    left = static_cast<int64_t>(std::nearbyint((w - w * (new_aspect / old_aspect)) / 2));
  else if (old_aspect < new_aspect)
    top = static_cast<int64_t>(std::nearbyint((h - h * (old_aspect / new_aspect)) / 2));
  x = x.narrow(2, top, x.size(2) - 2 * top).narrow(3, left, x.size(3) - 2 * left);
  if (x.size(2) <= 0 || x.size(3) <= 0)
    return InvalidArgument("the control picture of ", pixels.size(2), "x", pixels.size(1), " leaves nothing of ", width,
                           "x", height);
  if (x.size(2) == height && x.size(3) == width) return x.contiguous();
  return at::_upsample_nearest_exact2d(x.contiguous(), {height, width});
}

}  // namespace atelier::models
