// FLUX.1's transformer, in the sizes of its file. Source: spec engine.md 9.2.
#pragma once

#include <memory>

#include "worker/engine/model_cache.h"
#include "worker/engine/types.h"
#include "worker/engine/weights.h"

namespace atelier::models {

/// What the tensors of a FLUX network show.
struct FluxShape {
  int64_t channels = 0;  // of one latent pixel that goes in: 16; 32 and 96 or more with what is joined to it
  int64_t out_channels = 0;
  int64_t hidden = 0;
  int64_t context_width = 0, vector_width = 0;
  bool guidance = false;  // distilled: the network is told the guidance (dev), else not (schnell)
};
FluxShape ShapeOfFlux(const engine::WeightSource& weights);

/// Builds the network; reads names and shapes only. Its timesteps are noise levels 0..1. Errors: INVALID_ARGUMENT
/// naming file and tensor.
StatusOr<std::shared_ptr<const engine::DiffusionNetwork>> BuildFlux(const engine::WeightSource& weights,
                                                                    engine::Engine& engine);

}  // namespace atelier::models
