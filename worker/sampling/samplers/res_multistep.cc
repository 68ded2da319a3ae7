// Second-order residual multistep, with and without ancestral noise. Source: spec engine.md 5.5.
#include <cmath>

#include "worker/sampling/sampler.h"

namespace atelier::engine {
namespace {

struct ResMultistep {
  float eta = 0, s_noise = 1;
  bool cfg_pp = false;

  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    at::Tensor old;      // the prediction of the step before: the negative one for cfg_pp
    float old_down = 0;  // where that step went, before its noise
    auto t_of = [](float sigma) { return -std::log(sigma); };
    for (size_t i = 0; i < run.steps(); ++i) {
      const float sigma = run.sigmas[i], next = run.sigmas[i + 1];
      ASSIGN_OR_RETURN(const at::Tensor denoised, run.DenoiseStep(i));
      const auto [down, up] = Ancestral(sigma, next, eta);
      if (down == 0 || !old.defined()) {
        if (cfg_pp)
          run.x = denoised + Slope(run.x, sigma, run.negative()) * down;
        else
          run.x = run.x + Slope(run.x, sigma, denoised) * (down - sigma);
      } else {
        const float t = t_of(sigma), t_old = t_of(old_down), t_next = t_of(down), t_prev = t_of(run.sigmas[i - 1]);
        const float h = t_next - t, c2 = (t_prev - t_old) / h;
        const float phi1 = std::expm1(-h) / -h, phi2 = (phi1 - 1) / -h;
        const float b1 = std::isnan(phi1 - phi2 / c2) ? 0 : phi1 - phi2 / c2,
                    b2 = std::isnan(phi2 / c2) ? 0 : phi2 / c2;
        if (cfg_pp) run.x = run.x + (denoised - run.negative());
        const at::Tensor& newest = cfg_pp ? run.negative() : denoised;
        run.x = std::exp(-h) * run.x + h * (b1 * newest + b2 * old);
      }
      if (next > 0) run.x = run.x + run.Noise() * s_noise * up;
      old = cfg_pp ? run.negative() : denoised;
      old_down = down;
    }
    return run.x;
  }
};
ATELIER_REGISTER_SAMPLER("res_multistep", 28, ResMultistep{});
ATELIER_REGISTER_SAMPLER("res_multistep_cfg_pp", 29, ResMultistep{.cfg_pp = true},
                         SamplerTraits{.needs_negative = true});
ATELIER_REGISTER_SAMPLER("res_multistep_ancestral", 30, ResMultistep{.eta = 1});
ATELIER_REGISTER_SAMPLER("res_multistep_ancestral_cfg_pp", 31, ResMultistep{.eta = 1, .cfg_pp = true},
                         SamplerTraits{.needs_negative = true});

}  // namespace
}  // namespace atelier::engine
