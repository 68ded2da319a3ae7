// DPM-Solver++(2M) SDE with Brownian noise, midpoint or Heun form. Source: spec engine.md 5.5.
#include <cmath>

#include "worker/sampling/sampler.h"
#include "worker/sampling/samplers/makers.h"

namespace atelier::engine {
namespace {

struct Dpmpp2mSde {
  float eta = 1, s_noise = 1;
  bool heun = false;
  bool on_cpu = true;

  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    run.OffsetFirstSigma();
    at::Tensor old;
    float h_last = 0;
    for (size_t i = 0; i < run.steps(); ++i) {
      const float sigma = run.sigmas[i], next = run.sigmas[i + 1];
      ASSIGN_OR_RETURN(const at::Tensor denoised, run.DenoiseStep(i));
      if (next == 0) {
        run.x = denoised;
      } else {
        const float h = run.Lambda(next) - run.Lambda(sigma), h_eta = h * (eta + 1);
        const float alpha = run.Alpha(next), decay = -std::expm1(-h_eta);
        run.x = next / sigma * std::exp(-h * eta) * run.x + alpha * decay * denoised;
        if (old.defined()) {
          const float r = h_last / h;
          const float weight = heun ? alpha * (decay / -h_eta + 1) * (1 / r) : 0.5f * alpha * decay * (1 / r);
          run.x = run.x + weight * (denoised - old);
        }
        if (eta > 0 && s_noise > 0)
          run.x =
              run.x + run.BrownianNoise(sigma, next, on_cpu) * next * std::sqrt(-std::expm1(-2 * h * eta)) * s_noise;
        h_last = h;
      }
      old = denoised;
    }
    return run.x;
  }
};
ATELIER_REGISTER_SAMPLER("dpmpp_2m_sde", 17, Dpmpp2mSde{});
ATELIER_REGISTER_SAMPLER("dpmpp_2m_sde_gpu", 18, Dpmpp2mSde{.on_cpu = false});
ATELIER_REGISTER_SAMPLER("dpmpp_2m_sde_heun", 19, Dpmpp2mSde{.heun = true});
ATELIER_REGISTER_SAMPLER("dpmpp_2m_sde_heun_gpu", 20, Dpmpp2mSde{.heun = true, .on_cpu = false});

}  // namespace

SamplerType Dpmpp2mSdeSampler(double eta, double s_noise, bool heun, bool noise_on_cpu) {
  return MakeSampler(Dpmpp2mSde{static_cast<float>(eta), static_cast<float>(s_noise), heun, noise_on_cpu});
}

}  // namespace atelier::engine
