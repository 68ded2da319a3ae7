// DPM-Solver++ (stochastic) with Brownian noise. Source: spec engine.md 5.5.
#include <cmath>

#include "worker/sampling/sampler.h"
#include "worker/sampling/samplers/makers.h"

namespace atelier::engine {
namespace {

struct DpmppSde {
  float eta = 1, s_noise = 1, r = 0.5f;
  bool on_cpu = true;

  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    run.OffsetFirstSigma();
    for (size_t i = 0; i < run.steps(); ++i) {
      const float sigma = run.sigmas[i], next = run.sigmas[i + 1];
      ASSIGN_OR_RETURN(const at::Tensor denoised, run.DenoiseStep(i));
      if (next == 0) {
        run.x = denoised;
        continue;
      }
      const float lambda = run.Lambda(sigma), lambda_next = run.Lambda(next);
      const float h = lambda_next - lambda, lambda1 = lambda + h * r, fac = 1 / (2 * r);
      const float sigma1 = run.SigmaOfLambda(lambda1);
      const float alpha = run.Alpha(sigma), alpha1 = sigma1 * std::exp(lambda1), alpha_next = run.Alpha(next);

      const auto [down1, up1] = Ancestral(std::exp(-lambda), std::exp(-lambda1), eta);
      const float h1 = -std::log(down1) - lambda;
      at::Tensor x2 = (alpha1 / alpha) * std::exp(-h1) * run.x - alpha1 * std::expm1(-h1) * denoised;
      if (eta > 0 && s_noise > 0) x2 = x2 + alpha1 * run.BrownianNoise(sigma, sigma1, on_cpu) * s_noise * up1;
      ASSIGN_OR_RETURN(const at::Tensor denoised2, run.Denoise(x2, sigma1));

      const auto [down2, up2] = Ancestral(std::exp(-lambda), std::exp(-lambda_next), eta);
      const float h2 = -std::log(down2) - lambda;
      const at::Tensor mixed = (1 - fac) * denoised + fac * denoised2;
      run.x = (alpha_next / alpha) * std::exp(-h2) * run.x - alpha_next * std::expm1(-h2) * mixed;
      if (eta > 0 && s_noise > 0) run.x = run.x + alpha_next * run.BrownianNoise(sigma, next, on_cpu) * s_noise * up2;
    }
    return run.x;
  }
};
ATELIER_REGISTER_SAMPLER("dpmpp_sde", 13, DpmppSde{});
ATELIER_REGISTER_SAMPLER("dpmpp_sde_gpu", 14, DpmppSde{.on_cpu = false});

}  // namespace

SamplerType DpmppSdeSampler(double eta, double s_noise, double r, bool noise_on_cpu) {
  return MakeSampler(
      DpmppSde{static_cast<float>(eta), static_cast<float>(s_noise), static_cast<float>(r), noise_on_cpu});
}

}  // namespace atelier::engine
