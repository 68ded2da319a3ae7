// The classic UNet of SD1, SD2 and SDXL, in the shape of its file. Source: spec engine.md 4.2 "Classic UNet shape
// inference", 4.5.
#pragma once

#include <memory>

#include "worker/engine/model_cache.h"
#include "worker/engine/types.h"
#include "worker/engine/weights.h"

namespace atelier::models {

/// A UNet and what its shapes say.
struct UNetShape {
  int64_t model_channels = 0, in_channels = 0, out_channels = 0;
  int64_t context_width = 0;       // of the text conditioning
  int64_t vector_width = 0;        // of y; 0 when it takes none
  bool linear_projection = false;  // SD2 and SDXL; SD1 projects with 1x1 convolutions
};

/// Reads the shape from names alone; zeros where tensors are missing. Thread: any.
UNetShape ShapeOfUNet(const engine::WeightSource& weights);

/// Builds the network from weights named "input_blocks.0.0.weight" and so on; reads names and shapes only. SD1 has 8
/// heads everywhere, the others heads of 64. `attention_fp32`: queries and keys are multiplied in float32 (SD2).
/// Errors: INVALID_ARGUMENT naming file and tensor. Forward: t are timesteps, context is required, y exactly when
/// vector_width > 0.
StatusOr<std::shared_ptr<const engine::DiffusionNetwork>> BuildUNet(const engine::WeightSource& weights,
                                                                    bool attention_fp32, engine::Engine& engine);

}  // namespace atelier::models
