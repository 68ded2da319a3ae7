// Texts, noise and empty latents of KJNodes and ComfyUI_essentials, against values worked out by hand from the rules.
#include <catch2/catch.hpp>

#include "tests/harness/node_context.h"
#include "worker/nodes/support.h"
#include "worker/sampling/noise.h"

namespace atelier::nodes {
namespace {

using test::RunNode;

StatusOr<Value> First(const std::string& type, const Json& literals, InputValues inputs = {}) {
  for (const auto& [name, value] : literals.items()) inputs[name] = {Value::Literal(value)};
  ASSIGN_OR_RETURN(const std::vector<Value> values, RunNode(type, inputs));
  return values.at(0);
}

Json Text(const std::string& type, const Json& literals) {
  const auto value = First(type, literals);
  return value.ok() ? value->literal() : Json("ERROR: " + Message(value.status()));
}

TEST_CASE("many texts are joined without the empty ones") {
  Json inputs{{"inputcount", 3}, {"delimiter", ", "}, {"string_1", "a"},
              {"string_2", ""},  {"string_3", "c"},   {"string_4", "d"}};
  CHECK(Text("JoinStringMulti", inputs) == "a, c");
  inputs["inputcount"] = 4;
  CHECK(Text("JoinStringMulti", inputs) == "a, c, d");
  inputs["return_list"] = true;
  CHECK(Text("JoinStringMulti", inputs) == Json::array({"a", "c", "d"}));
  CHECK(Text("JoinStringMulti", {{"inputcount", 32}, {"string_32", "last"}, {"string_5", "five"}}) == "five last");
  CHECK(Text("JoinStringMulti", Json::object()) == "");
  const std::string large(10 << 20, 'x');
  const auto refused = First("JoinStringMulti", {{"string_1", large}, {"string_2", large}});
  CHECK(refused.status().code() == absl::StatusCode::kResourceExhausted);
}

TEST_CASE("a value as text") {
  CHECK(Text("SomethingToString", {{"input", 2.0}, {"prefix", "<"}, {"suffix", ">"}}) == "<2.0>");
  CHECK(Text("SomethingToString", {{"input", true}}) == "True");
  CHECK(Text("SomethingToString", {{"input", "a"}, {"suffix", "b"}}) == "ab");
  const auto refused = First("SomethingToString", Json::object(),
                             {{"input", {Value::Of<Image>("IMAGE", Image{at::zeros({1, 8, 8, 3})})}}});
  REQUIRE_FALSE(refused.ok());
  CHECK(Message(refused.status()) == "input \"input\" is a value of type IMAGE, expected a number or a text");
}

at::Tensor Noise(const Json& settings, InputValues inputs = {}) {
  const auto value = First("GenerateNoise", settings, std::move(inputs));
  INFO(Message(value.status()));
  REQUIRE(value.ok());
  CHECK_FALSE(value->Get<Latent>()->noise_mask.defined());
  return value->Get<Latent>()->samples;
}

at::Tensor Drawn(at::IntArrayRef shape, uint64_t seed) {
  at::Generator generator = engine::MakeGenerator(at::kCPU, seed);
  return engine::Randn(shape, generator, at::kCPU);
}

TEST_CASE("noise as a latent: shape, strength, deviation, one for all") {
  Json settings{{"width", 70}, {"height", 40}, {"batch_size", 3}};
  CHECK(at::equal(Noise(settings), Drawn({3, 4, 5, 8}, 123)));
  settings["seed"] = 7;
  settings["multiplier"] = 2.0;
  CHECK(at::equal(Noise(settings), Drawn({3, 4, 5, 8}, 7) * 2.0));
  settings["normalize"] = true;
  CHECK(Noise(settings).std(/*unbiased=*/true).item<float>() == Approx(1.0F));
  settings["normalize"] = false;
  settings["constant_batch_noise"] = true;
  const at::Tensor same = Noise(settings);
  REQUIRE(same.sizes() == at::IntArrayRef({3, 4, 5, 8}));
  for (int64_t i = 0; i < 3; ++i) CHECK(at::equal(same[i], Drawn({3, 4, 5, 8}, 7)[0] * 2.0));
  settings["shape"] = "BCTHW";
  CHECK_FALSE(First("GenerateNoise", settings).ok());
  settings["constant_batch_noise"] = false;
  settings["latent_channels"] = "16";
  CHECK(at::equal(Noise(settings), Drawn({1, 16, 3, 5, 8}, 7) * 2.0));
  settings["shape"] = "BTCHW";
  CHECK(at::equal(Noise(settings), Drawn({1, 3, 16, 5, 8}, 7) * 2.0));
}

TEST_CASE("noise between two levels of a model") {
  Model model;
  model.latent_format.scale = 0.5;
  const engine::Sigmas sigmas{at::tensor({8.0F, 4.0F, 2.0F})};
  const InputValues levels{{"sigmas", {Value::Of<engine::Sigmas>("SIGMAS", sigmas)}}};
  InputValues both = levels;
  both["model"] = {Value::Of<Model>("MODEL", model)};
  const Json settings{{"width", 64}, {"height", 64}, {"batch_size", 1}, {"seed", 5}};
  CHECK(at::equal(Noise(settings, both), Drawn({1, 4, 8, 8}, 5) * 12.0));
  const auto refused = First("GenerateNoise", settings, levels);
  REQUIRE_FALSE(refused.ok());
  CHECK(Message(refused.status()).find("\"model\" is not") != std::string::npos);
}

TEST_CASE("an empty latent of a size that SDXL was trained on") {
  const auto pick = [](const Json& settings) {
    InputValues inputs;
    for (const auto& [name, value] : settings.items()) inputs[name] = {Value::Literal(value)};
    const auto values = RunNode("SDXLEmptyLatentSizePicker+", inputs);
    INFO(Message(values.status()));
    REQUIRE(values.ok());
    const at::Tensor samples = values->at(0).Get<Latent>()->samples;
    CHECK(samples.count_nonzero().item<int64_t>() == 0);
    std::vector<int64_t> sizes = samples.sizes().vec();
    sizes.push_back(values->at(1).literal().get<int64_t>());
    sizes.push_back(values->at(2).literal().get<int64_t>());
    return sizes;
  };
  using Sizes = std::vector<int64_t>;
  CHECK(pick(Json::object()) == Sizes{1, 4, 128, 128, 1024, 1024});
  CHECK(pick({{"resolution", "704x1408 (0.5)"}, {"batch_size", 2}}) == Sizes{2, 4, 176, 88, 704, 1408});
  CHECK(pick({{"resolution", "1728x576 (3.0)"}, {"height_override", 100}}) == Sizes{1, 4, 12, 216, 1728, 100});
  CHECK(pick({{"width_override", 640}}) == Sizes{1, 4, 128, 80, 640, 1024});
  CHECK_FALSE(First("SDXLEmptyLatentSizePicker+", {{"resolution", "1x1 (1.0)"}}).ok());
  CHECK_FALSE(First("SDXLEmptyLatentSizePicker+", {{"width_override", 7}}).ok());
  const NodeType* node = Registry<NodeType>::Get().Find("SDXLEmptyLatentSizePicker+");
  const InputSpec& resolution = *node->spec().FindInput("resolution");
  CHECK(resolution.choices.front() == "704x1408 (0.5)");
  CHECK(resolution.choices.back() == "1728x576 (3.0)");
  CHECK(resolution.default_value == "1024x1024 (1.0)");
}

}  // namespace
}  // namespace atelier::nodes
