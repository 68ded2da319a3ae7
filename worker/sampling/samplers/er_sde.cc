// Extended reverse-time SDE solver, up to three stages. Source: spec engine.md 5.5.
#include <cmath>
#include <optional>

#include "worker/sampling/sampler.h"
#include "worker/sampling/samplers/makers.h"

namespace atelier::engine {
namespace {

struct ErSde {
  int64_t max_stage = 3;
  float s_noise = 1;
  std::optional<double> power;  // the scale is v^power instead of the ER-SDE one

  double Scale(double v) const { return power ? std::pow(v, *power) : v * (std::exp(std::pow(v, 0.3)) + 10.0); }

  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    constexpr int kPoints = 200;
    run.OffsetFirstSigma();
    std::vector<double> lambdas;  // sigma / alpha
    for (const float sigma : run.sigmas)
      lambdas.push_back(sigma == 0 ? 0.0 : std::exp(-static_cast<double>(run.Lambda(sigma))));
    at::Tensor old, old_slope;
    for (size_t i = 0; i < run.steps(); ++i) {
      const float sigma = run.sigmas[i], next = run.sigmas[i + 1];
      ASSIGN_OR_RETURN(const at::Tensor denoised, run.DenoiseStep(i));
      if (next == 0) {
        run.x = denoised;
        old = denoised;
        continue;
      }
      const double from = lambdas[i], to = lambdas[i + 1];
      const double alpha_from = sigma / from, alpha = next / to, ratio = alpha / alpha_from;
      const double r = Scale(to) / Scale(from);
      run.x = ratio * r * run.x + alpha * (1 - r) * denoised;
      at::Tensor slope;
      if (max_stage >= 2 && old.defined()) {
        const double dt = to - from, width = -dt / kPoints;
        double s = 0, s_u = 0;
        for (int k = 0; k < kPoints; ++k) {
          const double p = to + k * width;
          s += width / Scale(p);
          s_u += (p - from) * width / Scale(p);
        }
        slope = (denoised - old) / (from - lambdas[i - 1]);
        run.x = run.x + alpha * (dt + s * Scale(to)) * slope;
        if (max_stage >= 3 && old_slope.defined()) {
          const at::Tensor curve = (slope - old_slope) / ((from - lambdas[i - 2]) / 2);
          run.x = run.x + alpha * (dt * dt / 2 + s_u * Scale(to)) * curve;
        }
      }
      if (s_noise > 0) {
        const double variance = to * to - from * from * r * r;
        run.x = run.x + alpha * run.Noise() * s_noise * (variance > 0 ? std::sqrt(variance) : 0.0);
      }
      old = denoised;
      old_slope = slope;
    }
    return run.x;
  }
};
ATELIER_REGISTER_SAMPLER("er_sde", 34, ErSde{});

}  // namespace

SamplerType ErSdeSampler(const std::string& solver, int64_t max_stage, double eta, double s_noise) {
  ErSde sampler{max_stage, static_cast<float>(s_noise), std::nullopt};
  if (solver == "ODE" || (solver == "Reverse-time SDE" && eta == 0)) {
    sampler.s_noise = 0;
    sampler.power = 1.0;
  } else if (solver == "Reverse-time SDE") {
    sampler.power = eta + 1;
  }
  return MakeSampler(sampler);
}

}  // namespace atelier::engine
