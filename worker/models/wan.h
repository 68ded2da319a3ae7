// WAN's transformer (2.1 and 2.2, text and image to video, VACE, camera), in the sizes of its file. Source: spec
// engine.md 9.3.
#pragma once

#include <memory>

#include "worker/engine/model_cache.h"
#include "worker/engine/types.h"
#include "worker/engine/weights.h"

namespace atelier::models {

/// What the tensors of a WAN network show.
struct WanShape {
  int64_t channels = 0;      // that go in: the latent's and what is joined to it
  int64_t out_channels = 0;  // of a latent: 16, or 48 (WAN 2.2 5B)
  int64_t width = 0;         // of a token
  int64_t text_width = 0;
  bool image_tokens = false;    // takes what a vision encoder sees
  int64_t vace_channels = 0;    // of control videos; 0: takes none
  int64_t camera_channels = 0;  // of a camera's rays; 0: takes none
  bool reference = false;       // takes a reference latent
  bool per_frame_time = false;  // a noise level for each frame
};
WanShape ShapeOfWan(const engine::WeightSource& weights);

/// Builds the network; reads names and shapes only. x: [B,C,T,h,w]; timesteps f32 [B], or [B,T] for networks with a
/// level for each frame. Errors: INVALID_ARGUMENT naming file and tensor.
StatusOr<std::shared_ptr<const engine::DiffusionNetwork>> BuildWan(const engine::WeightSource& weights,
                                                                   engine::Engine& engine);

}  // namespace atelier::models
