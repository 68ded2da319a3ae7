// What UNets take beside latent and text: sizes as a vector, a masked picture on the channels.
#pragma once

#include "worker/engine/types.h"
#include "worker/models/unet.h"

namespace atelier::models {

/// [pooled_output, or the descriptions of UnclipVector when there are some | sinusoid of 256 for each of `values`] as
/// f32 [B,A] on `device`. Errors: INVALID_ARGUMENT when the entry has no pooled_output. Source: spec engine.md 4.4.
StatusOr<at::Tensor> SizeVector(const engine::CondEntry& entry, const std::vector<double>& values,
                                const at::Device& device);

/// How an unCLIP model was taught to see vague descriptions of pictures.
struct UnclipNoise {
  at::Tensor mean, deviation;  // f32 [P] of the descriptions; undefined: 0 and 1
  int64_t level_width = 0;     // of the noise level's embedding
};

/// Whether the shape is that of an unCLIP model of SD2, whose vector is a description and its noise level. Source: spec
/// engine.md 4.2.
bool IsUnclip(const UNetShape& shape);

/// Adds a description f32 [B,P] to an entry, for UnclipVector. Source: spec engine.md 8.3.
void AddUnclip(engine::CondEntry& entry, const at::Tensor& image_embeds, double strength, double noise_augmentation);

/// [description with noise | sinusoid of its level] f32 [1,P+L], the sum over all descriptions times their strengths;
/// undefined when the entry has none. Errors: INVALID_ARGUMENT when widths differ.
StatusOr<at::Tensor> UnclipVector(const engine::CondEntry& entry, const UnclipNoise& noise);

/// A number among the entry's options, or `fallback`.
double OptionOr(const engine::CondEntry& entry, const char* key, double fallback);

/// The entry's tensor under `key`, or null.
const at::Tensor* TensorOf(const engine::CondEntry& entry, const char* key);

/// `t` [n,C,H,W] cut to the aspect of `like` about its centre, resized to its height and width, with as many items.
at::Tensor FitLatent(at::Tensor t, const at::Tensor& like);

/// What an inpainting network gets on its channels: the rounded mask (1 = to be changed) and the masked picture in
/// model space, f32 [B,1+C,h,w]. From concat_mask and concat_latent_image, else from the run's mask and latent, else a
/// mask of ones and a grey picture. Source: spec engine.md 4.11.
at::Tensor InpaintConcat(const engine::CondEntry& entry, const engine::CondRun& run);

/// The latent picture of an editing network, f32 [B,C,h,w]: concat_latent_image in VAE units (as InstructPix2Pix was
/// trained), else zeros. Source: spec engine.md 4.2 "Inpaint variants".
at::Tensor EditConcat(const engine::CondEntry& entry, const engine::CondRun& run);

/// Adds what extra input channels of a UNet with latents of 4 channels stand for: 9 inpainting, 8 editing. Null
/// when there are none. `inner` gives the other inputs, and may be null. Errors: INVALID_ARGUMENT for another number.
StatusOr<engine::CondEncoder> WithConcat(int64_t in_channels, const std::string& file, engine::CondEncoder inner);

}  // namespace atelier::models
