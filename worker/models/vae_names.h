// Autoencoders under the names that the diffusers library gives. Source: spec engine.md 6.1.
#pragma once

#include "worker/engine/weights.h"

namespace atelier::models {

/// The weights in the original layout ("decoder.up.3.block.0..." for "decoder.up_blocks.0.resnets.0..."), attention
/// matrices as 1x1 convolutions; weights that are in it already are returned as they are. Thread: any.
engine::WeightSource OriginalVaeNames(const engine::WeightSource& weights);

}  // namespace atelier::models
