// A whole sampling run, from a latent and its noise to the new latent. Source: spec engine.md 4.8, 4.9.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/graph/node.h"
#include "worker/engine/types.h"
#include "worker/sampling/guider.h"
#include "worker/sampling/sampler.h"

namespace atelier::engine {

/// What a run needs. positive and negative are the two lists of classifier-free guidance; with `guide` they and the
/// others are what it mixes.
struct SampleRequest {
  Model model;
  Conditioning positive, negative;
  double cfg = 1.0;
  std::vector<Conditioning> others;
  GuideFunction guide;
  SamplerType sampler;
  at::Tensor sigmas;      // f32 [n+1] on the CPU; empty: the latent is returned as it is
  at::Tensor noise;       // f32 [B,C,h,w] on the CPU, or f64: then the run is in f64
  at::Tensor latent;      // f32 [B,C,h,w] on the CPU, VAE units
  at::Tensor noise_mask;  // f32 of any resolution, 1 = to be changed, or undefined
  uint64_t seed = 0;      // of the sampler's own noise
};

/// The sampled latent, f32 on the CPU in VAE units. `denoised`, if given, gets the last prediction in the same form.
/// Progress and cancellation go through `ctx` once a step. Errors: CANCELLED; INVALID_ARGUMENT when shapes do not fit
/// the model; the device's. Thread: one at a time per model.
StatusOr<at::Tensor> SampleLatent(const SampleRequest& request, NodeContext& ctx, at::Tensor* denoised = nullptr);

/// An all-zero latent of another channel count than the model's becomes one of the right count, and gets a time axis
/// for video models; other latents are returned unchanged. Thread: any.
at::Tensor FixEmptyLatent(const Model& model, const at::Tensor& latent);

/// Levels of a run as the KSampler nodes take them: `steps` of the schedule, or the last `steps` of int(steps /
/// denoise) when denoise <= 0.9999; empty when denoise <= 0. Errors: INVALID_ARGUMENT for steps outside 1..10000.
/// Thread: any.
StatusOr<at::Tensor> RunSigmas(const ModelSampling& sampling, const SamplerTraits& traits, const std::string& scheduler,
                               int64_t steps, double denoise);

/// Settings of KSampler and KSamplerAdvanced.
struct KSamplerSettings {
  uint64_t seed = 0;
  int64_t steps = 20;
  double cfg = 8.0;
  std::string sampler_name, scheduler;
  double denoise = 1.0;
  bool add_noise = true;
  std::optional<int64_t> start_step, end_step;
  bool full_denoise = false;  // with end_step: the last level becomes 0
};

/// What both nodes do: noise, levels, run. The result keeps the latent's other parts. Errors: as SampleLatent.
StatusOr<Latent> RunKSampler(const Model& model, const Conditioning& positive, const Conditioning& negative,
                             const Latent& latent, const KSamplerSettings& settings, NodeContext& ctx);

}  // namespace atelier::engine
