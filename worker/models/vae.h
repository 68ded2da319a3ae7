// The image autoencoder of SD1, SD2, SDXL, SD3 and Flux, in the shape of its file. Source: spec engine.md 6.1 to 6.3.
#pragma once

#include <memory>

#include "worker/engine/model_cache.h"
#include "worker/engine/types.h"
#include "worker/engine/weights.h"

namespace atelier::models {

/// Builds the autoencoder from weights named "encoder.conv_in.weight", "decoder.conv_in.weight" and so on; reads names
/// and shapes only. When memory runs out, Encode and Decode go through the tiles once more. Errors: INVALID_ARGUMENT
/// naming file and tensor.
StatusOr<std::shared_ptr<const engine::Autoencoder>> BuildVae(const engine::WeightSource& weights,
                                                              engine::Engine& engine);

}  // namespace atelier::models
