// What a worker keeps of a prompt between tasks, with the real nodes: which of them run again, and what is held.
#include <catch2/catch.hpp>
#include <set>

#include "common/base/registry.h"
#include "common/executor/executor.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

class Host : public ExecutorHost {
 public:
  StatusOr<std::shared_ptr<const std::string>> Blob(const std::string& hash) override { return NotFound(hash); }
  StatusOr<std::string> ModelPath(std::string_view, std::string_view name) override { return NotFound(name); }
  std::string ModelIdentity(std::string_view, std::string_view) override { return ""; }
  bool cancelled() const override { return false; }
  void Progress(const std::string& node, int64_t step, int64_t, const std::function<std::string()>&) override {
    if (step == 0) ran.insert(node);
  }
  void Warn(const std::string&, const std::string&) override {}
  double Seconds() const override { return 0; }
  std::set<std::string> ran;
};

int64_t Size(std::string_view type, const Value& value) {
  const ValueSize* size = Registry<ValueSize>::Get().Find(type);
  REQUIRE(size != nullptr);
  return size->bytes(value);
}

TEST_CASE("a value counts with the memory that it keeps alive") {
  const at::Tensor batch = at::zeros({8, 16, 16, 3});
  const int64_t all = 8 * 16 * 16 * 3 * 4;
  CHECK(Size("IMAGE", Value::Of<Image>("IMAGE", Image{batch})) == all);
  CHECK(Size("IMAGE", Value::Of<Image>("IMAGE", Image{batch.narrow(0, 3, 1)})) == all);
  CHECK(Size("SIGMAS", Value::Of<engine::Sigmas>("SIGMAS", engine::Sigmas{at::zeros({21})})) == 84);
  Conditioning conditioning;
  conditioning.entries.resize(2);
  for (CondEntry& entry : conditioning.entries) {
    entry.cond = at::zeros({1, 77, 768});
    entry.tensors["pooled_output"] = at::zeros({1, 1280});
  }
  CHECK(Size("CONDITIONING", Value::Of<Conditioning>("CONDITIONING", conditioning)) == 2 * (77 * 768 + 1280) * 4);
}

// A picture, enlarged and inverted.
Fragment Pictures(int64_t color, double scale) {
  Fragment fragment;
  fragment.nodes =
      Json{{"1",
            {{"class_type", "EmptyImage"},
             {"inputs", {{"width", 64}, {"height", 64}, {"batch_size", 4}, {"color", color}}}}},
           {"2",
            {{"class_type", "ImageScaleBy"},
             {"inputs", {{"image", Json::array({"1", 0})}, {"upscale_method", "bicubic"}, {"scale_by", scale}}}}},
           {"3", {{"class_type", "ImageInvert"}, {"inputs", {{"image", Json::array({"2", 0})}}}}}};
  fragment.wanted = {{"3", 0, ""}};
  return fragment;
}

std::set<std::string> Ran(Executor& executor, const Fragment& fragment) {
  Host host;
  const auto result = executor.Run(fragment, host);
  INFO(result.status().ToString());
  REQUIRE(result.ok());
  return host.ran;
}

TEST_CASE("the unchanged part of the next task or job does not run, within the bytes that are set") {
  using Ids = std::set<std::string>;
  Executor executor;
  CHECK(Ran(executor, Pictures(0x102030, 2.0)) == Ids{"1", "2", "3"});
  CHECK(Ran(executor, Pictures(0x102030, 2.0)).empty());
  CHECK(Ran(executor, Pictures(0x102030, 3.0)) == Ids{"2", "3"});
  CHECK(Ran(executor, Pictures(0x102031, 3.0)) == Ids{"1", "2", "3"});
  CHECK(Ran(executor, Pictures(0x102030, 2.0)).empty());  // still there
  // 64x64x3 in float32 and four of them are 192 KiB; 128x128 768 KiB.
  Executor small({.cache_bytes_max = 512 << 10});
  for (int i = 0; i < 5; ++i) {
    Ran(small, Pictures(i, 2.0));
    CHECK(small.cache_bytes() <= 512 << 10);
  }
  CHECK(small.cache_bytes() == 2 * (192 << 10));  // the small pictures of the last two; larger ones are not kept
  CHECK(Ran(small, Pictures(4, 2.0)) == Ids{"2", "3"});
  Executor none({.cache_bytes_max = 0});
  Ran(none, Pictures(1, 2.0));
  CHECK(Ran(none, Pictures(1, 2.0)) == Ids{"1", "2", "3"});
  CHECK(none.cache_bytes() == 0);
}

}  // namespace
}  // namespace atelier::nodes
