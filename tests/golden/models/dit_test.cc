#include <catch2/catch.hpp>
#include <cstdio>

#include "tests/golden/golden_data.h"
#include "worker/models/flux.h"
#include "worker/models/mmdit.h"
#include "worker/models/text_files.h"
#include "worker/models/wan.h"

namespace atelier {
namespace {

engine::WeightSource Weights(const std::string& name) {
  auto file = engine::WeightSource::Open(golden::Models() + "/diffusion_models/" + name + ".safetensors");
  REQUIRE(file.ok());
  return file->HasPrefix("model.diffusion_model.") ? file->Prefixed("model.diffusion_model.") : *file;
}

std::string StripEnding(const std::string& file) { return file.substr(0, file.rfind('.')); }

TEST_CASE("diffusion transformers give the golden output") {
  const c10::InferenceMode inference;
  engine::Engine engine({});
  int checked = 0;
  for (const Json& item : golden::Cases("module_forward")) {
    const std::string id = item["id"];
    const bool flux = id.starts_with("tiny_flux"), sd3 = id.starts_with("tiny_sd3_") || id.starts_with("tiny_sd35");
    const bool wan = id.starts_with("tiny_wan");
    if (!flux && !sd3 && !wan) continue;
    INFO(id);
    const engine::WeightSource weights = Weights(StripEnding(item["models"][0]));
    auto network = flux  ? models::BuildFlux(weights, engine)
                   : sd3 ? models::BuildMmdit(weights, engine)
                         : models::BuildWan(weights, engine);
    if (!network.ok()) UNSCOPED_INFO(network.status().ToString());
    REQUIRE(network.ok());
    const auto io = golden::Tensors(item["files"][0]);
    engine::ModelCallInputs inputs;
    inputs.context = io.Find("in.context");
    // The rest of an SD3 context is zeros and not stored.
    if (sd3) inputs.context = at::constant_pad_nd(io.Find("in.context_first192"), {0, 4096 - 192});
    inputs.y = io.Find("in.y");
    inputs.guidance = io.Find("in.guidance");
    inputs.clip_vision = io.Find("in.clip_fea");
    const at::Tensor out = (*network)->Forward(io.Find("in.x"), io.Find("in.t"), inputs);
    const double diff = golden::MaxDiff(out, io.Find("out"));
    std::printf("%s: difference %.2g\n", id.c_str(), diff);
    CHECK(diff <= item["tolerance_abs"].get<double>());
    ++checked;
  }
  CHECK(checked >= 15);
}

// What a loader node of the workflow names, as LoadTextEncoder takes it.
std::shared_ptr<const engine::TextEncoder> EncoderOf(const Json& loader, engine::Engine& engine) {
  std::vector<std::string> paths;
  for (const auto& [key, value] : loader["inputs"].items()) {
    if (key.starts_with("clip_name")) paths.push_back(golden::Models() + "/text_encoders/" + value.get<std::string>());
  }
  auto encoder = models::LoadTextEncoder(paths, loader["inputs"]["type"], engine);
  if (!encoder.ok()) UNSCOPED_INFO(encoder.status().ToString());
  REQUIRE(encoder.ok());
  return *encoder;
}

TEST_CASE("sets of text encoders give the golden conditionings") {
  engine::Engine engine({});
  int checked = 0;
  for (const char* group : {"t5_encoder", "sd3"}) {
    for (const Json& item : golden::Cases(group)) {
      const std::string file = item["files"][0];
      if (!file.ends_with("cond.cond.safetensors")) continue;
      INFO(file);
      const Json prompt = golden::ReadJson(golden::Root() + "/" + item["workflow"].get<std::string>());
      const auto encoder = EncoderOf(prompt["1"], engine);
      const auto got = encoder->Encode(prompt["2"]["inputs"]["text"], 0);
      if (!got.ok()) UNSCOPED_INFO(got.status().ToString());
      REQUIRE(got.ok());
      const auto want = golden::Tensors(file);
      const engine::CondEntry& entry = got->entries.at(0);
      double diff = golden::MaxDiff(entry.cond, want.Find("0.cond"));
      if (want.Has("0.pooled_output"))
        diff = std::max(diff, golden::MaxDiff(entry.tensors.at("pooled_output"), want.Find("0.pooled_output")));
      std::printf("%s: difference %.2g\n", file.c_str(), diff);
      CHECK(diff <= item["tolerance_abs"].get<double>());
      ++checked;
    }
  }
  CHECK(checked >= 11);
}

TEST_CASE("text encoders that do not fit are named") {
  engine::Engine engine({});
  const std::string folder = golden::Models() + "/text_encoders/";
  const auto expect = [&](const std::vector<std::string>& names, const std::string& type, const std::string& word) {
    std::vector<std::string> paths;
    for (const std::string& name : names) paths.push_back(folder + name);
    const Status status = models::LoadTextEncoder(paths, type, engine).status();
    INFO(status.ToString());
    CHECK(status.code() == StatusCode::kInvalidArgument);
    CHECK(Message(status).find(word) != std::string::npos);
  };
  expect({"tiny_clip_l.safetensors", "tiny_clip_l.safetensors"}, "flux", "another chosen file");
  expect({"tiny_clip_l.safetensors", "tiny_clip_g.safetensors"}, "flux", "t5");
  expect({"tiny_t5xxl.safetensors"}, "stable_diffusion", "CLIP");
  expect({"tiny_t5xxl.safetensors"}, "lumina2", "lumina2");
  expect({"../vae/tiny_vae16.safetensors"}, "sd3", "known kind");
}

}  // namespace
}  // namespace atelier
