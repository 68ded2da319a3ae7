// A Brownian path over the noise levels of a run, so that a stochastic sampler's noise between two levels does not
// depend on the levels visited before. Source: spec engine.md 5.3.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace atelier::engine {

/// First word that numpy's SeedSequence(entropy, spawn_key, pool_size=24) generates. Thread: any.
uint32_t SeedSequenceWord(uint64_t entropy, const std::vector<uint64_t>& spawn_key);

/// Bit-exact re-implementation of the reference's tree. Thread: const any.
class BrownianTree {
 public:
  /// Bounds are noise levels (f32); `device` is where node noises are drawn and increments returned.
  BrownianTree(std::vector<int64_t> shape, uint64_t seed, float low, float high, const at::Device& device);
  /// Unit-variance noise f32 for a move from `sigma` to `next` (either order); zeros when they round to the same level.
  at::Tensor Noise(float sigma, float next) const;

 private:
  void Collect(double a, double b, const at::Tensor& w, uint64_t key, uint64_t depth, double low, double high,
               at::Tensor& sum) const;
  at::Tensor Draw(uint32_t seed) const;

  std::vector<int64_t> shape_;
  uint64_t seed_;
  at::Device device_;
  double low_, high_;
  at::Tensor whole_;
};

}  // namespace atelier::engine
