// CFG++: steps along the slope of the negative prediction. Source: spec engine.md 5.5.
#include <cmath>

#include "worker/sampling/sampler.h"
#include "worker/sampling/samplers/makers.h"

namespace atelier::engine {
namespace {

struct EulerCfgPp {
  float eta = 0, s_noise = 1;

  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    for (size_t i = 0; i < run.steps(); ++i) {
      const float sigma = run.sigmas[i], next = run.sigmas[i + 1];
      ASSIGN_OR_RETURN(const at::Tensor denoised, run.DenoiseStep(i));
      if (next == 0) {
        run.x = denoised;
        continue;
      }
      const float alpha = run.Alpha(sigma), alpha_next = run.Alpha(next);
      const at::Tensor d = (run.x - alpha * run.negative()) / sigma;
      const auto [down, up] = Ancestral(sigma / alpha, next / alpha_next, eta);
      run.x = alpha_next * denoised + (alpha_next * down) * d;
      if (eta > 0 && s_noise > 0) run.x = run.x + alpha_next * run.Noise() * s_noise * up;
    }
    return run.x;
  }
};
ATELIER_REGISTER_SAMPLER("euler_cfg_pp", 1, EulerCfgPp{}, SamplerTraits{.needs_negative = true});
ATELIER_REGISTER_SAMPLER("euler_ancestral_cfg_pp", 3, EulerCfgPp{.eta = 1}, SamplerTraits{.needs_negative = true});

struct Dpmpp2sAncestralCfgPp {
  float eta = 1, s_noise = 1;

  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    for (size_t i = 0; i < run.steps(); ++i) {
      const float sigma = run.sigmas[i], next = run.sigmas[i + 1];
      ASSIGN_OR_RETURN(const at::Tensor denoised, run.DenoiseStep(i));
      const auto [down, up] = Ancestral(sigma, next, eta);
      if (down == 0) {
        run.x = denoised + Slope(run.x, sigma, run.negative()) * down;
      } else {
        const float t = -std::log(sigma), t_next = -std::log(down), h = t_next - t, s = t + 0.5f * h;
        const float middle = std::exp(-s);
        const at::Tensor x2 =
            (middle / sigma) * (run.x + (denoised - run.negative())) - std::expm1(-h * 0.5f) * denoised;
        ASSIGN_OR_RETURN(const at::Tensor denoised2, run.Denoise(x2, middle));
        // The negative prediction is now that of the second evaluation; the golden data show it.
        run.x = (down / sigma) * (run.x + (denoised - run.negative())) - std::expm1(-h) * denoised2;
      }
      if (next > 0) run.x = run.x + run.Noise() * s_noise * up;
    }
    return run.x;
  }
};
ATELIER_REGISTER_SAMPLER("dpmpp_2s_ancestral_cfg_pp", 12, Dpmpp2sAncestralCfgPp{},
                         SamplerTraits{.needs_negative = true});

struct Dpmpp2mCfgPp {
  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    at::Tensor old;
    for (size_t i = 0; i < run.steps(); ++i) {
      const float sigma = run.sigmas[i], next = run.sigmas[i + 1];
      ASSIGN_OR_RETURN(const at::Tensor denoised, run.DenoiseStep(i));
      const float t = -std::log(sigma), h = -std::log(next) - t, decay = std::exp(-h);
      at::Tensor mix = -decay * run.negative();
      if (old.defined() && next > 0) {
        const float r = (t + std::log(run.sigmas[i - 1])) / h;
        mix = mix - std::expm1(-h) * (1 / (2 * r)) * (denoised - old);
      }
      run.x = denoised + mix + decay * run.x;
      old = run.negative();
    }
    return run.x;
  }
};
ATELIER_REGISTER_SAMPLER("dpmpp_2m_cfg_pp", 16, Dpmpp2mCfgPp{}, SamplerTraits{.needs_negative = true});

}  // namespace

SamplerType EulerAncestralCfgPpSampler(double eta, double s_noise) {
  return MakeSampler(EulerCfgPp{static_cast<float>(eta), static_cast<float>(s_noise)},
                     SamplerTraits{.needs_negative = true});
}

}  // namespace atelier::engine
