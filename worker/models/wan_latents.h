// Latents of WAN's autoencoders in model space. Source: spec engine.md 4.7.
#pragma once

#include "worker/engine/types.h"

namespace atelier::models {

/// 16 channels: WAN 2.1, 2.2 14B, Qwen-Image.
engine::LatentFormat Wan21Latents();

/// 48 channels: WAN 2.2 5B.
engine::LatentFormat Wan22Latents();

}  // namespace atelier::models
