// Samplers: how a run walks down its noise levels. One file each in samplers/. Source: spec engine.md 5.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/registry.h"
#include "common/base/status.h"
#include "common/graph/node.h"
#include "worker/sampling/brownian.h"
#include "worker/sampling/model_sampling.h"

namespace atelier::engine {

/// One denoiser call: the guided prediction and, when the sampler asked for it, the negative list's own.
struct Prediction0 {
  at::Tensor denoised;
  at::Tensor negative;
};

/// What a sampler works with. Arithmetic on levels is float32, as the reference's. Thread: one at a time.
class SampleRun {
 public:
  using Denoiser = std::function<StatusOr<Prediction0>(const at::Tensor& x, double sigma)>;
  using Reporter = std::function<Status(int64_t step, int64_t steps, const at::Tensor& x, const at::Tensor& denoised)>;

  /// start: f32 [B,...] in model space on the sampling device. levels: n+1 descending noise levels, n >= 1.
  SampleRun(at::Tensor start, std::vector<float> levels, const ModelSampling& model_sampling, uint64_t noise_seed,
            Denoiser denoiser, Reporter reporter = nullptr);

  at::Tensor x;               // the latent at sigmas.front()
  std::vector<float> sigmas;  // a sampler may change them; the last one is used to leave the model's space
  const ModelSampling& sampling;

  size_t steps() const { return sigmas.size() - 1; }
  bool flow() const { return sampling.flow(); }

  /// The denoised latent at `sigma`. Errors: the model's; CANCELLED.
  StatusOr<at::Tensor> Denoise(const at::Tensor& at_x, double sigma);
  /// The negative list's prediction in the last Denoise() (samplers registered with needs_negative only).
  const at::Tensor& negative() const { return negative_; }
  /// Tells progress and preview of step `i`. Errors: CANCELLED.
  Status Report(size_t i, const at::Tensor& denoised);
  /// The denoised latent at sigmas[i], told as step `i`: how most samplers begin a step. Errors: as of both.
  StatusOr<at::Tensor> DenoiseStep(size_t i);

  /// One draw of x's shape from a generator on x's device that starts with the run's seed.
  at::Tensor Noise();
  /// Noise of the Brownian path between two levels; `on_cpu` tells where the tree's nodes are drawn.
  at::Tensor BrownianNoise(float sigma, float next, bool on_cpu);
  /// Keeps lambda finite for flow models that start at 1. Source: spec engine.md 5.4.
  void OffsetFirstSigma();

  /// lambda(sigma) = -ln sigma, or ln((1 - sigma) / sigma) for flow.
  float Lambda(float sigma) const;
  /// Inverse of Lambda().
  float SigmaOfLambda(float lambda) const;
  /// alpha(sigma) = sigma e^lambda.
  float Alpha(float sigma) const;

 private:
  uint64_t seed_;
  Denoiser denoiser_;
  Reporter reporter_;
  at::Tensor negative_;
  std::optional<at::Generator> generator_;
  std::optional<BrownianTree> tree_;
  float tree_low_ = 0, tree_high_ = 0;
};

struct SamplerTraits {
  bool discard_penultimate = false;     // runs on the schedule of n+1 steps without its last but one level
  bool needs_negative = false;          // the negative list is evaluated even at cfg 1
  uint64_t mask_noise_seed_offset = 0;  // other noise for the kept part of an inpaint run
};

/// A SAMPLER handle: a function with its settings bound.
struct SamplerType {
  std::function<StatusOr<at::Tensor>(SampleRun&)> sample;
  SamplerTraits traits;
};

/// Names in the reference's order (a combo's choices). Thread: any, after main() started.
std::vector<std::string> SamplerNames();
/// The named sampler; an unknown name means the first one, as in the reference. Thread: any.
SamplerType FindSampler(const std::string& name);

template <typename T>
SamplerType MakeSampler(T sampler, SamplerTraits traits = {}) {
  return SamplerType{[sampler = std::move(sampler)](SampleRun& run) { return sampler.Sample(run); }, traits};
}

/// ATELIER_REGISTER_SAMPLER("name", order in the combo, Sampler{settings}[, SamplerTraits{...}]);
#define ATELIER_REGISTER_SAMPLER(name, order, ...)                                \
  static const bool ATELIER_CONCAT_(kSamplerRegistered, __COUNTER__) =            \
      ::atelier::Registry<::atelier::engine::SamplerType>::Get().Add(name, order, \
                                                                     ::atelier::engine::MakeSampler(__VA_ARGS__))

/// Slope d = (x - D) / sigma.
inline at::Tensor Slope(const at::Tensor& x, float sigma, const at::Tensor& denoised) { return (x - denoised) / sigma; }

/// An ancestral step splits into a move down to `down` and fresh noise of size `up`.
struct AncestralStep {
  float down, up;
};
AncestralStep Ancestral(float from, float to, float eta);

/// The flow form: move to `down`, scale by `rescale`, add noise of size `renoise`.
struct FlowAncestralStep {
  float down, rescale, renoise;
};
FlowAncestralStep FlowAncestral(float from, float to, float eta);

}  // namespace atelier::engine

namespace atelier {
template <>
struct SocketTraits<engine::SamplerType> {
  static constexpr std::string_view kName = "SAMPLER";
};
}  // namespace atelier
