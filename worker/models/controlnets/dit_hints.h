// What control networks of diffusion transformers have in common: pictures as latents, weights stored under diffusers'
// names. Source: spec engine.md 8.2 "VAE-latent controlnets".
#pragma once

#include <string>
#include <vector>

#include "worker/models/control.h"

namespace atelier::models {

/// A tensor's own name and the tensors that are stacked on dimension 0 to make it; one part is a new name.
struct StackedTensor {
  std::string own;
  std::vector<std::string> parts;
};

/// Adds the weight and the bias of a layer.
void AddStackedLayer(std::vector<StackedTensor>& tensors, const std::string& own,
                     const std::vector<std::string>& parts);

/// The source with these tensors under their own names; those whose parts are not all there are left out, and all
/// others stay as they are. Thread: any. May throw what torch throws (memory).
engine::WeightSource Stacked(const engine::WeightSource& file, const std::vector<StackedTensor>& tensors);

/// A picture [N,H,W,C] as latents of height x width in model space, f32 on the CPU: the nearest pixels of its centre,
/// through the picture's autoencoder. `channels` that the network takes: the format's, or for inpainting one more that
/// is 1 where the picture is to be kept, and the picture is black elsewhere. Errors: INVALID_ARGUMENT for another
/// number, or when autoencoder or mask are missing.
StatusOr<at::Tensor> HintLatents(const engine::ControlPicture& picture, int64_t height, int64_t width,
                                 const engine::LatentFormat& format, int64_t channels);

/// `residuals` for `blocks` blocks of the steered network: each is used by a run of neighbours (each = true), or the
/// whole list again and again.
std::vector<at::Tensor> SpreadResiduals(const std::vector<at::Tensor>& residuals, size_t blocks, bool each);

}  // namespace atelier::models
