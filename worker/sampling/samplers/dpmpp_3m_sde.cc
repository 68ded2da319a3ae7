// DPM-Solver++(3M) SDE with Brownian noise. Source: spec engine.md 5.5.
#include <cmath>

#include "worker/sampling/sampler.h"
#include "worker/sampling/samplers/makers.h"

namespace atelier::engine {
namespace {

struct Dpmpp3mSde {
  float eta = 1, s_noise = 1;
  bool on_cpu = true;

  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    run.OffsetFirstSigma();
    at::Tensor old1, old2;
    float h1 = 0, h2 = 0;
    for (size_t i = 0; i < run.steps(); ++i) {
      const float sigma = run.sigmas[i], next = run.sigmas[i + 1];
      ASSIGN_OR_RETURN(const at::Tensor denoised, run.DenoiseStep(i));
      float h = 0;
      if (next == 0) {
        run.x = denoised;
      } else {
        h = run.Lambda(next) - run.Lambda(sigma);
        const float h_eta = h * (eta + 1), alpha = run.Alpha(next);
        run.x = next / sigma * std::exp(-h * eta) * run.x + alpha * -std::expm1(-h_eta) * denoised;
        const float phi2 = std::expm1(-h_eta) / h_eta + 1;
        if (old2.defined()) {
          const float r0 = h1 / h, r1 = h2 / h;
          const at::Tensor d1_0 = (denoised - old1) / r0, d1_1 = (old1 - old2) / r1;
          const at::Tensor d1 = d1_0 + (d1_0 - d1_1) * r0 / (r0 + r1);
          const at::Tensor d2 = (d1_0 - d1_1) / (r0 + r1);
          const float phi3 = phi2 / h_eta - 0.5f;
          run.x = run.x + (alpha * phi2) * d1 - (alpha * phi3) * d2;
        } else if (old1.defined()) {
          run.x = run.x + (alpha * phi2) * ((denoised - old1) / (h1 / h));
        }
        if (eta > 0 && s_noise > 0)
          run.x =
              run.x + run.BrownianNoise(sigma, next, on_cpu) * next * std::sqrt(-std::expm1(-2 * h * eta)) * s_noise;
      }
      old2 = old1;
      old1 = denoised;
      h2 = h1;
      h1 = h;
    }
    return run.x;
  }
};
ATELIER_REGISTER_SAMPLER("dpmpp_3m_sde", 21, Dpmpp3mSde{});
ATELIER_REGISTER_SAMPLER("dpmpp_3m_sde_gpu", 22, Dpmpp3mSde{.on_cpu = false});

}  // namespace

SamplerType Dpmpp3mSdeSampler(double eta, double s_noise, bool noise_on_cpu) {
  return MakeSampler(Dpmpp3mSde{static_cast<float>(eta), static_cast<float>(s_noise), noise_on_cpu});
}

}  // namespace atelier::engine
