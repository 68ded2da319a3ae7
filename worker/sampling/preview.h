// Small pictures of a run in progress. Source: spec engine.md 6.4.
#pragma once

#include <ATen/ATen.h>

#include <string>

namespace atelier::engine {

/// JPEG bytes of the first item of a denoised latent f32 [B,4,h,w] in model space, fitted to 512 x 512; empty when the
/// latent has another channel count or a picture cannot be made. A linear map of the four channels to RGB. Thread: any.
std::string PreviewJpeg(const at::Tensor& denoised);

}  // namespace atelier::engine
