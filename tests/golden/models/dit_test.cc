#include <catch2/catch.hpp>
#include <cstdio>

#include "tests/golden/golden_data.h"
#include "worker/models/adapter.h"
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

TEST_CASE("weights of a FLUX context's tokens bias the attention to them") {
  const c10::InferenceMode inference;
  engine::Engine engine({});
  auto network = models::BuildFlux(Weights("tiny_flux_dev"), engine);
  if (!network.ok()) UNSCOPED_INFO(network.status().ToString());
  REQUIRE(network.ok());
  const auto io = golden::Tensors("module_forward/tiny_flux_dev_21/io.safetensors");
  engine::ModelCallInputs inputs;
  inputs.y = io.Find("in.y");
  inputs.guidance = io.Find("in.guidance");
  const at::Tensor whole = io.Find("in.context");
  const int64_t tokens = whole.size(1), kept = tokens - 5;
  const auto forward = [&](const at::Tensor& context, const at::Tensor& weights) {
    inputs.context = context;
    inputs.attention_mask = weights;
    return (*network)->Forward(io.Find("in.x"), io.Find("in.t"), inputs);
  };
  at::Tensor weights = at::ones({1, tokens});
  const at::Tensor plain = forward(whole, {});
  CHECK(golden::MaxDiff(forward(whole, weights), plain) < 1e-4);
  weights.narrow(1, kept, 5).fill_(0.3);
  const at::Tensor fewer = forward(whole, weights), without = forward(whole.narrow(1, 0, kept), {});
  CHECK(golden::MaxDiff(fewer, plain) > 1e-3);
  // Nobody else looks at a token of weight 0.
  weights.narrow(1, kept, 5).fill_(0.0);
  CHECK(golden::MaxDiff(forward(whole, weights), without) < 1e-4);
  CHECK(golden::MaxDiff(fewer, without) > 1e-3);
  CHECK_THROWS(forward(whole, at::ones({1, kept})));
}

TEST_CASE("an adapter widens FLUX's input for a control picture") {
  const c10::InferenceMode inference;
  engine::Engine engine({});
  const engine::WeightSource weights = Weights("tiny_flux_dev");
  const at::Tensor own = weights.Find("img_in.weight").to(at::kFloat);
  const int64_t hidden = own.size(0), columns = own.size(1);
  const at::Tensor up = at::randn({hidden, 2}) * 0.1, down = at::randn({2, 2 * columns}) * 0.1;
  models::AdapterFile file{engine::WeightSource(
      "adapter", {{"diffusion_model.img_in.lora_B.weight", up},
                  {"diffusion_model.img_in.lora_A.weight", down},
                  {"diffusion_model.img_in.reshape_weight", at::tensor({hidden, 2 * columns}, at::kLong)}})};
  const auto changes = models::ReadAdapter(file, models::AdapterNaming::Side::kDiffusion, weights, 1.0);
  CHECK(file.Unused().empty());
  CHECK(changes.misfits.empty());
  engine::WeightSource::Tensors wider = weights.tensors();
  wider["img_in.weight"] = at::constant_pad_nd(own, {0, columns}) + up.mm(down);
  const auto io = golden::Tensors("module_forward/tiny_flux_dev_21/io.safetensors");
  engine::ModelCallInputs inputs;
  inputs.context = io.Find("in.context");
  inputs.y = io.Find("in.y");
  inputs.guidance = io.Find("in.guidance");
  inputs.c_concat = at::randn_like(io.Find("in.x"));
  std::vector<at::Tensor> outs;
  for (const engine::WeightSource& source :
       {weights.Patched(changes.patches), engine::WeightSource("wider", std::move(wider))}) {
    const auto network = models::BuildFlux(source, engine);
    if (!network.ok()) UNSCOPED_INFO(network.status().ToString());
    REQUIRE(network.ok());
    CHECK((*network)->input_channels() == 32);
    outs.push_back((*network)->Forward(io.Find("in.x"), io.Find("in.t"), inputs));
  }
  CHECK(golden::MaxDiff(outs[0], outs[1]) < 1e-5);
}

TEST_CASE("adapters change the text encoders of FLUX and SD3, each its own") {
  const c10::InferenceMode inference;
  engine::Engine engine({});
  struct Case {
    const char* workflow;
    const char* prefix;
    bool cond, pooled;  // what it changes
  };
  for (const Case& one : {Case{"flux/dev_euler", "lora_te1_text_model_encoder_layers_0_self_attn_q_proj", false, true},
                          Case{"flux/dev_euler", "lora_te2_encoder_block_0_layer_0_SelfAttention_q", true, false},
                          Case{"flux/dev_euler", "lora_te3_encoder_block_0_layer_0_SelfAttention_q", true, false},
                          Case{"sd3/euler", "lora_te1_text_model_encoder_layers_0_self_attn_q_proj", true, true},
                          Case{"sd3/euler", "lora_te2_text_model_encoder_layers_0_self_attn_q_proj", true, true}}) {
    INFO(one.workflow << " " << one.prefix);
    const Json prompt = golden::ReadJson(Cat(golden::Root(), "/", one.workflow, "/workflow.json"));
    const auto encoder = EncoderOf(prompt["1"], engine);
    const engine::WeightSource weights = encoder->weights();
    const std::string path = one.prefix;
    const auto names = models::NamesFor(models::AdapterNaming::Side::kText, weights);
    REQUIRE(names.contains(path));
    const at::Tensor weight = weights.Find(names.at(path).weight);
    REQUIRE(weight.defined());
    models::AdapterFile file{engine::WeightSource(
        "adapter", {{path + ".lora_up.weight", at::ones({weight.size(0), 1})},
                    {path + ".lora_down.weight", at::linspace(-1, 1, weight.size(1)).view({1, -1})}})};
    const auto changes = models::ReadAdapter(file, models::AdapterNaming::Side::kText, weights, 0.5);
    REQUIRE(changes.patches.size() == 1);
    const auto changed = encoder->Patched(changes.patches);
    if (!changed.ok()) UNSCOPED_INFO(changed.status().ToString());
    REQUIRE(changed.ok());
    const auto before = encoder->Encode("a cat on a mat", 0), after = (*changed)->Encode("a cat on a mat", 0);
    REQUIRE(before.ok());
    REQUIRE(after.ok());
    const auto differs = [](const at::Tensor& a, const at::Tensor& b) { return golden::MaxDiff(a, b) > 1e-3; };
    const engine::CondEntry &a = before->entries[0], &b = after->entries[0];
    CHECK(differs(a.cond, b.cond) == one.cond);
    CHECK(differs(a.tensors.at("pooled_output"), b.tensors.at("pooled_output")) == one.pooled);
    const auto back = (*changed)->Patched({});
    REQUIRE(back.ok());
    CHECK(golden::MaxDiff((*back)->Encode("a cat on a mat", 0)->entries[0].cond, a.cond) == 0);
  }
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
