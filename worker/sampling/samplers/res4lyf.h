// The res_* and deis_* samplers with settings of the caller's. Source: spec res4lyf.md 3, 8.
#pragma once

#include <cstdint>
#include <string>

#include "worker/sampling/sampler.h"

namespace atelier::engine {

/// A solver's name (RkMethods()), the share of noise that a step and a stage replace, whether the base point is fitted
/// anew to a noised stage, and the seeds of the two noises.
struct RkSettings {
  std::string kind = "res_2m";
  double eta = 0.5, eta_substep = 0.5;
  bool bongmath = true;
  uint64_t step_seed = UINT64_MAX, substep_seed = 9999;  // the plain names' own, whatever the node's seed is
};

/// Errors when it runs: INVALID_ARGUMENT for an unknown kind or levels that start at 0.
SamplerType RkSampler(const RkSettings& settings);

/// randn f64 of `shape` from `generator`, normalised as a whole and then in each plane of the last two dimensions.
/// Source: spec res4lyf.md 3.1. May throw what torch throws.
at::Tensor NormalizedNoise(at::IntArrayRef shape, at::Generator& generator, const at::Device& device);

}  // namespace atelier::engine
