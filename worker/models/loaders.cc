#include "worker/models/loaders.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "common/base/log.h"
#include "worker/engine/guard.h"
#include "worker/engine/model_formats.h"
#include "worker/engine/tiler.h"
#include "worker/models/vae_names.h"

namespace atelier::models {
namespace {

using engine::WeightSource;

// The candidate prefix with most tensors, if any has more than 5; else "model.".
std::string DiffusionPrefix(const WeightSource& file) {
  std::string best = "model.";
  size_t most = 5;
  for (const char* prefix : {"model.diffusion_model.", "model.model.", "net."}) {
    const size_t n = file.Prefixed(prefix).tensors().size();
    if (n > most) {
      most = n;
      best = prefix;
    }
  }
  return best;
}

StatusOr<std::pair<std::string, const Family*>> Detect(const WeightSource& diffusion) {
  for (const std::string& name : Registry<Family>::Get().Names()) {
    const Family* family = Registry<Family>::Get().Find(name);
    if (family->detect(diffusion)) return std::pair(name, family);
  }
  return InvalidArgument(
      "file \"", diffusion.file(), "\" holds no diffusion model of a known family (known: ",
      [] {
        std::string names;
        for (const std::string& name : Registry<Family>::Get().Names()) names += (names.empty() ? "" : ", ") + name;
        return names;
      }(),
      "); choose a file of one of these, or download it again if it is one");
}

StatusOr<engine::Model> BuildDiffusion(const WeightSource& diffusion, const WeightSource& file,
                                       engine::Engine& engine) {
  ASSIGN_OR_RETURN(const auto found, Detect(diffusion));
  const Family* family = found.second;
  ASSIGN_OR_RETURN(engine::Model model, family->build(diffusion, file, engine));
  model.family = found.first;
  model.weights = diffusion;
  model.rebuild =
      [diffusion, file, family,
       &engine](const engine::WeightPatches& patches) -> StatusOr<std::shared_ptr<const engine::DiffusionNetwork>> {
    return engine::Guard([&]() -> StatusOr<std::shared_ptr<const engine::DiffusionNetwork>> {
      ASSIGN_OR_RETURN(const engine::Model patched, family->build(diffusion.Patched(patches), file, engine));
      return patched.network;
    });
  };
  return model;
}

// The plain weights in a narrower type; encoded ones stay.
WeightSource Rounded(const WeightSource& source, at::ScalarType type) {
  WeightSource::Tensors tensors;
  WeightSource::Extras extras;
  for (const auto& [name, tensor] : source.tensors()) {
    const engine::WeightExtras* extra = source.ExtrasOf(name);
    if (extra != nullptr) extras.emplace(name, *extra);
    const bool plain = extra == nullptr && tensor.is_floating_point();
    tensors.emplace(name, plain && tensor.itemsize() > c10::elementSize(type) ? tensor.to(type) : tensor);
  }
  return WeightSource(source.file(), std::move(tensors), std::move(extras));
}

// The autoencoder's own names, from a file of its own or a checkpoint.
WeightSource VaeWeights(const WeightSource& file) {
  for (const char* prefix : {"first_stage_model.", "vae."}) {
    if (file.HasPrefix(prefix)) return OriginalVaeNames(file.Prefixed(prefix));
  }
  return OriginalVaeNames(file);
}

// The kind of autoencoder, or null.
const AutoencoderKind* KindOf(const WeightSource& weights) {
  const auto& registry = Registry<AutoencoderKind>::Get();
  for (const std::string& name : registry.Names())
    if (registry.Find(name)->detect(weights)) return registry.Find(name);
  return nullptr;
}

StatusOr<std::shared_ptr<const engine::Autoencoder>> BuildAutoencoder(const WeightSource& weights,
                                                                      engine::Engine& engine) {
  if (const AutoencoderKind* kind = KindOf(weights)) return kind->build(weights, engine);
  std::string names;
  for (const std::string& name : Registry<AutoencoderKind>::Get().Names()) names += (names.empty() ? "" : ", ") + name;
  return InvalidArgument("file \"", weights.file(), "\" holds no autoencoder of a known kind (known: ", names,
                         "); choose a file of one of these");
}

// The tensors under prefix + name.
void AddUnder(const std::string& prefix, const WeightSource& source, WeightSource::Tensors& tensors,
              WeightSource::Extras& extras) {
  for (const auto& [name, tensor] : source.tensors()) {
    tensors.emplace(prefix + name, tensor);
    if (const engine::WeightExtras* extra = source.ExtrasOf(name)) extras.emplace(prefix + name, *extra);
  }
}

}  // namespace

StatusOr<std::shared_ptr<const CheckpointParts>> LoadCheckpoint(const std::string& path, engine::Engine& engine) {
  return engine.models().Get<CheckpointParts>(
      path, "checkpoint", [&]() -> StatusOr<std::shared_ptr<const CheckpointParts>> {
        return engine::Guard([&]() -> StatusOr<std::shared_ptr<const CheckpointParts>> {
          ASSIGN_OR_RETURN(const WeightSource file, WeightSource::Open(path));
          const WeightSource diffusion = file.Prefixed(DiffusionPrefix(file));
          auto parts = std::make_shared<CheckpointParts>();
          ASSIGN_OR_RETURN(parts->diffusion, BuildDiffusion(diffusion, file, engine));
          const Family* family = Registry<Family>::Get().Find(parts->diffusion.family);
          ASSIGN_OR_RETURN(parts->text_encoder, family->build_text(file, engine));
          const WeightSource vae = VaeWeights(file);
          if (KindOf(vae) != nullptr) {
            ASSIGN_OR_RETURN(parts->autoencoder, BuildAutoencoder(vae, engine));
          }
          ASSIGN_OR_RETURN(parts->identity, engine::ModelCache::KeyOf(path, "checkpoint"));
          parts->diffusion.identity = parts->identity;
          return std::shared_ptr<const CheckpointParts>(std::move(parts));
        });
      });
}

StatusOr<engine::Model> LoadDiffusion(const std::string& path, engine::Engine& engine,
                                      std::optional<at::ScalarType> weight_type) {
  using Loaded = std::shared_ptr<const engine::Model>;
  const std::string part = weight_type ? Cat("diffusion ", c10::toString(*weight_type)) : "diffusion";
  ASSIGN_OR_RETURN(const Loaded model, engine.models().Get<engine::Model>(path, part, [&]() -> StatusOr<Loaded> {
    return engine::Guard([&]() -> StatusOr<Loaded> {
      ASSIGN_OR_RETURN(const WeightSource file, WeightSource::Open(path));
      WeightSource diffusion = file.Prefixed(DiffusionPrefix(file));
      if (diffusion.tensors().empty()) diffusion = file;
      if (weight_type) diffusion = Rounded(diffusion, *weight_type);
      ASSIGN_OR_RETURN(engine::Model built, BuildDiffusion(diffusion, file, engine));
      ASSIGN_OR_RETURN(built.identity, engine::ModelCache::KeyOf(path, part));
      return Loaded(std::make_shared<engine::Model>(std::move(built)));
    });
  }));
  return *model;
}

StatusOr<engine::Model> LoadGgufDiffusion(const std::string& path, GgufPrecision precision, engine::Engine& engine) {
  using Loaded = std::shared_ptr<const engine::Model>;
  const std::string part = Cat("diffusion, blocks in precision ", static_cast<int>(precision));
  ASSIGN_OR_RETURN(const Loaded model, engine.models().Get<engine::Model>(path, part, [&]() -> StatusOr<Loaded> {
    return engine::Guard([&]() -> StatusOr<Loaded> {
      ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> mapped, MappedFile::Open(path));
      if (!IsGguf(mapped->bytes())) return InvalidArgument("file \"", mapped->name(), "\" is no GGUF file");
      ASSIGN_OR_RETURN(const WeightSource file, engine::ReadGguf(mapped, precision));
      const WeightSource prefixed = file.Prefixed(DiffusionPrefix(file));
      ASSIGN_OR_RETURN(engine::Model built, BuildDiffusion(prefixed.tensors().empty() ? file : prefixed, file, engine));
      return Loaded(std::make_shared<engine::Model>(std::move(built)));
    });
  }));
  return *model;
}

StatusOr<std::shared_ptr<const engine::Autoencoder>> LoadAutoencoder(const std::string& path, engine::Engine& engine) {
  return engine.models().Get<engine::Autoencoder>(path, "vae",
                                                  [&]() -> StatusOr<std::shared_ptr<const engine::Autoencoder>> {
                                                    ASSIGN_OR_RETURN(const WeightSource file, WeightSource::Open(path));
                                                    return BuildAutoencoder(VaeWeights(file), engine);
                                                  });
}

StatusOr<std::shared_ptr<const engine::Autoencoder>> LoadTinyAutoencoder(const std::string& encoder,
                                                                         const std::string& decoder,
                                                                         const TinyLatents& latents,
                                                                         engine::Engine& engine) {
  using Network = std::shared_ptr<const engine::Autoencoder>;
  ASSIGN_OR_RETURN(const std::string first, engine::ModelCache::KeyOf(encoder, "tiny encoder"));
  ASSIGN_OR_RETURN(const std::string second, engine::ModelCache::KeyOf(decoder, "tiny decoder"));
  const std::string identity = Cat(first, "\n", second, "\n", latents.scale, " ", latents.shift);
  return engine.models().GetMade<engine::Autoencoder>(identity, [&]() -> StatusOr<Network> {
    return engine::Guard([&]() -> StatusOr<Network> {
      ASSIGN_OR_RETURN(const WeightSource one, WeightSource::Open(encoder));
      ASSIGN_OR_RETURN(const WeightSource other, WeightSource::Open(decoder));
      WeightSource::Tensors tensors;
      WeightSource::Extras extras;
      AddUnder("taesd_encoder.", one, tensors, extras);
      AddUnder("taesd_decoder.", other, tensors, extras);
      tensors["vae_scale"] = at::scalar_tensor(latents.scale, at::kFloat);
      tensors["vae_shift"] = at::scalar_tensor(latents.shift, at::kFloat);
      const std::string name = Cat(one.file(), " + ", other.file());
      return BuildAutoencoder(WeightSource(name, std::move(tensors), std::move(extras)), engine);
    });
  });
}

StatusOr<std::shared_ptr<const engine::Autoencoder>> LoadPixelSpace(engine::Engine& engine) {
  return BuildAutoencoder(WeightSource("pixel_space", {{"pixel_space_vae", at::scalar_tensor(1.0, at::kFloat)}}),
                          engine);
}

StatusOr<std::shared_ptr<const engine::UpscaleNetwork>> LoadUpscaler(const std::string& path, engine::Engine& engine) {
  using Network = std::shared_ptr<const engine::UpscaleNetwork>;
  return engine.models().Get<engine::UpscaleNetwork>(path, "upscaler", [&]() -> StatusOr<Network> {
    return engine::Guard([&]() -> StatusOr<Network> {
      ASSIGN_OR_RETURN(WeightSource file, WeightSource::Open(path));
      // Training scripts wrap the state dictionary; nested dictionaries are unwrapped by the reader. Spec
      // extras.md 5.1.
      for (const char* wrapper : {"params_ema.", "params-ema.", "params.", "state_dict.", "module.", "netG."}) {
        if (WeightSource inner = file.Prefixed(wrapper);
            !inner.tensors().empty() && inner.tensors().size() == file.tensors().size())
          file = std::move(inner);
      }
      const auto& registry = Registry<UpscalerArch>::Get();
      std::string names;
      for (const std::string& name : registry.Names()) {
        if (registry.Find(name)->detect(file)) return registry.Find(name)->build(file, engine);
        names += (names.empty() ? "" : ", ") + name;
      }
      return InvalidArgument("file \"", file.file(),
                             "\" holds no upscale model of a known architecture (known: ", names,
                             "); choose a file of one of these");
    });
  });
}

at::Tensor PadToMultiple(const at::Tensor& x, int64_t minimum, int64_t multiple) {
  at::Tensor y = x;
  for (const int64_t dim : {2, 3}) {
    const int64_t size = y.size(dim);
    const int64_t target = (std::max(minimum, size) + multiple - 1) / multiple * multiple;
    const int64_t reflect = std::min(target - size, size - 1), repeat = target - size - reflect;
    const auto pads = [dim](int64_t n) {
      return dim == 2 ? std::vector<int64_t>{0, 0, 0, n} : std::vector<int64_t>{0, n, 0, 0};
    };
    if (reflect > 0) y = at::reflection_pad2d(y, pads(reflect));
    if (repeat > 0) y = at::replication_pad2d(y, pads(repeat));
  }
  return y;
}

StatusOr<at::Tensor> UpscaleWithModel(const engine::UpscaleNetwork& network, const at::Tensor& pixels,
                                      const std::function<Status(int64_t, int64_t)>& tick) {
  if (pixels.dim() != 4 || pixels.size(3) < 3) return InvalidArgument("an upscale model takes images [B,H,W,3]");
  constexpr int64_t kTileMin = 128;
  for (int64_t tile = 512;; tile /= 2) {
    auto result = engine::Guard([&]() -> StatusOr<at::Tensor> {
      const at::Tensor input = pixels.narrow(3, 0, 3).movedim(3, 1).to(at::kFloat);
      const engine::Tiling tiling{tile, tile, 32, static_cast<double>(network.scale())};
      const int64_t total = input.size(0) * engine::TileCount(input.size(2), input.size(3), tiling);
      int64_t done = 0;
      ASSIGN_OR_RETURN(const at::Tensor y,
                       engine::RunTiled(
                           input, tiling, 3,
                           [&](const at::Tensor& t) { return network.Forward(t.to(network.device())).clamp(0.0, 1.0); },
                           [&]() -> Status { return tick ? tick(++done, total) : OkStatus(); }));
      return y.clamp(0.0, 1.0).movedim(1, 3).contiguous();
    });
    if (result.ok() || result.status().code() != StatusCode::kResourceExhausted || tile / 2 < kTileMin) return result;
    LogWarning("memory ran out with tiles of ", tile, ", going on with half: ", Message(result.status()));
  }
}

}  // namespace atelier::models
