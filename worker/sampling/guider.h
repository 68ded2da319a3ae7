// What decides a run's prediction and its noise: the values GUIDER and NOISE. Source: spec engine.md 4.12.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "common/graph/node.h"
#include "worker/engine/types.h"
#include "worker/sampling/sampler.h"

namespace atelier::engine {

/// Guided prediction of a positive and a negative one, with all that nodes changed about the model's guidance.
using CfgFunction = std::function<at::Tensor(const at::Tensor& positive, const at::Tensor& negative, double scale)>;
/// One prediction of those of all lists at x, in the order positive, negative, others. May throw what torch throws.
using GuideFunction =
    std::function<Prediction0(const at::Tensor& x, const std::vector<at::Tensor>& parts, const CfgFunction& cfg)>;

/// A GUIDER handle. Without `guide` it is classifier-free guidance of the first two lists, which leaves the negative
/// one out at cfg 1.
struct Guider {
  Model model;
  Conditioning positive, negative;
  double cfg = 1.0;
  std::vector<Conditioning> others;
  GuideFunction guide;
};

/// A NOISE value: how the noise of a run is drawn.
struct NoiseSource {
  std::optional<uint64_t> seed;  // absent: all zeros
};

/// The noise f32 on the CPU for a latent's samples. Errors: PrepareNoise's. Thread: any.
StatusOr<at::Tensor> GenerateNoise(const NoiseSource& source, const Latent& latent);

/// A run of a guider on a latent; the results keep the latent's other parts.
struct CustomRun {
  Latent output, denoised;  // denoised: of the last prediction
};
/// Runs a sampler over the levels `sigmas` f32. Errors: as SampleLatent. Thread: one at a time per model.
StatusOr<CustomRun> RunCustom(const Guider& guider, const NoiseSource& noise, const SamplerType& sampler,
                              const at::Tensor& sigmas, const Latent& latent, uint64_t seed, NodeContext& ctx);

}  // namespace atelier::engine

namespace atelier {
template <>
struct SocketTraits<engine::Guider> {
  static constexpr std::string_view kName = "GUIDER";
};
template <>
struct SocketTraits<engine::NoiseSource> {
  static constexpr std::string_view kName = "NOISE";
};
}  // namespace atelier
