// Vision transformers that describe pictures, and what turns their description into a prompt. Source: spec engine.md
// 8.3.
#pragma once

#include <memory>
#include <string>

#include "worker/engine/model_cache.h"
#include "worker/engine/types.h"
#include "worker/engine/vision.h"
#include "worker/engine/weights.h"

namespace atelier::models {

/// Builds an encoder from weights as transformers names them ("vision_model.") or OpenCLIP ("visual."), of CLIP or
/// SigLIP. Reads names and shapes only. Errors: INVALID_ARGUMENT naming file and tensor.
StatusOr<std::shared_ptr<const engine::VisionEncoder>> BuildVisionEncoder(const engine::WeightSource& weights,
                                                                          engine::Engine& engine);

/// An encoder alone (models/clip_vision). Errors: as LoadCheckpoint. Thread: any.
StatusOr<std::shared_ptr<const engine::VisionEncoder>> LoadVisionEncoder(const std::string& path,
                                                                         engine::Engine& engine = engine::TheEngine());

/// The encoder in an unCLIP checkpoint; null when the file has none. Errors: as LoadCheckpoint. Thread: any.
StatusOr<std::shared_ptr<const engine::VisionEncoder>> LoadCheckpointVision(
    const std::string& path, engine::Engine& engine = engine::TheEngine());

/// A style model (models/style_models): FLUX Redux or the style adapter of T2I-Adapter. Errors: as LoadCheckpoint.
/// Thread: any.
StatusOr<std::shared_ptr<const engine::StyleNetwork>> LoadStyleModel(const std::string& path,
                                                                     engine::Engine& engine = engine::TheEngine());

}  // namespace atelier::models
