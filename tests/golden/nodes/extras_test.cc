// The third-party nodes with data in golden/extras.
#include <catch2/catch.hpp>
#include <sstream>

#include "tests/golden/nodes/run_prompt.h"
#include "worker/engine/tensor_blob.h"
#include "worker/engine/types.h"

namespace atelier {
namespace {

std::vector<std::string> Split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, separator);) parts.push_back(part);
  return parts;
}

// The values of one node that takes `pixels` as "image".
StatusOr<std::vector<std::string>> RunOnPixels(const std::string& type, const Json& inputs, const at::Tensor& pixels,
                                               int64_t outputs) {
  golden::Host host;
  ASSIGN_OR_RETURN(std::string blob, EncodeBlob(Value::Of<engine::Image>("IMAGE", {pixels}), ""));
  host.blobs["pixels"] = std::make_shared<const std::string>(std::move(blob));
  Fragment fragment;
  fragment.nodes["1"] = {{"class_type", type}, {"inputs", inputs}};
  fragment.bindings.push_back({"1", "image", {"pixels"}, false});
  for (int64_t slot = 0; slot < outputs; ++slot) fragment.wanted.push_back({"1", slot, ""});
  Executor executor;
  ASSIGN_OR_RETURN(FragmentResult result, executor.Run(fragment, host));
  return std::move(result.blobs);
}

at::Tensor Pixels(const std::string& blob) {
  const auto value = DecodeBlob(blob);
  REQUIRE(value.ok());
  return value->Get<engine::Image>()->pixels;
}

TEST_CASE("ImageResize+: sizes") {
  const Json data = golden::ReadJson(golden::Root() + "/extras/image_resize_plus_sizes.json");
  int checked = 0;
  for (const Json& c : data.at("cases")) {
    INFO(c.dump());
    const int64_t out_width = c.at("out").at(0), out_height = c.at("out").at(1);
    const at::Tensor source =
        at::rand({1, c.at("src").at(1).get<int64_t>(), c.at("src").at(0).get<int64_t>(), 3}, at::kFloat);
    Json inputs = {{"width", c.at("width")},   {"height", c.at("height")},       {"interpolation", "nearest"},
                   {"method", c.at("method")}, {"condition", c.at("condition")}, {"multiple_of", c.at("multiple_of")}};
    auto result = RunOnPixels("ImageResize+", inputs, source, 3);
    REQUIRE(result.ok());
    const at::Tensor got = Pixels(result->at(0));
    CHECK(got.size(2) == out_width);
    CHECK(got.size(1) == out_height);
    CHECK(DecodeBlob(result->at(1))->literal() == out_width);
    CHECK(DecodeBlob(result->at(2))->literal() == out_height);
    ++checked;
  }
  CHECK(checked == 320);
}

TEST_CASE("ImageResize+: pixels") {
  const auto tensors = golden::ReadTensors(golden::Root() + "/extras/image_resize_plus.safetensors");
  int checked = 0;
  for (const auto& [name, want] : tensors) {
    if (name == "src") continue;
    INFO(name);
    const std::vector<std::string> parts = Split(name, '|'), size = Split(parts.at(2), 'x');
    Json inputs = {{"width", std::stoi(size.at(0))}, {"height", std::stoi(size.at(1))},
                   {"interpolation", parts.at(0)},   {"method", parts.at(1)},
                   {"condition", "always"},          {"multiple_of", std::stoi(parts.at(3))}};
    auto result = RunOnPixels("ImageResize+", inputs, tensors.at("src"), 1);
    REQUIRE(result.ok());
    const at::Tensor got = Pixels(result->at(0));
    REQUIRE(got.sizes() == want.sizes());
    const double tolerance = parts.at(0) == "lanczos" ? 1e-7 : 1e-6;  // as the data's README states
    CHECK(golden::MaxDiff(got, want) <= tolerance);
    ++checked;
  }
  CHECK(checked == 30);
}

TEST_CASE("ImageNoiseAugmentation: pixels") {
  const auto tensors = golden::ReadTensors(golden::Root() + "/extras/image_noise_augmentation.safetensors");
  int checked = 0;
  for (const auto& [name, want] : tensors) {
    if (name == "src") continue;
    INFO(name);
    const std::vector<std::string> parts = Split(name, '_');
    Json inputs = {{"noise_aug_strength", std::stod(parts.at(1).substr(8))},
                   {"seed", static_cast<uint64_t>(std::stoull(parts.at(0).substr(4)))}};
    auto result = RunOnPixels("ImageNoiseAugmentation", inputs, tensors.at("src"), 1);
    REQUIRE(result.ok());
    CHECK(golden::MaxDiff(Pixels(result->at(0)), want) == 0.0);
    ++checked;
  }
  CHECK(checked == 3);
}

}  // namespace
}  // namespace atelier
