// What the nodes of an autoencoder ask of their inputs. Source: spec engine.md 6.2, 6.3.
#pragma once

#include "worker/nodes/support.h"

namespace atelier::nodes {

/// Errors: INVALID_ARGUMENT where the checkpoint had no autoencoder. Thread: any.
inline Status CheckVae(const Vae& vae) {
  if (vae.autoencoder == nullptr) return InvalidArgument("the checkpoint holds no autoencoder; use Load VAE");
  return OkStatus();
}

/// The pictures [B,H,W,C] can be encoded: three channels, and one latent pixel at least each way. Errors:
/// INVALID_ARGUMENT. Thread: any.
inline Status CheckEncode(const Vae& vae, const Image& pixels) {
  RETURN_IF_ERROR(CheckVae(vae));
  RETURN_IF_ERROR(CheckPixels("pixels", pixels));
  const int64_t r = vae.autoencoder->ratio();
  if (pixels.pixels.size(3) < 3) return InvalidArgument("pixels have ", pixels.pixels.size(3), " channels, expected 3");
  if (pixels.pixels.size(1) < r || pixels.pixels.size(2) < r)
    return InvalidArgument("picture is ", pixels.pixels.size(2), "x", pixels.pixels.size(1), ", expected at least ", r,
                           "x", r);
  return OkStatus();
}

/// Frames of a video of `latent` ones. REQUIRES: CheckVae. Thread: any.
inline int64_t FramesOf(const Vae& vae, int64_t latent) { return (latent - 1) * vae.autoencoder->frame_ratio() + 1; }

/// The latents can be decoded, and what they become is not too large. Errors: INVALID_ARGUMENT, RESOURCE_EXHAUSTED.
/// Thread: any.
inline Status CheckDecode(const Vae& vae, const Latent& samples) {
  RETURN_IF_ERROR(CheckVae(vae));
  RETURN_IF_ERROR(CheckSamples("samples", samples));
  const at::Tensor& latents = samples.samples;
  const int64_t r = vae.autoencoder->ratio();
  const int64_t frames = latents.dim() == 5 ? FramesOf(vae, latents.size(2)) : 1;
  return CheckTensorSize("decoded picture", {latents.size(0), frames, latents.size(-2) * r, latents.size(-1) * r, 3});
}

}  // namespace atelier::nodes
