#include "master/cli/workflow_file.h"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "common/image/png_text.h"
#include "common/json/json.h"
#include "common/media/process.h"
#include "common/media/tags.h"
#include "tests/harness/tiny_video.h"
#include "tests/unit/cli/temp_folder.h"

namespace atelier::cli {
namespace {

namespace fs = std::filesystem;

// One grey pixel.
std::string TinyPng() {
  static constexpr unsigned char kBytes[] = {
      0x89, 'P',  'N',  'G',  0x0D, 0x0A, 0x1A, 0x0A, 0,    0,    0,    13,  'I',  'H',  'D',  'R',  0,
      0,    0,    1,    0,    0,    0,    1,    8,    0,    0,    0,    0,   0x3A, 0x7E, 0x9B, 0x55, 0,
      0,    0,    10,   'I',  'D',  'A',  'T',  0x78, 0x9C, 0x63, 0x60, 0,   0,    0,    2,    0,    1,
      0x48, 0xAF, 0xA4, 0x71, 0,    0,    0,    0,    'I',  'E',  'N',  'D', 0xAE, 0x42, 0x60, 0x82};
  return std::string(reinterpret_cast<const char*>(kBytes), sizeof kBytes);
}

TEST_CASE("a JSON file comes back as it is") {
  TempFolder folder;
  const auto text = ReadWorkflowFile(folder.Write("w.json", "{\"1\": {}}"));
  REQUIRE(text.ok());
  CHECK(*text == "{\"1\": {}}");
}

TEST_CASE("files that are no workflow are refused in a sentence") {
  TempFolder folder;
  for (const auto& [path, part] :
       std::vector<std::pair<std::string, std::string>>{{(folder.path / "absent.json").string(), "there is no file"},
                                                        {folder.path.string(), "is a folder"},
                                                        {folder.Write("empty.json", " \n"), "is empty"},
                                                        {folder.Write("bare.png", TinyPng()), "carries no workflow"}}) {
    const auto text = ReadWorkflowFile(path);
    INFO(path);
    REQUIRE_FALSE(text.ok());
    CHECK(Message(text.status()).find(part) != std::string::npos);
    CHECK(Message(text.status()).find(path) != std::string::npos);
  }
}

TEST_CASE("endless input is cut off at the limit") {
  const auto text = ReadWorkflowFile("/dev/zero");
  REQUIRE_FALSE(text.ok());
  CHECK(Message(text.status()).find("limit") != std::string::npos);
}

TEST_CASE("a picture yields what it carries") {
  TempFolder folder;
  const auto both = InsertPngText(TinyPng(), {{"prompt", R"({"1":{}})"}, {"workflow", R"({"nodes":[]})"}});
  REQUIRE(both.ok());
  const std::string path = folder.Write("both.png", *both);
  const auto prompt = ReadWorkflowFile(path);
  REQUIRE(prompt.ok());
  CHECK(*prompt == R"({"prompt":{"1":{}},"extra_data":{"extra_pnginfo":{"workflow":{"nodes":[]}}}})");
  const auto workflow = ReadWorkflowFile(path, PictureChunk::kWorkflow);
  REQUIRE(workflow.ok());
  CHECK(*workflow == R"({"nodes":[]})");

  const auto nan =
      InsertPngText(TinyPng(), {{"prompt", R"({"1":{"is_changed":[NaN]}})"}, {"workflow", R"({"nodes":[]})"}});
  REQUIRE(nan.ok());
  const auto fallback = ReadWorkflowFile(folder.Write("nan.png", *nan));
  REQUIRE(fallback.ok());
  CHECK(*fallback == R"({"nodes":[]})");
}

TEST_CASE("a video yields what it carries, in its tags or in an older file's comment") {
  TempFolder folder;
  const std::string bytes = test::TinyVideo();
  CHECK_FALSE(ReadWorkflowFile(folder.Write("bare.mp4", bytes)).ok());
  const std::string both = R"({"prompt":{"1":{}},"extra_data":{"extra_pnginfo":{"workflow":{"nodes":[]}}}})";
  const media::Tags tags = {{"prompt", R"({"1":{}})"}, {"workflow", R"({"nodes":[]})"}};
  CHECK(*ReadWorkflowFile(folder.Write("tags.mp4", *media::AddTags(bytes, "mp4", tags))) == both);
  CHECK(*ReadWorkflowFile(folder.Write("tags.mkv", *media::AddTags(bytes, "mkv", tags))) == both);
  const media::Tags comment = {{"comment", R"({"prompt": "{\"1\":{}}", "workflow": {"nodes":[]}})"}};
  CHECK(*ReadWorkflowFile(folder.Write("old.mp4", *media::AddTags(bytes, "mp4", comment))) == both);
  CHECK_FALSE(ReadWorkflowFile(folder.Write("cut.mp4", bytes.substr(0, 40))).ok());

  media::UseMediaProgram("/nowhere/atelier-media");
  const auto without = ReadWorkflowFile((folder.path / "tags.mp4").string());
  media::UseMediaProgram("");
  REQUIRE_FALSE(without.ok());
  CHECK(Message(without.status()).find("tags.mp4") != std::string::npos);
  CHECK(Message(without.status()).find("/nowhere/atelier-media, which cannot be started") != std::string::npos);
}

}  // namespace
}  // namespace atelier::cli
