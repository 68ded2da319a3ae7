#include "master/store/outputs.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "common/image/codec.h"
#include "common/image/png_text.h"
#include "common/media/process.h"
#include "common/tensorio/safetensors.h"
#include "tests/harness/tiny_video.h"
#include "tests/unit/store/temp_folder.h"
#include "worker/media/container_here.h"

namespace atelier {
namespace {

namespace fs = std::filesystem;

// A folder of outputs, one of temporary files and a blob store, as a master has them.
struct Site {
  TempFolder temp;
  std::string out = temp.path() + "/output";
  std::unique_ptr<BlobStore> blobs = BlobStore::Open(temp.path() + "/blobs").value();
  OutputWriter writer{out, temp.path() + "/temp"};

  OutputFileMeta File(const std::string& bytes, const std::string& prefix = "pic", const std::string& node = "9") {
    return {.node = node,
            .prefix = prefix,
            .extension = "bin",
            .width = 64,
            .height = 32,
            .blob = blobs->Put(bytes).value()};
  }
  std::vector<std::string> Names(const std::string& folder = "") const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(out + "/" + folder)) {
      if (entry.is_regular_file()) names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }
  void Touch(const std::string& name) {
    fs::create_directories(fs::path(out + "/" + name).parent_path());
    std::ofstream(out + "/" + name) << "foreign";
  }
};

std::string Content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::string> PlannedNames(const std::vector<OutputIntent>& intents) {
  std::vector<std::string> names;
  for (const OutputIntent& intent : intents) names.push_back(intent.filename());
  return names;
}

using Names = std::vector<std::string>;

TEST_CASE("a prefix becomes folder and name") {
  setenv("TZ", "UTC", 1);
  tzset();
  const auto resolve = [](std::string_view prefix) { return ResolveOutputPrefix(prefix, 640, 48, 1'700'000'005); };
  const auto is = [&](std::string_view prefix, const std::string& folder, const std::string& base) {
    INFO(prefix);
    const auto name = resolve(prefix);
    REQUIRE(name.ok());
    CHECK(*name == OutputName{folder, base});
  };
  is("ComfyUI", "", "ComfyUI");
  is("a/b/c", "a/b", "c");
  is("a//./b/../c", "a", "c");
  is("a/", "", "a");
  is("", "", ".");
  is("..", "", "..");
  is("%width%x%height%", "", "640x48");
  is("%year%-%month%-%day%/%hour%%minute%%second%", "2023-11-14", "221325");
  is("%batch_num%_%unknown%", "", "%batch_num%_%unknown%");
  is("día", "", "día");
  for (const char* prefix : {"../x", "a/../../x", "/etc/x", "../../etc/cron.d/x", "a/../../../b/x", "a\nb"}) {
    INFO(prefix);
    CHECK(resolve(prefix).status().code() == StatusCode::kInvalidArgument);
  }
  CHECK(resolve(std::string("a\0b", 3)).status().code() == StatusCode::kInvalidArgument);
  CHECK(resolve(std::string(300, 'a')).status().code() == StatusCode::kInvalidArgument);
  std::string deep;
  for (int i = 0; i < 2000; ++i) deep += "a/";
  CHECK(resolve(deep + "b").status().code() == StatusCode::kInvalidArgument);
}

TEST_CASE("counters go on from the largest there is") {
  Site site;
  for (const char* name : {"pic_00003_.png", "pic_00007_x.bin", "pic_12.png", "pic_abc_.png", "picture_00050_.png",
                           "pic2_00090_.png", "pic00080_.png", "pic"}) {
    site.Touch(name);
  }
  const auto a = site.writer.Plan("a", {site.File("1"), site.File("2")}, 0);
  REQUIRE(a.ok());
  CHECK(PlannedNames(*a) == Names{"pic_00008_.bin", "pic_00009_.bin"});
  // Another node, and another job, go on from what is reserved; a repeated plan of the same job does not count itself.
  CHECK(PlannedNames(site.writer.Plan("a", {site.File("1"), site.File("2")}, 0).value()) == PlannedNames(*a));
  const auto b = site.writer.Plan("b", {site.File("1"), site.File("1", "pic", "10"), site.File("2")}, 0);
  CHECK(PlannedNames(b.value()) == Names{"pic_00010_.bin", "pic_00012_.bin", "pic_00011_.bin"});
  site.writer.Release("a");
  site.writer.Release("b");
  CHECK(PlannedNames(site.writer.Plan("c", {site.File("1")}, 0).value()) == Names{"pic_00008_.bin"});
  site.Touch("pic_123456_.bin");
  CHECK(PlannedNames(site.writer.Plan("c", {site.File("1")}, 0).value()) == Names{"pic_123457_.bin"});
}

TEST_CASE("the number in the batch stands in the name when asked for") {
  Site site;
  std::vector<OutputFileMeta> files = {site.File("1", "b%batch_num%"), site.File("2", "b%batch_num%")};
  files[1].batch_index = 1;
  CHECK(PlannedNames(site.writer.Plan("a", files, 0).value()) == Names{"b0_00001_.bin", "b1_00002_.bin"});
  site.writer.Release("a");
  site.Touch("b1_00002_.bin");
  CHECK(PlannedNames(site.writer.Plan("a", files, 0).value()) == Names{"b0_00003_.bin", "b1_00004_.bin"});
}

TEST_CASE("files are written under their names, in folders that are made") {
  Site site;
  std::vector<OutputFileMeta> files = {site.File("one", "x/y/pic"), site.File("two"),
                                       site.File("three", "ComfyUI_temp_abcde")};
  files[2].type = "temp";
  const auto intents = site.writer.Plan("job", files, 0);
  const auto saved = site.writer.WriteAll(*site.blobs, "job", files, intents.value(), "{}", "");
  REQUIRE(saved.ok());
  REQUIRE(saved->size() == 3);
  CHECK((*saved)[0] == SavedOutput{0, "9", "output", site.out + "/x/y/pic_00001_.bin", "x/y", "pic_00001_.bin", 0});
  CHECK((*saved)[2].path == site.temp.path() + "/temp/ComfyUI_temp_abcde_00001_.bin");
  CHECK(Content((*saved)[0].path) == "one");
  CHECK(Content((*saved)[1].path) == "two");
  CHECK(Content((*saved)[2].path) == "three");
  CHECK(fs::status((*saved)[0].path).permissions() == fs::perms(0644));
}

TEST_CASE("prompt and workflow go into pictures and latents in Python's form") {
  Site site;
  const std::string prompt = R"({"3":{"b":1.0,"a":"ü"}})", workflow = R"({"nodes":[]})";
  const std::string prompt_text = R"({"3": {"b": 1.0, "a": "\u00fc"}})", workflow_text = R"({"nodes": []})";
  const std::string png = EncodePng(MakeImage(8, 8, 3, 7).value()).value();
  const std::vector<float> values(4, 1);
  const std::string latent = WriteSafetensors(
      {{"latent_tensor", DType::kF32, {4}, std::string_view(reinterpret_cast<const char*>(values.data()), 16)}}, {});
  std::vector<OutputFileMeta> files = {site.File(png), site.File(latent), site.File(png)};
  files[0].extension = files[2].extension = "png";
  files[1].extension = "latent";
  files[0].embed_workflow = files[1].embed_workflow = true;
  auto saved = site.writer.WriteAll(*site.blobs, "a", files, site.writer.Plan("a", files, 0).value(), prompt, workflow);
  REQUIRE(saved.ok());
  CHECK(ReadPngText(Content((*saved)[0].path)).value() ==
        TextPairs{{"prompt", prompt_text}, {"workflow", workflow_text}});
  CHECK(Content((*saved)[2].path) == png);
  const std::string written = Content((*saved)[1].path);
  const auto view = ParseSafetensors(written);
  REQUIRE(view.ok());
  CHECK(view->metadata().at("prompt") == prompt_text);
  CHECK(view->metadata().at("workflow") == workflow_text);
  CHECK(view->Data(*view->Find("latent_tensor")).size() == 16);

  files.resize(1);
  saved = site.writer.WriteAll(*site.blobs, "b", files, site.writer.Plan("b", files, 0).value(), prompt, "");
  CHECK(ReadPngText(Content(saved->front().path)).value() == TextPairs{{"prompt", prompt_text}});
  CHECK(
      site.writer.WriteAll(*site.blobs, "c", files, site.writer.Plan("c", files, 0).value(), "{", "").status().code() ==
      StatusCode::kInvalidArgument);
}

TEST_CASE("prompt and workflow go into videos, by a process of its own") {
  const std::string video = test::TinyVideo();

  Site site;
  std::vector<OutputFileMeta> files = {site.File(video)};
  files[0].extension = "mp4";
  files[0].embed_workflow = true;
  const std::string prompt = R"({"1":{}})";
  // What this machine lacks is no reason to lose the video.
  media::UseMediaProgram("/nowhere/atelier-media");
  const std::vector<OutputIntent> plain = site.writer.Plan("plain", files, 0).value();
  const auto without = site.writer.WriteAll(*site.blobs, "plain", files, plain, prompt, "");
  media::UseMediaProgram("");
  REQUIRE(without.ok());
  CHECK(Content(without->front().path) == video);

  // What is no video is.
  std::vector<OutputFileMeta> damaged = {site.File("no video")};
  damaged[0].extension = "mp4";
  damaged[0].embed_workflow = true;
  const std::vector<OutputIntent> refused = site.writer.Plan("refused", damaged, 0).value();
  CHECK(site.writer.WriteAll(*site.blobs, "refused", damaged, refused, prompt, "").status().code() ==
        StatusCode::kInvalidArgument);

  const std::vector<OutputIntent> intents = site.writer.Plan("a", files, 0).value();
  const auto saved = site.writer.WriteAll(*site.blobs, "a", files, intents, prompt, "");
  REQUIRE(saved.ok());
  media::BytesInMemory source(video);
  media::BytesToMemory expected;
  REQUIRE(media::AddTagsHere(&source, "mp4", {{"prompt", R"({"1": {}})"}}, &expected).ok());
  CHECK(Content(saved->front().path) == expected.bytes());
  CHECK(expected.bytes() != video);
}

TEST_CASE("writing again changes nothing, and another's file is never replaced") {
  Site site;
  const std::vector<OutputFileMeta> files = {site.File("same"), site.File("same"), site.File("else")};
  const auto intents = site.writer.Plan("job", files, 0).value();
  site.Touch("pic_00001_.bin");  // came between plan and write
  Names expected = {"pic_00001_.bin", "pic_00002_.bin", "pic_00003_.bin", "pic_00004_.bin"};
  for (int i = 0; i < 3; ++i) {
    const auto saved = site.writer.WriteAll(*site.blobs, "job", files, intents, "{}", "");
    REQUIRE(saved.ok());
    CHECK(site.Names() == expected);
    CHECK((*saved)[0].filename == "pic_00004_.bin");
    CHECK((*saved)[1].filename == "pic_00002_.bin");
    CHECK((*saved)[2].filename == "pic_00003_.bin");
  }
  CHECK(Content(site.out + "/pic_00001_.bin") == "foreign");
  CHECK(Content(site.out + "/pic_00004_.bin") == "same");
}

TEST_CASE("files with a suffix share one number by their own rule") {
  Site site;
  site.Touch("AD_00003-audio.mp4");
  site.Touch("ad_00007.PNG");
  site.Touch("AD_00009_.png");
  site.Touch("AD_00011.001.png");
  site.Touch("AD_00020a1.png");  // a digit behind the number: no such name
  site.Touch("AD_x.png");
  std::vector<OutputFileMeta> files(3, site.File("x", "AD"));
  files[0].suffix = files[1].suffix = "";
  files[2].suffix = "-audio";
  files[0].extension = "png";
  files[1].extension = files[2].extension = "mp4";
  const auto intents = site.writer.Plan("job", files, 0).value();
  CHECK(PlannedNames(intents) == Names{"AD_00012.png", "AD_00012.mp4", "AD_00012-audio.mp4"});
  CHECK(PlannedNames(site.writer.Plan("other", files, 0).value()) ==
        Names{"AD_00013.png", "AD_00013.mp4", "AD_00013-audio.mp4"});
  const auto saved = site.writer.WriteAll(*site.blobs, "job", files, intents, "{}", "");
  REQUIRE(saved.ok());
  CHECK((*saved)[2].filename == "AD_00012-audio.mp4");
  files[2].suffix = "/../x";
  CHECK(site.writer.Plan("bad", files, 0).status().code() == StatusCode::kInvalidArgument);
}

TEST_CASE("two jobs with the same pictures have a file each") {
  Site site;
  const std::vector<OutputFileMeta> files = {site.File("same")};
  const auto a = site.writer.Plan("a", files, 0).value(), b = site.writer.Plan("b", files, 0).value();
  REQUIRE(site.writer.WriteAll(*site.blobs, "b", files, b, "{}", "").ok());
  REQUIRE(site.writer.WriteAll(*site.blobs, "a", files, a, "{}", "").ok());
  CHECK(site.Names() == Names{"pic_00001_.bin", "pic_00002_.bin"});
}

TEST_CASE("a crash at any instant of writing loses and doubles nothing") {
  for (const std::string_view at : {"output half written", "output before link", "output after link"}) {
    for (int count = 1; count <= 3; ++count) {
      INFO(at << " " << count);
      Site site;
      const std::vector<OutputFileMeta> files = {site.File("one", "s/pic"), site.File("two", "s/pic"),
                                                 site.File("one", "s/pic")};
      const auto intents = site.writer.Plan("job", files, 0).value();
      REQUIRE(CrashAt(at, count,
                      [&] { site.writer.WriteAll(*site.blobs, "job", files, intents, "{}", "").IgnoreError(); }));
      OutputWriter again(site.out, site.temp.path() + "/temp");
      again.Reserve("job", intents);
      CHECK(PlannedNames(again.Plan("other", {site.File("x", "s/pic")}, 0).value()) == Names{"pic_00004_.bin"});
      const auto saved = again.WriteAll(*site.blobs, "job", files, intents, "{}", "");
      REQUIRE(saved.ok());
      CHECK(site.Names("s") == Names{"pic_00001_.bin", "pic_00002_.bin", "pic_00003_.bin"});
      CHECK(Content((*saved)[0].path) == "one");
      CHECK(Content((*saved)[1].path) == "two");
      CHECK(Content((*saved)[2].path) == "one");
    }
  }
}

TEST_CASE("links do not lead out of the folder") {
  Site site;
  fs::create_directories(site.out);
  fs::create_directories(site.temp.path() + "/secret");
  fs::create_directory_symlink(site.temp.path() + "/secret", site.out + "/link");
  fs::create_directories(site.out + "/inside");
  fs::create_directory_symlink("inside", site.out + "/good");
  CHECK(site.writer.Plan("a", {site.File("x", "link/pic")}, 0).status().code() == StatusCode::kInvalidArgument);
  std::vector<OutputFileMeta> files = {site.File("x", "sub/pic")};
  const auto intents = site.writer.Plan("b", files, 0).value();
  fs::create_directory_symlink(site.temp.path() + "/secret", site.out + "/sub");
  CHECK(site.writer.WriteAll(*site.blobs, "b", files, intents, "{}", "").status().code() ==
        StatusCode::kInvalidArgument);
  CHECK(fs::is_empty(site.temp.path() + "/secret"));
  files = {site.File("x", "good/pic")};
  CHECK(site.writer.WriteAll(*site.blobs, "c", files, site.writer.Plan("c", files, 0).value(), "{}", "").ok());
  CHECK(fs::exists(site.out + "/inside/pic_00001_.bin"));
  // A link under the file's own name is another's file.
  files = {site.File("foreign", "pic")};
  std::ofstream(site.temp.path() + "/target") << "foreign";
  fs::create_symlink(site.temp.path() + "/target", site.out + "/pic_00001_.bin");
  const auto saved =
      site.writer.WriteAll(*site.blobs, "d", files, {{.base = "pic", .counter = 1, .extension = "bin"}}, "{}", "");
  CHECK(saved.value().front().filename == "pic_00002_.bin");
}

TEST_CASE("what a worker may not ask for is refused") {
  Site site;
  OutputFileMeta file = site.File("x");
  for (const char* extension : {"", "a/b", "..", "averyveryverylongname", "png "}) {
    file.extension = extension;
    CHECK(site.writer.Plan("a", {file}, 0).status().code() == StatusCode::kInvalidArgument);
  }
  file = site.File("x");
  file.type = "input";
  CHECK(site.writer.Plan("a", {file}, 0).status().code() == StatusCode::kInvalidArgument);
  file = site.File("x");
  const auto intents = site.writer.Plan("a", {file}, 0).value();
  CHECK(site.writer.WriteAll(*site.blobs, "a", {}, intents, "{}", "").status().code() == StatusCode::kInternal);
  file.blob.hash = std::string(64, '0');
  CHECK(site.writer.WriteAll(*site.blobs, "a", {file}, intents, "{}", "").status().code() == StatusCode::kNotFound);
}

TEST_CASE("a full disk is told and the write can be repeated") {
  Site site;
  fs::create_directories(site.out);
  const SmallDisk disk(site.out, 1 << 20);
  if (!disk.ok()) {
    WARN("skipped: a small disk can be mounted by root only");
    return;
  }
  std::ofstream(site.out + "/ballast") << std::string(700'000, 'b');
  const std::vector<OutputFileMeta> files = {site.File("small"), site.File(std::string(500'000, 'x'))};
  const auto intents = site.writer.Plan("job", files, 0).value();
  const auto saved = site.writer.WriteAll(*site.blobs, "job", files, intents, "{}", "");
  REQUIRE(saved.status().code() == StatusCode::kResourceExhausted);
  CHECK(Message(saved.status()).find(site.out) != std::string::npos);
  CHECK(site.Names() == Names{"ballast", "pic_00001_.bin"});
  fs::remove(site.out + "/ballast");
  CHECK(site.writer.WriteAll(*site.blobs, "job", files, intents, "{}", "").ok());
  CHECK(site.Names() == Names{"pic_00001_.bin", "pic_00002_.bin"});
}

}  // namespace
}  // namespace atelier
