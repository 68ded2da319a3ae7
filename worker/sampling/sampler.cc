#include "worker/sampling/sampler.h"

#include <algorithm>
#include <cmath>

#include "worker/sampling/noise.h"

namespace atelier::engine {

SampleRun::SampleRun(at::Tensor start, std::vector<float> levels, const ModelSampling& model_sampling,
                     uint64_t noise_seed, Denoiser denoiser, Reporter reporter)
    : x(std::move(start)),
      sigmas(std::move(levels)),
      sampling(model_sampling),
      seed_(noise_seed),
      denoiser_(std::move(denoiser)),
      reporter_(std::move(reporter)) {
  ATELIER_CHECK(sigmas.size() >= 2);
  tree_high_ = *std::max_element(sigmas.begin(), sigmas.end());
  tree_low_ = tree_high_;
  for (const float sigma : sigmas)
    if (sigma > 0) tree_low_ = std::min(tree_low_, sigma);
}

StatusOr<at::Tensor> SampleRun::Denoise(const at::Tensor& at_x, double sigma) {
  ASSIGN_OR_RETURN(Prediction0 prediction, denoiser_(at_x, sigma));
  negative_ = std::move(prediction.negative);
  return std::move(prediction.denoised);
}

Status SampleRun::Report(size_t i, const at::Tensor& denoised) {
  if (!reporter_) return OkStatus();
  return reporter_(static_cast<int64_t>(std::min(i, steps() - 1)), static_cast<int64_t>(steps()), x, denoised);
}

StatusOr<at::Tensor> SampleRun::DenoiseStep(size_t i) {
  ASSIGN_OR_RETURN(at::Tensor denoised, Denoise(x, sigmas[i]));
  RETURN_IF_ERROR(Report(i, denoised));
  return denoised;
}

at::Tensor SampleRun::Noise() {
  if (!generator_) generator_ = MakeGenerator(x.device(), seed_);
  return Randn(x.sizes(), *generator_, x.device());
}

at::Tensor SampleRun::BrownianNoise(float sigma, float next, bool on_cpu) {
  if (!tree_) tree_.emplace(x.sizes().vec(), seed_, tree_low_, tree_high_, on_cpu ? at::Device(at::kCPU) : x.device());
  return tree_->Noise(sigma, next).to(x.device());
}

void SampleRun::OffsetFirstSigma() {
  if (flow() && sigmas[0] >= 1) sigmas[0] = static_cast<float>(sampling.PercentToSigma(1e-4));
}

float SampleRun::Lambda(float sigma) const { return flow() ? std::log((1.0f - sigma) / sigma) : -std::log(sigma); }
float SampleRun::SigmaOfLambda(float lambda) const {
  return flow() ? 1.0f / (1.0f + std::exp(lambda)) : std::exp(-lambda);
}
float SampleRun::Alpha(float sigma) const { return sigma * std::exp(Lambda(sigma)); }

std::vector<std::string> SamplerNames() { return Registry<SamplerType>::Get().Names(); }

SamplerType FindSampler(const std::string& name) {
  const auto& registry = Registry<SamplerType>::Get();
  if (const SamplerType* sampler = registry.Find(name)) return *sampler;
  const std::vector<std::string> names = registry.Names();
  ATELIER_CHECK(!names.empty());
  return *registry.Find(names.front());
}

AncestralStep Ancestral(float from, float to, float eta) {
  if (eta == 0) return {to, 0};
  const float up = std::min(to, eta * std::sqrt(to * to * (from * from - to * to) / (from * from)));
  return {std::sqrt(to * to - up * up), up};
}

FlowAncestralStep FlowAncestral(float from, float to, float eta) {
  const float ratio = 1 + (to / from - 1) * eta;
  const float down = to * ratio;
  const float alpha_to = 1 - to, alpha_down = 1 - down;
  const float renoise = std::sqrt(to * to - down * down * alpha_to * alpha_to / (alpha_down * alpha_down));
  return {down, alpha_to / alpha_down, renoise};
}

}  // namespace atelier::engine
