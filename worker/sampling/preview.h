// Small pictures of a run in progress. Source: spec engine.md 6.4.
#pragma once

#include <ATen/ATen.h>

#include <string>

#include "worker/engine/latent_colors.h"

namespace atelier::engine {

/// JPEG bytes of the first item (the first frame) of a denoised latent f32 [B,C,h,w] or [B,C,T,h,w] in model space,
/// fitted to 512 x 512; empty when `colors` has not C rows or a picture cannot be made. Thread: any.
std::string PreviewJpeg(const at::Tensor& denoised, LatentColors colors);

}  // namespace atelier::engine
