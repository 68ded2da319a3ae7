// VideoHelperSuite's loaders against golden/extras/vhs_load_video.json, and what its writer makes, read back.
#include <catch2/catch.hpp>

#include "common/image/codec.h"
#include "tests/golden/nodes/run_prompt.h"
#include "worker/engine/video.h"
#include "worker/media/decoder.h"
#include "worker/media/encoder.h"

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

TEST_CASE("VHS_LoadVideoFFmpeg: FFmpeg's choice of frames, 16 bits, masks, and the file's text in errors") {
  const Json data = golden::ReadJson(golden::Root() + "/extras/vhs_load_video.json");
  int checked = 0;
  for (const Json& c : data.at("cases")) {
    if (c.at("node") != "VHS_LoadVideoFFmpeg") continue;
    INFO(c.at("inputs").dump());
    golden::Host host;
    Executor executor;
    auto result = executor.Run(OneNode(c.at("node"), c.at("inputs"), 4, host), host);
    ++checked;
    INFO(result.status().ToString());
    REQUIRE(result.ok());
    const at::Tensor pixels = DecodeBlob(result->blobs.at(0))->Get<engine::Image>()->pixels;
    REQUIRE(pixels.sizes().vec() == c.at("shape").get<std::vector<int64_t>>());
    const at::Tensor grey = pixels.select(3, 0).mean({1, 2}) * 255.0 / 7.0;
    const auto frames = c.at("frames").get<std::vector<int64_t>>();
    for (size_t i = 0; i < frames.size(); ++i)  // FFmpeg's 16 bits are v * 256, of 65535
      CHECK(grey[static_cast<int64_t>(i)].item<double>() == Approx(static_cast<double>(frames[i])).margin(0.2));
    const at::Tensor mask = DecodeBlob(result->blobs.at(1))->Get<engine::Mask>()->values;
    CHECK(mask.sizes().vec() == c.at("mask_shape").get<std::vector<int64_t>>());
    CHECK(mask.abs().max().item<float>() == 0);
    CheckInfo(*DecodeBlob(result->blobs.at(3))->Get<engine::VideoInfo>(), c.at("video_info"));
  }
  CHECK(checked == 7);
  golden::Host host;
  Executor executor;
  const auto late =
      executor.Run(OneNode("VHS_LoadVideoFFmpegPath", {{"video", "vhs_src.mkv"}, {"start_time", 60}}, 1, host), host);
  CHECK(late.status().code() == StatusCode::kInvalidArgument);
  CHECK(Message(late.status()).find("vhs_src.mkv") != std::string::npos);
  CHECK(Message(late.status()).find("start_time") != std::string::npos);
}

TEST_CASE("VHS_LoadVideoFFmpeg: transparency becomes the mask") {
  media::VideoSettings settings;
  settings.muxer = "webm";
  settings.encoder = "libvpx-vp9";
  settings.pixel_format = "yuva420p";
  settings.options = {{"crf", "10"}, {"b", "0"}};
  settings.width = settings.height = 64;
  settings.channels = 4;
  auto encoder = media::VideoEncoder::Open(settings);
  REQUIRE(encoder.ok());
  std::vector<uint8_t> picture;
  for (int i = 0; i < 64 * 64; ++i) picture.insert(picture.end(), {200, 100, 50, 51});
  for (int i = 0; i < 3; ++i) REQUIRE((*encoder)->Add(picture.data(), picture.size()).ok());
  golden::Host host;
  host.blobs["clear.webm"] = std::make_shared<const std::string>((*encoder)->Finish().value());
  Fragment fragment;
  fragment.nodes["1"] = {{"class_type", "VHS_LoadVideoFFmpeg"}, {"inputs", {{"video", "clear.webm"}}}};
  fragment.inputs["clear.webm"] = "clear.webm";
  fragment.wanted = {{"1", 1, ""}};
  Executor executor;
  const auto result = executor.Run(fragment, host);
  INFO(result.status().ToString());
  REQUIRE(result.ok());
  const at::Tensor mask = DecodeBlob(result->blobs.at(0))->Get<engine::Mask>()->values;
  REQUIRE(mask.sizes().vec() == std::vector<int64_t>{3, 64, 64});
  CHECK(mask.mean().item<double>() == Approx(0.8).margin(0.02));
}

// An opaque or half clear picture of one grey as a PNG file.
std::shared_ptr<const std::string> GreyPng(int width, int height, uint8_t grey, bool clear) {
  ImageU8 picture = MakeImage(width, height, clear ? 4 : 3, grey).value();
  for (size_t i = 3; clear && i < picture.data.size(); i += 4) picture.data[i] = 51;
  return std::make_shared<const std::string>(EncodePng(picture).value());
}

TEST_CASE("VHS_LoadImages: by name, at the size of most, with what is clear as the mask") {
  golden::Host host;
  Fragment fragment;
  fragment.nodes["1"] = {{"class_type", "VHS_LoadImages"}, {"inputs", {{"directory", "set"}}}};
  fragment.wanted = {{"1", 0, ""}, {"1", 1, ""}, {"1", 2, ""}};
  const auto add = [&](const std::string& name, int width, int height, uint8_t grey, bool clear) {
    host.blobs[name] = GreyPng(width, height, grey, clear);
    fragment.inputs[name] = name;
  };
  add("set/1.png", 20, 30, 10, false);
  add("set/2.png", 16, 8, 20, true);
  add("set/3.png", 16, 8, 30, false);
  add("set/deep/4.png", 16, 8, 40, false);
  add("settled/5.png", 16, 8, 50, false);
  const auto run = [&](const Json& more) {
    fragment.nodes["1"]["inputs"].update(more);
    Executor executor;
    return executor.Run(fragment, host);
  };
  auto made = run({{"select_every_nth", 1}});
  INFO(made.status().ToString());
  REQUIRE(made.ok());
  const at::Tensor pixels = DecodeBlob(made->blobs.at(0))->Get<engine::Image>()->pixels;
  REQUIRE(pixels.sizes().vec() == std::vector<int64_t>{3, 8, 16, 3});
  for (int64_t i = 0; i < 3; ++i) CHECK(pixels[i].mean().item<double>() == Approx(10.0 * (i + 1) / 255).margin(1e-4));
  const at::Tensor mask = DecodeBlob(made->blobs.at(1))->Get<engine::Mask>()->values;
  REQUIRE(mask.sizes().vec() == std::vector<int64_t>{3, 8, 16});
  CHECK(mask[0].abs().max().item<float>() == 0);
  CHECK(mask[1].mean().item<double>() == Approx(0.8));
  made = run({{"skip_first_images", 1}, {"select_every_nth", 2}, {"image_load_cap", 1}});
  REQUIRE(made.ok());
  CHECK(DecodeBlob(made->blobs.at(2))->literal() == 1);
  made = run({{"skip_first_images", 2}, {"image_load_cap", 0}});  // opaque ones alone
  REQUIRE(made.ok());
  CHECK(DecodeBlob(made->blobs.at(1))->Get<engine::Mask>()->values.sizes().vec() == std::vector<int64_t>{1, 64, 64});
  CHECK(run({{"skip_first_images", 3}}).status().code() == StatusCode::kInvalidArgument);
  host.blobs["set/2.png"] = std::make_shared<const std::string>("no picture");
  const auto damaged = run({{"skip_first_images", 0}, {"select_every_nth", 1}});
  CHECK(Message(damaged.status()).find("set/2.png") != std::string::npos);
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
