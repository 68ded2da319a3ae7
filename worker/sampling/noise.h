// Gaussian noise as the reference draws it. Source: spec engine.md 4.8, 5.3.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "common/base/status.h"

namespace atelier::engine {

/// A fresh generator of `device` seeded with `seed` (Mersenne-Twister on the CPU, Philox on CUDA). Thread: any.
at::Generator MakeGenerator(const at::Device& device, uint64_t seed);

/// Standard normal f32 on `device` from `generator`. Thread: one at a time per generator.
at::Tensor Randn(at::IntArrayRef shape, at::Generator& generator, const at::Device& device);

/// The initial noise of a run, f32 on the CPU, of shape [B,...]: one draw of the whole batch, or with `batch_index` the
/// items' noises drawn one after the other from index 0. Errors: INVALID_ARGUMENT for an index below 0, above 2^16, or
/// a list whose length is not B. Thread: any.
StatusOr<at::Tensor> PrepareNoise(at::IntArrayRef shape, uint64_t seed,
                                  const std::optional<std::vector<int64_t>>& batch_index);

}  // namespace atelier::engine
