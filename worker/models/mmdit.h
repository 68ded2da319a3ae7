// The transformer of SD3 and SD3.5, in the sizes of its file. Source: spec engine.md 9.4.
#pragma once

#include <memory>

#include "worker/engine/model_cache.h"
#include "worker/engine/types.h"
#include "worker/engine/weights.h"

namespace atelier::models {

/// Builds the network; reads names and shapes only. Its timesteps are noise levels times 1000. Errors: INVALID_ARGUMENT
/// naming file and tensor.
StatusOr<std::shared_ptr<const engine::DiffusionNetwork>> BuildMmdit(const engine::WeightSource& weights,
                                                                     engine::Engine& engine);

}  // namespace atelier::models
