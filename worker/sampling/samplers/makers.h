// Samplers with settings of the caller's, for the Sampler* nodes. Each is defined in its sampler's file, with what the
// settings mean. s_noise scales the sampler's own noise, eta the part of it that a step replaces; 1 and 1 are what the
// plain names use. Source: spec engine.md 4.12, 5.5.
#pragma once

#include <cstdint>
#include <string>

#include "worker/sampling/sampler.h"

namespace atelier::engine {

SamplerType EulerAncestralSampler(double eta, double s_noise);
SamplerType EulerAncestralCfgPpSampler(double eta, double s_noise);
/// order: slopes remembered, 1..100.
SamplerType LmsSampler(int64_t order);
SamplerType Dpmpp2sAncestralSampler(double eta, double s_noise);
/// r: where in the step the second evaluation lies; noise_on_cpu: where the Brownian noise is drawn.
SamplerType DpmppSdeSampler(double eta, double s_noise, double r, bool noise_on_cpu);
SamplerType Dpmpp2mSdeSampler(double eta, double s_noise, bool heun, bool noise_on_cpu);
SamplerType Dpmpp3mSdeSampler(double eta, double s_noise, bool noise_on_cpu);

/// Settings of the adaptive DPM-Solver: its order (2 or 3), error tolerances, first step in log sigma, the gains of the
/// step size's controller and the factor below which a step is done again.
struct DpmAdaptiveSettings {
  int64_t order = 3;
  double rtol = 0.05, atol = 0.0078, h_init = 0.05, pcoeff = 0, icoeff = 1, dcoeff = 0, accept_safety = 0.81, eta = 0,
         s_noise = 1;
};
SamplerType DpmAdaptiveSampler(const DpmAdaptiveSettings& settings);

/// solver: "ER-SDE", "Reverse-time SDE" (the only one that looks at eta) or "ODE"; max_stage 1..3.
SamplerType ErSdeSampler(const std::string& solver, int64_t max_stage, double eta, double s_noise);

/// Settings of SA-Solver. Noise of strength eta is added at levels between sde_end and sde_start (sigmas).
struct SaSolverSettings {
  double eta = 1, sde_start = 0, sde_end = 0, s_noise = 1;
  int64_t predictor_order = 3, corrector_order = 4;  // 1..6, 0..6
  bool pece = false;                                 // evaluates again after the correction
  bool simple_order_2 = false;                       // leading terms only for the coefficients of order 2
};
SamplerType SaSolverSampler(const SaSolverSettings& settings);

}  // namespace atelier::engine
