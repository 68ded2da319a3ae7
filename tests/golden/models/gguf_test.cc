#include "common/tensorio/gguf.h"

#include <catch2/catch.hpp>
#include <cstdio>

#include "tests/golden/golden_data.h"
#include "worker/engine/gguf_tensors.h"
#include "worker/engine/model_formats.h"

namespace atelier {
namespace {

std::string FromHex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return bytes;
}

TEST_CASE("GGUF blocks give the golden values bit by bit") {
  int checked = 0;
  for (const auto& entry : std::filesystem::directory_iterator(golden::Root() + "/gguf")) {
    if (entry.path().extension() != ".json") continue;
    const Json data = golden::ReadJson(entry.path());
    if (!data.contains("ggml_type_id")) continue;
    INFO(entry.path().filename());
    const GgufType* type = FindGgufType(data["ggml_type_id"]);
    REQUIRE(type != nullptr);
    CHECK(type->block_elements == data["block_elements"].get<int64_t>());
    CHECK(type->block_bytes == data["block_bytes"].get<int64_t>());
    const std::string bytes = FromHex(data["hex"]);
    const int64_t blocks = static_cast<int64_t>(bytes.size()) / type->block_bytes;
    for (const auto& [key, precision] :
         {std::pair("float32", GgufPrecision::kFloat), {"node_default", GgufPrecision::kHalf}}) {
      INFO(key);
      if (!data.contains(key)) continue;  // plain numbers have no rule for rounding
      const Json& want = data[key];
      REQUIRE(static_cast<int64_t>(want.size()) == blocks * type->block_elements);
      std::vector<float> got(want.size());
      DecodeGgufBlocks(*type, reinterpret_cast<const unsigned char*>(bytes.data()), blocks, precision, got.data());
      size_t wrong = 0;
      for (size_t i = 0; i < got.size(); ++i) wrong += got[i] == want[i].get<float>() ? 0 : 1;
      CHECK(wrong == 0);
    }
    ++checked;
  }
  CHECK(checked >= 14);
}

TEST_CASE("blocks as tensor arithmetic have the same bits as blocks in loops") {
  // Any bytes are blocks; scales of infinity and no number are left out, since a comparison of those says nothing.
  at::manual_seed(3);
  int checked = 0;
  for (uint32_t id = 2; id <= 23; ++id) {
    const GgufType* type = FindGgufType(id);
    if (type == nullptr || !type->readable) continue;
    INFO(type->name);
    const at::Tensor blocks = at::randint(0, 256, {40 * type->block_bytes}, at::kByte);
    for (const auto& [value_type, precision] : {std::pair(at::kFloat, GgufPrecision::kFloat),
                                                {at::kHalf, GgufPrecision::kHalf},
                                                {at::kBFloat16, GgufPrecision::kBFloat16}}) {
      at::Tensor want = at::empty({40 * type->block_elements});
      DecodeGgufBlocks(*type, blocks.const_data_ptr<uint8_t>(), 40, precision, want.data_ptr<float>());
      at::Tensor got = engine::DecodeGgufTensor(*type, blocks, value_type).to(at::kFloat);
      const at::Tensor finite = at::isfinite(want).logical_and(at::isfinite(got));
      CHECK(finite.to(at::kFloat).mean().item<float>() > 0.5F);
      CHECK(at::equal(want.masked_select(finite), got.masked_select(finite)));
      CHECK(at::equal(at::isfinite(want), at::isfinite(got)));
    }
    ++checked;
  }
  CHECK(checked == 12);
}

TEST_CASE("GGUF containers give the golden tensors") {
  const Json all = golden::ReadJson(golden::Root() + "/gguf/containers.json");
  for (const auto& [name, data] : all.items()) {
    INFO(name);
    const std::string path = golden::Root() + "/gguf/" + name;
    auto opened = engine::WeightSource::Open(path);
    INFO(opened.status().ToString());
    REQUIRE(opened.ok());
    // The golden values are computed in f32.
    auto mapped = MappedFile::Open(path);
    REQUIRE(mapped.ok());
    auto file = engine::ReadGguf(*mapped, GgufPrecision::kFloat);
    REQUIRE(file.ok());
    CHECK(opened->metadata().at("general.architecture") == data["architecture"].get<std::string>());
    const Json& tensors = data.contains("loaded") ? data["loaded"] : data["tensors"];
    CHECK(file->tensors().size() == tensors.size());
    CHECK(opened->tensors().size() == tensors.size());
    for (const auto& [tensor, want] : tensors.items()) {
      INFO(tensor);
      at::Tensor got = file->Find(tensor);
      REQUIRE(got.defined());
      CHECK(got.sizes() == at::IntArrayRef(want["shape"].get<std::vector<int64_t>>()));
      if (const auto* extras = file->ExtrasOf(tensor)) got = extras->decoder(extras->encoded);
      CHECK(got.sizes() == at::IntArrayRef(want["shape"].get<std::vector<int64_t>>()));
      got = got.to(at::kFloat).flatten();
      const std::vector<float> head = want["float32"];
      for (size_t i = 0; i < head.size(); ++i)
        CHECK(got[static_cast<int64_t>(i)].item<float>() == Approx(head[i]).epsilon(1e-6));
      CHECK(got.sum().item<double>() == Approx(want["sum"].get<double>()).epsilon(1e-5));
    }
  }
}

TEST_CASE("GGUF text encoders have the golden names") {
  const Json maps = golden::ReadJson(golden::Root() + "/gguf/key_maps.json");
  int checked = 0;
  for (const char* architecture : {"t5", "llama"}) {
    for (const auto& [from, to] : maps[architecture].items()) {
      CHECK(engine::GgufTextName(architecture, from) == to.get<std::string>());
      ++checked;
    }
  }
  CHECK(checked >= 40);
  CHECK(engine::GgufTextName("flux", "blk.0.attn_q") == "blk.0.attn_q");
}

TEST_CASE("scaled fp8 layers give weight times scale") {
  const at::Tensor weight = at::tensor({1.0F, -2.0F, 0.5F, 448.0F}).view({2, 2}).to(at::kFloat8_e4m3fn);
  engine::WeightSource::Tensors tensors{{"a.weight", weight},
                                        {"a.scale_weight", at::tensor(0.25F)},
                                        {"b.weight", weight},
                                        {"scaled_fp8", at::empty({2}, at::kFloat8_e4m3fn)}};
  const engine::WeightSource source = engine::WithScaledFp8(engine::WeightSource("x", tensors));
  REQUIRE(source.ExtrasOf("a.weight") != nullptr);
  CHECK(source.ExtrasOf("b.weight") == nullptr);
  const at::Tensor got = source.ExtrasOf("a.weight")->decoder(source.ExtrasOf("a.weight")->encoded);
  CHECK(at::equal(got.to(at::kFloat), at::tensor({0.25F, -0.5F, 0.125F, 112.0F}).view({2, 2})));
  tensors.erase("scaled_fp8");
  CHECK(engine::WithScaledFp8(engine::WeightSource("x", tensors)).ExtrasOf("a.weight") == nullptr);
}

}  // namespace
}  // namespace atelier
