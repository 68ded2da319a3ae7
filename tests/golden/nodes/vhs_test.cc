// VideoHelperSuite's loaders against golden/extras/vhs_load_video.json, and what its writer makes, read back.
#include <catch2/catch.hpp>

#include "tests/golden/nodes/run_prompt.h"
#include "worker/engine/video.h"
#include "worker/media/decoder.h"

namespace atelier {
namespace {

Fragment OneNode(const std::string& type, const Json& inputs, int64_t outputs, golden::Host& host) {
  Fragment fragment;
  fragment.nodes["1"] = {{"class_type", type}, {"inputs", inputs}};
  for (int64_t slot = 0; slot < outputs; ++slot) fragment.wanted.push_back({"1", slot, ""});
  host.blobs["vhs_src.mkv"] =
      std::make_shared<const std::string>(golden::ReadFile(golden::Root() + "/extras/vhs_src.mkv"));
  fragment.inputs["vhs_src.mkv"] = "vhs_src.mkv";
  return fragment;
}

void CheckInfo(const engine::VideoInfo& info, const Json& want) {
  CHECK(info.source_fps == want.at("source_fps").get<double>());
  CHECK(info.source_frame_count == want.at("source_frame_count").get<double>());
  CHECK(info.source_duration == want.at("source_duration").get<double>());
  CHECK(info.source_width == want.at("source_width").get<int64_t>());
  CHECK(info.source_height == want.at("source_height").get<int64_t>());
  CHECK(info.loaded_fps == want.at("loaded_fps").get<double>());
  CHECK(info.loaded_frame_count == want.at("loaded_frame_count").get<int64_t>());
  CHECK(info.loaded_duration == want.at("loaded_duration").get<double>());
  CHECK(info.loaded_width == want.at("loaded_width").get<int64_t>());
  CHECK(info.loaded_height == want.at("loaded_height").get<int64_t>());
}

TEST_CASE("VHS_LoadVideo: frames, sizes and figures") {
  const Json data = golden::ReadJson(golden::Root() + "/extras/vhs_load_video.json");
  int checked = 0;
  for (const Json& c : data.at("cases")) {
    if (c.at("node") != "VHS_LoadVideo") continue;
    INFO(c.at("inputs").dump());
    golden::Host host;
    Executor executor;
    auto result = executor.Run(OneNode(c.at("node"), c.at("inputs"), 4, host), host);
    ++checked;
    if (c.contains("error")) {
      CHECK(result.status().code() == StatusCode::kInvalidArgument);
      continue;
    }
    INFO(result.status().ToString());
    REQUIRE(result.ok());
    const Value pictures = DecodeBlob(result->blobs.at(0)).value();
    const at::Tensor pixels = pictures.Get<engine::Image>()->pixels;
    REQUIRE(pixels.sizes().vec() == c.at("shape").get<std::vector<int64_t>>());
    // Frame i of the source is one grey of 7 i.
    const at::Tensor grey = pixels.select(3, 0).mean({1, 2}) * 255.0 / 7.0;
    const auto frames = c.at("frames").get<std::vector<int64_t>>();
    for (size_t i = 0; i < frames.size(); ++i)
      CHECK(grey[static_cast<int64_t>(i)].item<double>() == Approx(static_cast<double>(frames[i])).margin(1e-4));
    CHECK(DecodeBlob(result->blobs.at(1))->literal() == c.at("frame_count"));
    CheckInfo(*DecodeBlob(result->blobs.at(3))->Get<engine::VideoInfo>(), c.at("video_info"));
  }
  CHECK(checked == 24);
}

// The files of one run of VHS_VideoCombine on five pictures of 31 x 21.
StatusOr<std::vector<OutputFile>> Combine(const Json& inputs, bool sound = false) {
  golden::Host host;
  Executor executor;
  at::Tensor pixels = at::full({5, 21, 31, 3}, 0.25, at::kFloat);
  for (int64_t i = 0; i < 5; ++i) pixels[i].fill_((40.0 + 30.0 * static_cast<double>(i) + 0.6) / 255.0);
  ASSIGN_OR_RETURN(std::string blob, EncodeBlob(Value::Of<engine::Image>("IMAGE", {pixels}), ""));
  host.blobs["pixels"] = std::make_shared<const std::string>(std::move(blob));
  Fragment fragment;
  fragment.nodes["1"] = {{"class_type", "VHS_VideoCombine"}, {"inputs", inputs}};
  fragment.bindings.push_back({"1", "images", {"pixels"}, false});
  if (sound) {
    engine::Audio audio{at::rand({1, 2, 4000}, at::kFloat) - 0.5, 8000};
    ASSIGN_OR_RETURN(blob, EncodeBlob(Value::Of<engine::Audio>("AUDIO", audio), ""));
    host.blobs["sound"] = std::make_shared<const std::string>(std::move(blob));
    fragment.bindings.push_back({"1", "audio", {"sound"}, false});
  }
  fragment.output_nodes = {"1"};
  ASSIGN_OR_RETURN(FragmentResult result, executor.Run(fragment, host));
  return std::move(result.files);
}

std::vector<media::VideoFrame> Frames(const std::string& bytes) {
  auto decoder = media::VideoDecoder::Open(bytes);
  REQUIRE(decoder.ok());
  std::vector<media::VideoFrame> frames;
  for (media::VideoFrame frame; (*decoder)->Next(frame).value();) frames.push_back(frame);
  return frames;
}

TEST_CASE("VHS_VideoCombine: every format plays, with one number for all files") {
  const Json basic = {{"frame_rate", 8}, {"filename_prefix", "sub/AD"}, {"pingpong", true}, {"save_output", false}};
  for (const std::string format : {"video/h264-mp4", "video/h265-mp4", "video/webm", "video/ffv1-mkv", "video/ProRes",
                                   "image/gif", "video/ffmpeg-gif"}) {
    INFO(format);
    Json inputs = basic;
    inputs["format"] = format;
    const auto files = Combine(inputs, true);
    INFO(files.status().ToString());
    REQUIRE(files.ok());
    const bool sound = format.find("gif") == std::string::npos;
    REQUIRE(files->size() == (sound ? 3 : 2));
    CHECK(files->at(0).extension == ".png");
    for (const OutputFile& file : *files) {
      CHECK(file.type == "temp");
      CHECK(file.prefix == "sub/AD");
      CHECK(file.suffix.has_value());
    }
    const auto frames = Frames(files->at(1).bytes);
    REQUIRE(frames.size() == 8);  // 0 1 2 3 4 3 2 1
    CHECK(frames[0].width == 32);
    CHECK(frames[0].height == 22);
    // v * 255 + 0.5, cut off: 40.6 becomes 41.
    CHECK(std::abs(int{frames[0].data[0]} - 41) <= 3);
    CHECK(std::abs(int{frames[4].data[0]} - 161) <= 3);
    CHECK(std::abs(int{frames[7].data[0]} - 71) <= 3);
    if (!sound) continue;
    CHECK(files->at(2).suffix == "-audio");
    const auto info = media::Probe(files->at(2).bytes);
    REQUIRE(info->audio.has_value());
    CHECK(Frames(files->at(2).bytes).size() == 8);
  }
  Json inputs = basic;
  inputs["loop_count"] = 2;
  inputs["format"] = "video/h264-mp4";
  inputs["crf"] = 1;
  inputs["save_metadata"] = false;
  const auto looped = Combine(inputs);
  REQUIRE(looped.ok());
  REQUIRE(looped->size() == 2);
  CHECK(Frames(looped->at(1).bytes).size() == 24);
  CHECK_FALSE(looped->at(1).embed_workflow);
  CHECK(looped->at(0).embed_workflow);
  inputs["format"] = "video/ffmpeg-gif";
  CHECK(Combine(inputs).status().code() == StatusCode::kInvalidArgument);
  inputs["format"] = "video/ProRes";
  inputs["profile"] = "best";
  CHECK(Combine(inputs).status().code() == StatusCode::kInvalidArgument);
  inputs = basic;
  inputs["format"] = "video/16bit-png";
  const auto pngs = Combine(inputs);
  INFO(pngs.status().ToString());
  REQUIRE(pngs.ok());
  REQUIRE(pngs->size() == 9);
  CHECK(pngs->at(8).suffix == ".008");
  inputs["format"] = "image/webp";
  CHECK(Combine(inputs).ok());
  inputs["format"] = "video/av1-webm";
  CHECK_FALSE(Combine(inputs).ok());  // the encoder wants 64 pixels; a status, no crash
}

TEST_CASE("a video crosses between tasks, as parts and as a file") {
  engine::Video video;
  video.images.pixels = at::rand({3, 8, 8, 3}, at::kFloat);
  video.fps = 12.5;
  video.audio = engine::Audio{at::rand({1, 2, 100}, at::kFloat), 8000};
  const auto blob = EncodeBlob(Value::Of<engine::Video>("VIDEO", video), "");
  REQUIRE(blob.ok());
  const Value back = DecodeBlob(*blob).value();
  const auto* got = back.Get<engine::Video>();
  REQUIRE(got != nullptr);
  CHECK(at::equal(got->images.pixels, video.images.pixels));
  CHECK(got->fps == 12.5);
  CHECK(at::equal(got->audio->waveform, video.audio->waveform));
  engine::Video file;
  file.file = std::make_shared<const std::string>("bytes");
  const Value second = DecodeBlob(EncodeBlob(Value::Of<engine::Video>("VIDEO", file), "").value()).value();
  CHECK(*second.Get<engine::Video>()->file == "bytes");
}

TEST_CASE("CreateVideo and SaveVideo") {
  golden::Host host;
  Executor executor;
  const at::Tensor pixels = at::full({5, 32, 48, 3}, 0.5, at::kFloat);
  host.blobs["pixels"] =
      std::make_shared<const std::string>(EncodeBlob(Value::Of<engine::Image>("IMAGE", {pixels}), "").value());
  Fragment fragment;
  fragment.nodes["1"] = {{"class_type", "CreateVideo"}, {"inputs", {{"fps", 16}}}};
  fragment.nodes["2"] = {{"class_type", "SaveVideo"}, {"inputs", {{"video", {"1", 0}}}}};
  fragment.bindings.push_back({"1", "images", {"pixels"}, false});
  fragment.output_nodes = {"2"};
  auto result = executor.Run(fragment, host);
  INFO(result.status().ToString());
  REQUIRE(result.ok());
  REQUIRE(result->files.size() == 1);
  const OutputFile& file = result->files[0];
  CHECK(file.prefix == "video/ComfyUI");
  CHECK_FALSE(file.suffix.has_value());
  CHECK(media::Probe(file.bytes)->video->fps == 16);
  CHECK(Frames(file.bytes).size() == 5);
}

}  // namespace
}  // namespace atelier
