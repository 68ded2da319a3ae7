// SEEDS: stochastic exponential integrators with two and three evaluations a step. Source: spec engine.md 5.5.
#include <cmath>

#include "worker/sampling/sampler.h"

namespace atelier::engine {
namespace {

struct Seeds2 {
  float eta = 1, s_noise = 1, r = 0.5f;

  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    run.OffsetFirstSigma();
    for (size_t i = 0; i < run.steps(); ++i) {
      const float sigma = run.sigmas[i], next = run.sigmas[i + 1];
      ASSIGN_OR_RETURN(const at::Tensor denoised, run.DenoiseStep(i));
      if (next == 0) {
        run.x = denoised;
        continue;
      }
      const float lambda = run.Lambda(sigma), h = run.Lambda(next) - lambda, a = eta * h, h_eta = h * (1 + eta);
      const float sigma1 = run.SigmaOfLambda(lambda + r * h), alpha1 = run.Alpha(sigma1), alpha = run.Alpha(next);
      const float fac = 1 / (2 * r);
      const bool noisy = eta > 0 && s_noise > 0;
      at::Tensor n1, n2;
      if (noisy) {
        n1 = std::sqrt(-std::expm1(-2 * r * a)) * run.Noise();
        n2 = n1 * std::exp((r - 1) * a) + std::sqrt(-std::expm1(2 * (r - 1) * a)) * run.Noise();
      }
      at::Tensor x2 = (sigma1 / sigma) * std::exp(-r * a) * run.x - alpha1 * std::expm1(-r * h_eta) * denoised;
      if (noisy) x2 = x2 + sigma1 * n1 * s_noise;
      ASSIGN_OR_RETURN(const at::Tensor denoised2, run.Denoise(x2, sigma1));
      const at::Tensor mixed = denoised + fac * (denoised2 - denoised);
      run.x = (next / sigma) * std::exp(-a) * run.x - alpha * std::expm1(-h_eta) * mixed;
      if (noisy) run.x = run.x + next * n2 * s_noise;
    }
    return run.x;
  }
};
ATELIER_REGISTER_SAMPLER("seeds_2", 35, Seeds2{});

struct Seeds3 {
  float eta = 1, s_noise = 1, r1 = 1.0f / 3, r2 = 2.0f / 3;

  static float G(float y) { return (std::expm1(y) - y) / y; }

  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    run.OffsetFirstSigma();
    for (size_t i = 0; i < run.steps(); ++i) {
      const float sigma = run.sigmas[i], next = run.sigmas[i + 1];
      ASSIGN_OR_RETURN(const at::Tensor denoised, run.DenoiseStep(i));
      if (next == 0) {
        run.x = denoised;
        continue;
      }
      const float lambda = run.Lambda(sigma), h = run.Lambda(next) - lambda, a = eta * h, h_eta = h * (1 + eta);
      const float sigma1 = run.SigmaOfLambda(lambda + r1 * h), sigma2 = run.SigmaOfLambda(lambda + r2 * h);
      const float alpha1 = run.Alpha(sigma1), alpha2 = run.Alpha(sigma2), alpha = run.Alpha(next);
      const bool noisy = eta > 0 && s_noise > 0;
      at::Tensor n1, n2, n3;
      if (noisy) {
        n1 = std::sqrt(-std::expm1(-2 * r1 * a)) * run.Noise();
        n2 = n1 * std::exp((r1 - r2) * a) + std::sqrt(-std::expm1(2 * (r1 - r2) * a)) * run.Noise();
        n3 = n2 * std::exp((r2 - 1) * a) + std::sqrt(-std::expm1(2 * (r2 - 1) * a)) * run.Noise();
      }
      at::Tensor x2 = (sigma1 / sigma) * std::exp(-r1 * a) * run.x - alpha1 * std::expm1(-r1 * h_eta) * denoised;
      if (noisy) x2 = x2 + sigma1 * n1 * s_noise;
      ASSIGN_OR_RETURN(const at::Tensor denoised2, run.Denoise(x2, sigma1));
      const float a32 = r2 / r1 * G(-r2 * h_eta), a31 = std::expm1(-r2 * h_eta) - a32;
      at::Tensor x3 = (sigma2 / sigma) * std::exp(-r2 * a) * run.x - alpha2 * (a31 * denoised + a32 * denoised2);
      if (noisy) x3 = x3 + sigma2 * n2 * s_noise;
      ASSIGN_OR_RETURN(const at::Tensor denoised3, run.Denoise(x3, sigma2));
      const float b3 = G(-h_eta) / r2, b1 = std::expm1(-h_eta) - b3;
      run.x = (next / sigma) * std::exp(-a) * run.x - alpha * (b1 * denoised + b3 * denoised3);
      if (noisy) run.x = run.x + next * n3 * s_noise;
    }
    return run.x;
  }
};
ATELIER_REGISTER_SAMPLER("seeds_3", 36, Seeds3{});

}  // namespace
}  // namespace atelier::engine
