#include "worker/engine/weight_stream.h"

#include <catch2/catch.hpp>
#include <new>
#include <random>

#include "tests/harness/limited_memory.h"
#include "worker/engine/guard.h"
#include "worker/engine/residency.h"

namespace atelier::engine {
namespace {

TEST_CASE("a plan streams as few blocks as its bound allows") {
  const std::vector<int64_t> sizes(64, 10);
  const StreamPlan all = PlanStream(sizes, 640);
  CHECK(all.resident_bytes == 640);
  CHECK(all.pool_bytes == 0);
  for (const int64_t bound : {639, 400, 320, 200}) {
    INFO(bound);
    const StreamPlan plan = PlanStream(sizes, bound);
    CHECK(plan.resident_bytes + plan.pool_bytes <= bound);
    CHECK(plan.pool_bytes > 0);
    // One block more would be over it.
    CHECK(plan.resident_bytes + plan.pool_bytes + plan.blocks[0].bytes + 10 * static_cast<int64_t>(plan.blocks.size()) >
          bound);
    size_t next = 0;
    int64_t resident = 0, largest = 0, bytes = 0;
    for (const StreamPlan::Block& block : plan.blocks) {
      CHECK(block.begin == next);
      CHECK(block.bytes == 10 * static_cast<int64_t>(block.end - block.begin));
      next = block.end;
      bytes += block.bytes;
      if (block.streamed) {
        largest = std::max(largest, block.bytes);
      } else {
        resident += block.bytes;
      }
    }
    CHECK(next == sizes.size());
    CHECK(bytes == 640);
    CHECK(resident == plan.resident_bytes);
    CHECK(plan.pool_bytes == std::min(3 * largest, 640 - resident));
  }
  // Spread evenly over both halves.
  const StreamPlan half = PlanStream(sizes, 420);
  int difference = 0;
  for (size_t i = 0; i < half.blocks.size(); ++i)
    if (half.blocks[i].streamed) difference += i < half.blocks.size() / 2 ? 1 : -1;
  CHECK(std::abs(difference) <= 2);
  // Where nothing fits, one parameter at a time.
  const StreamPlan none = PlanStream(sizes, 1);
  CHECK(none.blocks.size() == 64);
  CHECK(none.resident_bytes == 0);
  CHECK(none.pool_bytes == 30);
}

// A set of float16 parameters that are float32 once they are loaded, 4 KiB each; parameter i is full of i.
struct Network {
  explicit Network(int64_t bytes_max, int count = 48)
      : residency(std::make_shared<Residency>(bytes_max)), set(at::kCPU, Part::kDiffusion, residency) {
    for (int i = 0; i < count; ++i) params.push_back(set.Add(at::full({1024}, i, at::kHalf)));
  }
  bool Right(size_t i) const {
    const at::Tensor got = params[i]->As(at::kFloat);
    return got.numel() == 1024 && (got == static_cast<double>(i)).all().item<bool>();
  }
  // Parameters that hold memory now.
  int64_t Held() const {
    int64_t held = 0;
    for (const Param& param : params) held += param->live.defined() ? 4096 : 0;
    return held;
  }

  std::shared_ptr<Residency> residency;
  ParamSet set;
  std::vector<Param> params;
};

TEST_CASE("a set that fits is loaded whole, a larger one is streamed within its bound, in any order") {
  const c10::InferenceMode inference;
  Network whole(48 * 4096);
  whole.set.Load();
  CHECK(whole.set.stream() == nullptr);
  CHECK(whole.Held() == 48 * 4096);
  for (const int64_t bound : {40 * 4096, 24 * 4096, 8 * 4096, 1}) {
    INFO(bound);
    Network network(bound);
    network.set.Load();
    const WeightStream* stream = network.set.stream();
    REQUIRE(stream != nullptr);
    const int64_t most = std::max<int64_t>(bound, 3 * 4096);
    CHECK(network.set.live_bytes() <= most);
    CHECK(network.residency->bytes() == network.set.live_bytes());
    const size_t n = network.params.size();
    size_t streamed = 0;
    for (const StreamPlan::Block& block : stream->plan().blocks) streamed += block.streamed ? 1 : 0;
    // In the order of their use each comes once a round, the first of the next round ahead.
    for (int round = 0; round < 3; ++round) {
      network.set.Load();
      for (size_t i = 0; i < n; ++i) CHECK(network.Right(i));
    }
    CHECK(stream->brought() <= static_cast<int64_t>(3 * streamed + 1));
    if (streamed > 3) CHECK(stream->brought() >= static_cast<int64_t>(3 * streamed));
    for (size_t i = n; i-- > 0;) CHECK(network.Right(i));
    std::mt19937 random(1);
    for (int i = 0; i < 300; ++i) CHECK(network.Right(random() % n));
    // A tensor that is held outlives its place in the pool.
    const at::Tensor first = network.params[0]->As(at::kFloat);
    for (size_t i = 1; i < n; ++i) CHECK(network.Right(i));
    CHECK(first.eq(0).all().item<bool>());
    CHECK(stream->peak_bytes() <= most);
    CHECK(network.set.stream() == stream);  // loaded once
    network.set.Unload();
    CHECK(network.Held() == 0);
    network.set.Load();
    CHECK(network.Right(n - 1));
  }
}

TEST_CASE("a streamed set makes room as another one does") {
  const c10::InferenceMode inference;
  const auto residency = std::make_shared<Residency>(16 * 4096);
  ParamSet small(at::kCPU, Part::kDiffusion, residency), large(at::kCPU, Part::kDiffusion, residency);
  const Param one = small.Add(at::ones({1024}, at::kHalf));
  std::vector<Param> many;
  for (int i = 0; i < 40; ++i) many.push_back(large.Add(at::full({1024}, i, at::kHalf)));
  small.Load();
  large.Load();
  CHECK(residency->bytes() <= 16 * 4096);
  const bool beside = small.loaded();
  CHECK(beside == (large.live_bytes() + small.live_bytes() <= 16 * 4096));
  small.Load();
  CHECK(one->As(at::kFloat).sum().item<float>() == 1024);
  CHECK(residency->bytes() <= 16 * 4096);
}

TEST_CASE("a set that memory runs out for while it is loaded is streamed; others are unloaded first") {
  const c10::InferenceMode inference;
  Network network(int64_t{1} << 40);
  ParamSet other(at::kCPU, Part::kDiffusion, network.residency);
  const Param one = other.Add(at::ones({1024}, at::kHalf));
  other.Load();
  const test::LimitedMemory limit(36 * 4096);
  network.set.Load();
  CHECK(limit.refused() > 0);
  CHECK_FALSE(other.loaded());
  REQUIRE(network.set.stream() != nullptr);
  CHECK(network.set.live_bytes() <= 24 * 4096);  // half of what was tried
  CHECK(network.residency->bytes() == network.set.live_bytes());
  for (int round = 0; round < 2; ++round)
    for (size_t i = 0; i < network.params.size(); ++i) CHECK(network.Right(i));
  network.set.Unload();
  const Status none = Guard([&] {
    const test::LimitedMemory nothing(64);
    network.set.Load();
    network.params[0]->As(at::kFloat);
  });
  CHECK(none.code() == StatusCode::kResourceExhausted);
}

TEST_CASE("an error on the way is thrown where the parameter is used; the next try begins anew") {
  const c10::InferenceMode inference;
  const auto residency = std::make_shared<Residency>(4 * 4096);
  ParamSet set(at::kCPU, Part::kDiffusion, residency);
  bool fails = true;
  std::vector<Param> params;
  for (int i = 0; i < 24; ++i) {
    WeightExtras extras;
    extras.patches.emplace_back([i, &fails](const at::Tensor& weight) {
      if (i == 12 && fails) throw std::bad_alloc();
      return weight + 1;
    });
    params.push_back(set.Add(at::full({1024}, i, at::kHalf), &extras));
  }
  set.Load();
  for (size_t i = 0; i < 12; ++i) CHECK(params[i]->As(at::kFloat)[0].item<float>() == static_cast<float>(i + 1));
  for (int tries = 0; tries < 2; ++tries) {
    const Status status = Guard([&] { params[12]->As(at::kFloat); });
    CHECK(status.code() == StatusCode::kResourceExhausted);
  }
  fails = false;  // nothing is being brought: the last try has ended
  for (size_t i = 12; i < 24; ++i) CHECK(params[i]->As(at::kFloat)[0].item<float>() == static_cast<float>(i + 1));
}

}  // namespace
}  // namespace atelier::engine
