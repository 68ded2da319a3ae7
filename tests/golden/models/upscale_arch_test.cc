#include <catch2/catch.hpp>
#include <cstdio>

#include "tests/golden/golden_data.h"
#include "worker/models/loaders.h"

namespace atelier {
namespace {

TEST_CASE("upscale architectures give the golden output") {
  const c10::InferenceMode inference;
  engine::Engine engine({});
  int checked = 0;
  for (const auto& entry : std::filesystem::directory_iterator(golden::Root() + "/upscale_arch")) {
    if (!entry.is_directory()) continue;
    const std::string name = entry.path().filename();
    INFO(name);
    auto network = models::LoadUpscaler(golden::Models() + "/upscale_models/tiny_" + name + ".safetensors", engine);
    INFO(network.status().ToString());
    REQUIRE(network.ok());
    const auto io = golden::ReadTensors(entry.path().string() + "/io.safetensors");
    const double tolerance = name == "span_norm" ? 5e-4 : 2e-5;  // its range of 255 multiplies rounding
    double worst = 0;
    for (int i = 0; io.count(Cat("in", i)) > 0; ++i) {
      const at::Tensor raw = (*network)->Forward(io.at(Cat("in", i)));
      worst = std::max(worst, golden::MaxDiff(raw, io.at(Cat("raw", i))));
      CHECK(golden::MaxDiff(raw.clamp(0, 1), io.at(Cat("out", i))) <= tolerance);
      ++checked;
    }
    std::printf("%s: difference %.2g\n", name.c_str(), worst);
    CHECK(worst <= tolerance);
  }
  CHECK(checked >= 13);
}

}  // namespace
}  // namespace atelier
