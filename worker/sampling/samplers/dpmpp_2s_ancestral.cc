// DPM-Solver++(2S) with ancestral noise. Source: spec engine.md 5.5.
#include <cmath>

#include "worker/sampling/sampler.h"
#include "worker/sampling/samplers/makers.h"

namespace atelier::engine {
namespace {

struct Dpmpp2sAncestral {
  float eta = 1, s_noise = 1;

  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    for (size_t i = 0; i < run.steps(); ++i) {
      ASSIGN_OR_RETURN(const at::Tensor denoised, run.DenoiseStep(i));
      RETURN_IF_ERROR(run.flow() ? FlowStep(run, i, denoised) : PlainStep(run, i, denoised));
    }
    return run.x;
  }

  Status PlainStep(SampleRun& run, size_t i, const at::Tensor& denoised) const {
    const float sigma = run.sigmas[i], next = run.sigmas[i + 1];
    const auto [down, up] = Ancestral(sigma, next, eta);
    if (down == 0) {
      run.x = run.x + Slope(run.x, sigma, denoised) * (down - sigma);
    } else {
      const float t = -std::log(sigma), t_next = -std::log(down);
      const float h = t_next - t, s = t + 0.5f * h;
      const float sigma_s = std::exp(-s);
      const at::Tensor x2 = (sigma_s / std::exp(-t)) * run.x - std::expm1(-h * 0.5f) * denoised;
      ASSIGN_OR_RETURN(const at::Tensor denoised2, run.Denoise(x2, sigma_s));
      run.x = (std::exp(-t_next) / std::exp(-t)) * run.x - std::expm1(-h) * denoised2;
    }
    if (next > 0) run.x = run.x + run.Noise() * s_noise * up;
    return OkStatus();
  }

  Status FlowStep(SampleRun& run, size_t i, const at::Tensor& denoised) const {
    const float sigma = run.sigmas[i], next = run.sigmas[i + 1];
    if (next == 0) {
      run.x = run.x + Slope(run.x, sigma, denoised) * (next - sigma);
      return OkStatus();
    }
    const auto [down, rescale, renoise] = FlowAncestral(sigma, next, eta);
    float middle = 0.9999f;
    if (sigma != 1.0f) {
      const float t = run.Lambda(sigma), t_down = run.Lambda(down);
      middle = run.SigmaOfLambda(t + 0.5f * (t_down - t));
    }
    const float ratio = middle / sigma;
    const at::Tensor u = ratio * run.x + (1 - ratio) * denoised;
    ASSIGN_OR_RETURN(const at::Tensor denoised2, run.Denoise(u, middle));
    const float ratio_down = down / sigma;
    run.x = ratio_down * run.x + (1 - ratio_down) * denoised2;
    if (eta > 0) run.x = rescale * run.x + run.Noise() * s_noise * renoise;
    return OkStatus();
  }
};
ATELIER_REGISTER_SAMPLER("dpmpp_2s_ancestral", 11, Dpmpp2sAncestral{});

}  // namespace

SamplerType Dpmpp2sAncestralSampler(double eta, double s_noise) {
  return MakeSampler(Dpmpp2sAncestral{static_cast<float>(eta), static_cast<float>(s_noise)});
}

}  // namespace atelier::engine
