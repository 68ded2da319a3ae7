// Model families: how a file is recognised and which parts it gives. One file below families/ and one registration
// each.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/registry.h"
#include "worker/engine/model_cache.h"
#include "worker/engine/types.h"
#include "worker/engine/weights.h"

namespace atelier::models {

/// What a checkpoint holds; null parts are absent in the file.
struct CheckpointParts {
  engine::Model diffusion;
  std::shared_ptr<const engine::TextEncoder> text_encoder;
  std::shared_ptr<const engine::Autoencoder> autoencoder;
  std::string identity;  // of the file, for caches
};

struct Family {
  /// Whether these diffusion weights (prefix removed) are of this family. At most one family says so.
  std::function<bool(const engine::WeightSource& diffusion)> detect;
  /// The network, its parameterisation, latent format and conditioning. `file`: all weights of the file, for keys
  /// beside the network. The loader fills in `family`, `rebuild` and `patches`.
  std::function<StatusOr<engine::Model>(const engine::WeightSource& diffusion, const engine::WeightSource& file,
                                        engine::Engine&)>
      build;
  /// The text encoder that a checkpoint of this family carries; null when the file has none.
  std::function<StatusOr<std::shared_ptr<const engine::TextEncoder>>(const engine::WeightSource& file, engine::Engine&)>
      build_text;
};

#define ATELIER_REGISTER_FAMILY(name, ...)                  \
  static const bool ATELIER_CONCAT_(kFamily, __COUNTER__) = \
      ::atelier::Registry<::atelier::models::Family>::Get().Add(name, 0, ::atelier::models::Family __VA_ARGS__)

/// Kinds of autoencoders, by tensor names (prefix removed, in the original layout). One file below autoencoders/ each.
struct AutoencoderKind {
  /// Whether these weights are of this kind. At most one kind says so.
  std::function<bool(const engine::WeightSource&)> detect;
  std::function<StatusOr<std::shared_ptr<const engine::Autoencoder>>(const engine::WeightSource&, engine::Engine&)>
      build;
};

#define ATELIER_REGISTER_AUTOENCODER(name, ...)                           \
  static const bool ATELIER_CONCAT_(kAutoencoderKind, __COUNTER__) =      \
      ::atelier::Registry<::atelier::models::AutoencoderKind>::Get().Add( \
          name, 0, ::atelier::models::AutoencoderKind __VA_ARGS__)

/// x [B,C,H,W] enlarged at the right and bottom so that each side is at least `minimum` and a multiple of `multiple`:
/// reflected as far as there are pixels to reflect, the rest repeats the edge. Source: spec extras.md 5.1.
at::Tensor PadToMultiple(const at::Tensor& x, int64_t minimum, int64_t multiple);

/// Super-resolution architectures, by tensor names. One file below upscalers/ each.
struct UpscalerArch {
  std::function<bool(const engine::WeightSource&)> detect;
  std::function<StatusOr<std::shared_ptr<const engine::UpscaleNetwork>>(const engine::WeightSource&, engine::Engine&)>
      build;
};

#define ATELIER_REGISTER_UPSCALER(name, order, ...)                                \
  static const bool ATELIER_CONCAT_(kUpscaler, __COUNTER__) =                      \
      ::atelier::Registry<::atelier::models::UpscalerArch>::Get().Add(name, order, \
                                                                      ::atelier::models::UpscalerArch __VA_ARGS__)

}  // namespace atelier::models
