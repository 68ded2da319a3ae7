#include <catch2/catch.hpp>
#include <cstdio>

#include "tests/golden/golden_data.h"
#include "worker/models/flux.h"
#include "worker/models/mmdit.h"

namespace atelier {
namespace {

engine::WeightSource Weights(const std::string& name) {
  auto file = engine::WeightSource::Open(golden::Models() + "/diffusion_models/" + name + ".safetensors");
  REQUIRE(file.ok());
  return file->HasPrefix("model.diffusion_model.") ? file->Prefixed("model.diffusion_model.") : *file;
}

TEST_CASE("diffusion transformers give the golden output") {
  const c10::InferenceMode inference;
  engine::Engine engine({});
  int checked = 0;
  for (const Json& item : golden::Cases("module_forward")) {
    const std::string id = item["id"];
    const bool flux = id.starts_with("tiny_flux"), sd3 = id.starts_with("tiny_sd3_") || id.starts_with("tiny_sd35");
    if (!flux && !sd3) continue;
    INFO(id);
    const engine::WeightSource weights = Weights(id.substr(0, id.rfind('_')));
    auto network = flux ? models::BuildFlux(weights, engine) : models::BuildMmdit(weights, engine);
    if (!network.ok()) UNSCOPED_INFO(network.status().ToString());
    REQUIRE(network.ok());
    const auto io = golden::Tensors(item["files"][0]);
    engine::ModelCallInputs inputs;
    inputs.context = io.Find("in.context");
    // The rest of an SD3 context is zeros and not stored.
    if (sd3) inputs.context = at::constant_pad_nd(io.Find("in.context_first192"), {0, 4096 - 192});
    inputs.y = io.Find("in.y");
    inputs.guidance = io.Find("in.guidance");
    const at::Tensor out = (*network)->Forward(io.Find("in.x"), io.Find("in.t"), inputs);
    const double diff = golden::MaxDiff(out, io.Find("out"));
    std::printf("%s: difference %.2g\n", id.c_str(), diff);
    CHECK(diff <= item["tolerance_abs"].get<double>());
    ++checked;
  }
  CHECK(checked >= 8);
}

}  // namespace
}  // namespace atelier
