// The video autoencoders of WAN 2.1 (also Qwen-Image's) and WAN 2.2 (5B), in the shape of their file. Source: spec
// engine.md 6.1 to 6.3, 9.3.
#pragma once

#include <memory>

#include "worker/engine/model_cache.h"
#include "worker/engine/types.h"
#include "worker/engine/weights.h"

namespace atelier::models {

/// Whether these are weights of such an autoencoder.
bool IsWanVae(const engine::WeightSource& weights);

/// Builds it; reads names and shapes only. A video goes through in pieces of one latent frame; when memory runs out all
/// the same, it is done anew in tiles. Errors: INVALID_ARGUMENT naming file and tensor.
StatusOr<std::shared_ptr<const engine::Autoencoder>> BuildWanVae(const engine::WeightSource& weights,
                                                                 engine::Engine& engine);

}  // namespace atelier::models
