#include "worker/sampling/brownian.h"

#include <catch2/catch.hpp>

namespace atelier::engine {
namespace {

TEST_CASE("SeedSequence words are numpy's") {
  CHECK(SeedSequenceWord(1, {}) == 1562320788u);
  CHECK(SeedSequenceWord(42, {5, 3}) == 3084123560u);
  CHECK(SeedSequenceWord(123456789012345, {0, 0}) == 969930862u);
}

TEST_CASE("increments of a Brownian path add up and do not depend on other queries") {
  const BrownianTree tree({1, 4, 8, 8}, 7, 0.03f, 14.0f, at::kCPU);
  auto increment = [&tree](float from, float to) { return tree.Noise(from, to) * std::sqrt(std::fabs(to - from)); };
  const at::Tensor whole = increment(8.0f, 2.0f), upper = increment(8.0f, 5.0f), lower = increment(5.0f, 2.0f);
  CHECK(at::allclose(whole, upper + lower, 1e-4, 1e-4));
  CHECK(at::equal(whole, increment(8.0f, 2.0f)));
  CHECK(at::equal(-tree.Noise(2.0f, 8.0f), tree.Noise(8.0f, 2.0f)));
  CHECK(tree.Noise(5.0f, 5.0f).abs().max().item<float>() == 0);
}

TEST_CASE("Brownian noise has unit variance") {
  const BrownianTree tree({1, 4, 64, 64}, 3, 0.03f, 14.0f, at::kCPU);
  const at::Tensor noise = tree.Noise(6.0f, 2.5f);
  CHECK(std::fabs(noise.mean().item<float>()) < 0.05f);
  CHECK(noise.std().item<float>() == Approx(1.0).margin(0.05));
}

}  // namespace
}  // namespace atelier::engine
