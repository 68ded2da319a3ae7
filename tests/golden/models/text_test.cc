#include <catch2/catch.hpp>
#include <cstdio>
#include <limits>

#include "tests/golden/golden_data.h"
#include "worker/models/loaders.h"
#include "worker/text/embeddings.h"
#include "worker/text/prompt.h"
#include "worker/text/unigram.h"

namespace atelier {
namespace {

// A chunk in the golden form: tokens, the last one repeated `tail_repeat_last` times more... checked position by
// position.
void CheckChunks(const std::string& prompt, const Json& want, const text::TokenizerOptions& options) {
  auto chunks = text::Tokenize(prompt, options);
  INFO("prompt: " << prompt);
  if (want.is_object() && want.contains("error")) {
    CHECK(chunks.status().code() == StatusCode::kInvalidArgument);
    return;
  }
  REQUIRE(chunks.ok());
  REQUIRE(chunks->size() == want.size());
  for (size_t c = 0; c < want.size(); ++c) {
    const Json& tokens = want[c]["tokens"];
    REQUIRE((*chunks)[c].size() == want[c]["len"].get<size_t>());
    for (size_t i = 0; i < (*chunks)[c].size(); ++i) {
      const text::Token& token = (*chunks)[c][i];
      const Json& expected = tokens[std::min(i, tokens.size() - 1)];
      INFO("chunk " << c << " token " << i << " expected " << expected.dump());
      if (expected[0].is_object()) {
        REQUIRE(token.embedding.defined());
        CHECK(token.embedding.size(0) == expected[0]["dim"].get<int64_t>());
        for (int64_t k = 0; k < 3; ++k) {
          CHECK(token.embedding[k].item<double>() ==
                Approx(expected[0]["emb"][static_cast<size_t>(k)].get<double>()).margin(1e-5));
        }
      } else {
        CHECK(token.id == expected[0].get<int64_t>());
      }
      CHECK(token.weight ==
            (expected[1].is_string() ? std::numeric_limits<double>::infinity() : expected[1].get<double>()));
      CHECK(token.word == expected[2].get<int64_t>());
    }
  }
}

void CheckChunks(const std::string& prompt, const Json& want, int64_t pad, const std::string& key, int64_t width) {
  text::TokenizerOptions options;
  options.pad = pad;
  options.embedding = text::EmbeddingsIn({golden::Models() + "/embeddings"}, key, width);
  CheckChunks(prompt, want, options);
}

Json Prompts(const std::string& name) {
  // One weight is written as Infinity, which JSON does not have.
  std::string text = golden::ReadFile(golden::Root() + "/tokenizer/" + name);
  for (const char* before : {",", ", "}) {
    const std::string word = std::string(before) + "Infinity,";
    for (size_t at; (at = text.find(word)) != std::string::npos;) text.replace(at, word.size(), ",\"inf\",");
  }
  const auto parsed = ParseJson(text);
  REQUIRE(parsed.ok());
  return *parsed;
}

TEST_CASE("T5 tokenises every golden prompt exactly") {
  const Json cases = Prompts("t5_qwen.json");
  REQUIRE(cases.size() > 50);
  for (const Json& item : cases) {
    text::TokenizerOptions options;
    options.pad = 0;
    options.start = -1;
    options.end = 1;
    options.chunk = 0;
    options.length_min = 256;
    options.encode = [](std::string_view piece) { return text::UnigramTokenizer::T5().Encode(piece); };
    CheckChunks(item["prompt"], item["t5xxl_flux_min256"], options);
    options.length_min = 77;
    CheckChunks(item["prompt"], item["t5xxl_sd3_min77"], options);
  }
}

TEST_CASE("a sentencepiece model of a checkpoint encodes as stored, and without its table") {
  auto file = engine::WeightSource::Open(golden::Models() + "/text_encoders/tiny_umt5.safetensors");
  REQUIRE(file.ok());
  const at::Tensor bytes = file->Find("spiece_model").contiguous();
  const std::string_view text(reinterpret_cast<const char*>(bytes.const_data_ptr<uint8_t>()),
                              static_cast<size_t>(bytes.numel()));
  const auto read = text::UnigramTokenizer::ReadModel(text);
  REQUIRE(read.ok());
  const auto stored = text::UnigramTokenizer::Build(*read);
  auto bare_model = *read;
  bare_model.charsmap.clear();
  const auto squeezed = text::UnigramTokenizer::Build(bare_model);
  bare_model.remove_extra_whitespace = false;
  const auto bare = text::UnigramTokenizer::Build(bare_model);
  REQUIRE((stored.ok() && squeezed.ok() && bare.ok()));
  const Json golden_ids = golden::ReadJson(golden::Root() + "/gguf/tokenizer_umt5.json");
  for (const Json& item : golden_ids["cases"]) {
    INFO(item["text"].get<std::string>());
    const auto ids = [&](const text::UnigramTokenizer& tokenizer) {
      std::vector<int64_t> out = tokenizer.Encode(item["text"].get<std::string>());
      out.push_back(1);
      return out;
    };
    CHECK(ids(**stored) == item["official"].get<std::vector<int64_t>>());
    CHECK(ids(**squeezed) == item["rebuilt_remove_ws"].get<std::vector<int64_t>>());
    CHECK(ids(**bare) == item["rebuilt_keep_ws"].get<std::vector<int64_t>>());
  }
  // Damaged bytes are refused or give some tokenizer, but never more.
  for (size_t cut = 0; cut < text.size(); cut += 997) {
    const auto part = text::UnigramTokenizer::ReadModel(text.substr(0, cut));
    if (!part.ok()) continue;
    const auto built = text::UnigramTokenizer::Build(*part);
    if (built.ok()) (*built)->Encode("a caf\xc3\xa9 \xff\xfe");
  }
  CHECK(!text::UnigramTokenizer::ReadModel("\x0a\xff").ok());
}

TEST_CASE("every golden prompt is tokenised exactly") {
  const Json cases = Prompts("clip.json");
  REQUIRE(cases.size() > 50);
  for (const Json& item : cases) {
    const std::string prompt = item["prompt"];
    if (item["sd1"].contains("l")) CheckChunks(prompt, item["sd1"]["l"], 49407, "clip_l", 64);
    if (item["sd1"].contains("error")) CheckChunks(prompt, item["sd1"], 49407, "clip_l", 64);
    if (item["sdxl"].contains("g")) CheckChunks(prompt, item["sdxl"]["g"], 0, "clip_g", 128);
    if (item["sd2"].contains("h")) CheckChunks(prompt, item["sd2"]["h"], 0, "clip_h", 64);
  }
}

TEST_CASE("weights that are not numbers stay text") {
  const auto parts = text::ParseWeights("(a:b:1.5) (c:0x10) (d:1_0) (e: 2 ) \\(f\\) (g");
  REQUIRE(parts.size() == 9);
  CHECK(parts[0].text == "a:b");
  CHECK(parts[0].weight == 1.5);
  CHECK(parts[2].text == "c:0x10");
  CHECK(parts[2].weight == 1.1);
  CHECK(parts[4].weight == 10.0);
  CHECK(parts[6].weight == 2.0);
  CHECK(parts[7].text == " (f) ");
  CHECK(parts[8].text == "(g");
  CHECK(text::ParseWeights(std::string(100'000, '(') + std::string(100'000, ')')).size() == 1);
}

TEST_CASE("embeddings do not leave their folder") {
  const auto lookup = text::EmbeddingsIn({golden::Models() + "/embeddings"}, "clip_l", 64);
  for (const char* name : {"../checkpoints/tiny_sd15", "/etc/passwd", "", "..", "sub"}) {
    auto found = lookup(name);
    REQUIRE(found.ok());
    CHECK_FALSE(found->defined());
  }
  auto nine = lookup("emb_nine");  // found in a subfolder
  REQUIRE(nine.ok());
  REQUIRE(nine->defined());
  CHECK(nine->size(0) == 9);
}

// The text encoder cases of one checkpoint.
void CheckEncoder(const std::string& checkpoint, const std::shared_ptr<const engine::TextEncoder>& encoder) {
  int checked = 0;
  double worst = 0;
  for (const Json& item : golden::Cases("text_encoder")) {
    const std::string id = item["id"];
    if (!id.starts_with(checkpoint + "_p")) continue;
    const Json workflow = golden::ReadJson(golden::Root() + "/" + item["workflow"].get<std::string>());
    std::string prompt;
    int64_t layer = 0;
    for (const auto& [node, value] : workflow.items()) {
      if (value["class_type"] == "CLIPTextEncode") prompt = value["inputs"]["text"];
      if (value["class_type"] == "CLIPSetLastLayer") layer = value["inputs"]["stop_at_clip_layer"];
    }
    auto result = encoder->Encode(prompt, layer);
    INFO(id << " " << prompt);
    REQUIRE(result.ok());
    const auto want = golden::Tensors(item["files"][0]);
    const double diff =
        std::max(golden::MaxDiff(result->entries[0].cond, want.Find("0.cond")),
                 golden::MaxDiff(result->entries[0].tensors.at("pooled_output"), want.Find("0.pooled_output")));
    worst = std::max(worst, diff);
    CHECK(diff <= item["tolerance_abs"].get<double>());
    ++checked;
  }
  std::printf("%s: %d text encoder cases, worst difference %.2g\n", checkpoint.c_str(), checked, worst);
  CHECK(checked > 10);
}

TEST_CASE("text encoders give the golden conditioning") {
  engine::EngineOptions options;
  options.embedding_folders = {golden::Models() + "/embeddings"};
  engine::Engine engine(options);
  for (const char* name : {"tiny_sd15", "tiny_sd21_v", "tiny_sdxl"}) {
    auto parts = models::LoadCheckpoint(golden::Models() + "/checkpoints/" + name + ".safetensors", engine);
    INFO(parts.status().ToString());
    REQUIRE(parts.ok());
    REQUIRE((*parts)->text_encoder != nullptr);
    CheckEncoder(name, (*parts)->text_encoder);
  }
}

}  // namespace
}  // namespace atelier
