#include <catch2/catch.hpp>

#include "tests/golden/nodes/run_prompt.h"
#include "worker/engine/tensor_blob.h"
#include "worker/engine/types.h"

namespace atelier {
namespace {

Json Node(const std::string& type, Json inputs) { return {{"class_type", type}, {"inputs", std::move(inputs)}}; }
Json Link(const char* node, int slot) { return Json::array({node, slot}); }

// A text prompt of width 64 without a text encoder's file is not to be had, so the tiny one is used.
Json Base(const std::string& vae) {
  Json p = Json::object();
  p["clip"] = Node("CLIPLoader", {{"clip_name", "tiny_umt5.safetensors"}, {"type", "wan"}});
  p["text"] = Node("CLIPTextEncode", {{"clip", Link("clip", 0)}, {"text", "a cat"}});
  p["vae"] = Node("VAELoader", {{"vae_name", vae}});
  p["picture"] = Node("LoadImage", {{"image", "astro_64.png"}});
  p["video"] = Node("RepeatImageBatch", {{"image", Link("picture", 0)}, {"amount", 5}});
  return p;
}
Json Sizes(Json more, int64_t length) {
  const Json sizes{{"positive", Link("text", 0)},
                   {"negative", Link("text", 0)},
                   {"vae", Link("vae", 0)},
                   {"width", 64},
                   {"height", 48},
                   {"length", length},
                   {"batch_size", 2}};
  for (const auto& [key, value] : sizes.items()) more[key] = value;
  return more;
}

// What the outputs `slots` of the node "it" hold, as blobs; an error's text in their place.
StatusOr<std::vector<std::string>> Outputs(const Json& prompt, const std::vector<int64_t>& slots) {
  golden::UseGoldenModels();
  golden::Host host;
  Executor executor;
  Fragment fragment = golden::WholePrompt(prompt, host);
  for (const int64_t slot : slots) fragment.wanted.push_back({"it", slot, ""});
  auto result = executor.Run(fragment, host);
  RETURN_IF_ERROR(result.status());
  return result->blobs;
}

at::Tensor Part(const std::string& blob, const std::string& name) {
  auto view = ParseSafetensors(blob);
  REQUIRE(view.ok());
  const auto* info = view->Find(name);
  INFO(name);
  REQUIRE(info != nullptr);
  return engine::TensorCopy(*view, *info);
}

TEST_CASE("WanVaceToVideo puts a reference in front and masks in four dimensions") {
  Json p = Base("tiny_wan21_vae.safetensors");
  p["mask"] = Node("SolidMask", {{"value", 0.0}, {"width", 64}, {"height", 48}});
  p["it"] = Node("WanVaceToVideo", Sizes({{"strength", 0.75},
                                          {"control_video", Link("video", 0)},
                                          {"control_masks", Link("mask", 0)},
                                          {"reference_image", Link("picture", 0)}},
                                         9));
  const auto out = Outputs(p, {0, 2, 3});
  INFO(out.status().ToString());
  REQUIRE(out.ok());
  const at::Tensor frames = Part((*out)[0], "0.vace_frames.0"), mask = Part((*out)[0], "0.vace_mask.0");
  CHECK(frames.sizes() == at::IntArrayRef({1, 32, 4, 6, 8}));
  CHECK(mask.sizes() == at::IntArrayRef({1, 64, 4, 6, 8}));
  CHECK(Part((*out)[1], "samples").sizes() == at::IntArrayRef({2, 16, 4, 6, 8}));
  // The one mask is for the first frame; frames without one are made anew, the reference is not.
  CHECK(mask.select(2, 0).abs().max().item<float>() == 0);
  CHECK(mask.select(2, 3).min().item<float>() == 1);
  CHECK((*out)[2].find("1") != std::string::npos);
  // A second node adds a second video.
  p["first"] = p["it"];
  p["it"]["inputs"]["positive"] = Link("first", 0);
  const auto twice = Outputs(p, {0});
  REQUIRE(twice.ok());
  CHECK(golden::MaxDiff(Part((*twice)[0], "0.vace_frames.1"), frames) == 0);
}

TEST_CASE("WAN's control nodes join two latents, 2.2 with a mask between") {
  Json p = Base("tiny_wan21_vae.safetensors");
  p["it"] = Node("WanFunControlToVideo",
                 Sizes({{"start_image", Link("picture", 0)}, {"control_video", Link("video", 0)}}, 5));
  auto out = Outputs(p, {0, 2});
  REQUIRE(out.ok());
  const at::Tensor concat = Part((*out)[0], "0.concat_latent_image");
  CHECK(concat.sizes() == at::IntArrayRef({2, 32, 2, 6, 8}));
  // The first picture alone is known of the second half; the rest is empty in model space.
  CHECK(concat[0][16][1].std().item<float>() < 1e-6);
  CHECK(concat[0][16][0].std().item<float>() > 0);
  CHECK(concat[0][0][1].std().item<float>() > 0);

  p["vae"] = Node("VAELoader", {{"vae_name", "tiny_wan22_vae.safetensors"}});
  p["it"] = Node("Wan22FunControlToVideo",
                 Sizes({{"ref_image", Link("picture", 0)}, {"control_video", Link("video", 0)}}, 5));
  out = Outputs(p, {0, 2});
  REQUIRE(out.ok());
  CHECK(Part((*out)[0], "0.concat_latent_image").sizes() == at::IntArrayRef({2, 96, 2, 3, 4}));
  CHECK(Part((*out)[0], "0.concat_mask").sizes() == at::IntArrayRef({1, 4, 2, 3, 4}));
  CHECK(Part((*out)[0], "0.reference_latents.0").sizes() == at::IntArrayRef({1, 48, 1, 3, 4}));
  CHECK((*out)[0].find("concat_mask_index") != std::string::npos);
}

TEST_CASE("WAN's nodes say what does not fit") {
  Json p = Base("tiny_wan22_vae.safetensors");
  p["it"] = Node("WanVaceToVideo", Sizes({{"strength", 1.0}}, 5));
  Status status = Outputs(p, {0}).status();
  CHECK(Message(status).find("expected 16") != std::string::npos);
  p = Base("tiny_vae16.safetensors");
  p["it"] = Node("WanImageToVideo", Sizes(Json::object(), 5));
  status = Outputs(p, {0}).status();
  CHECK(Message(status).find("for pictures") != std::string::npos);
  // A conditioning for another length than the latent's.
  p = Base("tiny_wan21_vae.safetensors");
  p["prepared"] = Node("WanImageToVideo", Sizes({{"start_image", Link("picture", 0)}}, 9));
  p["other"] = Node("EmptyHunyuanLatentVideo", {{"width", 64}, {"height", 48}, {"length", 5}, {"batch_size", 1}});
  p["model"] = Node("UNETLoader", {{"unet_name", "tiny_wan21_i2v.safetensors"}, {"weight_dtype", "default"}});
  p["it"] = Node("KSampler", {{"model", Link("model", 0)},
                              {"positive", Link("prepared", 0)},
                              {"negative", Link("prepared", 1)},
                              {"latent_image", Link("other", 0)},
                              {"seed", 1},
                              {"steps", 1},
                              {"cfg", 1.0},
                              {"sampler_name", "euler"},
                              {"scheduler", "simple"},
                              {"denoise", 1.0}});
  status = Outputs(p, {0}).status();
  CHECK(Message(status).find("latent frames") != std::string::npos);
}

TEST_CASE("a video's latent may be a batch with a mask for each of its frames") {
  Json p = Base("tiny_wan22_vae.safetensors");
  p["start"] = Node("Wan22ImageToVideoLatent", {{"vae", Link("vae", 0)},
                                                {"width", 64},
                                                {"height", 64},
                                                {"length", 9},
                                                {"batch_size", 2},
                                                {"start_image", Link("picture", 0)}});
  p["model"] = Node("UNETLoader", {{"unet_name", "tiny_wan22_ti2v5b.safetensors"}, {"weight_dtype", "default"}});
  p["it"] = Node("KSampler", {{"model", Link("model", 0)},
                              {"positive", Link("text", 0)},
                              {"negative", Link("text", 0)},
                              {"latent_image", Link("start", 0)},
                              {"seed", 1},
                              {"steps", 2},
                              {"cfg", 2.0},
                              {"sampler_name", "euler"},
                              {"scheduler", "simple"},
                              {"denoise", 1.0}});
  const auto out = Outputs(p, {0});
  INFO(out.status().ToString());
  REQUIRE(out.ok());
  const at::Tensor samples = Part((*out)[0], "samples");
  CHECK(samples.sizes() == at::IntArrayRef({2, 48, 3, 4, 4}));
  // The first frame stays what it was.
  p.erase("it");
  p["it"] = p["start"];
  const auto start = Outputs(p, {0});
  REQUIRE(start.ok());
  CHECK(golden::MaxDiff(samples.select(2, 0), Part((*start)[0], "samples").select(2, 0)) < 1e-4);
  CHECK(Part((*start)[0], "noise_mask").sizes() == at::IntArrayRef({2, 1, 3, 4, 4}));
}

TEST_CASE("tiles of a video keep all of its frames, also of such that fill no latent frame") {
  Json p = Base("tiny_wan21_vae.safetensors");
  p["model"] = Node("UNETLoader", {{"unet_name", "tiny_wan21_t2v.safetensors"}, {"weight_dtype", "default"}});
  for (const int frames : {5, 3}) {
    p["video"]["inputs"]["amount"] = frames;
    p["it"] = Node("UltimateSDUpscaleNoUpscale", {{"upscaled_image", Link("video", 0)},
                                                  {"model", Link("model", 0)},
                                                  {"positive", Link("text", 0)},
                                                  {"negative", Link("text", 0)},
                                                  {"vae", Link("vae", 0)},
                                                  {"seed", 1},
                                                  {"steps", 1},
                                                  {"cfg", 1.0},
                                                  {"sampler_name", "euler"},
                                                  {"scheduler", "simple"},
                                                  {"denoise", 0.3},
                                                  {"mode_type", "Linear"},
                                                  {"tile_width", 64},
                                                  {"tile_height", 64},
                                                  {"mask_blur", 8},
                                                  {"tile_padding", 32},
                                                  {"seam_fix_mode", "None"},
                                                  {"seam_fix_denoise", 1.0},
                                                  {"seam_fix_mask_blur", 8},
                                                  {"seam_fix_width", 64},
                                                  {"seam_fix_padding", 16},
                                                  {"force_uniform_tiles", true},
                                                  {"tiled_decode", frames == 3}});
    const auto out = Outputs(p, {0});
    INFO(out.status().ToString());
    REQUIRE(out.ok());
    const auto image = DecodeBlob((*out)[0]);
    REQUIRE(image.ok());
    CHECK(image->Get<engine::Image>()->pixels.sizes() == at::IntArrayRef({frames, 64, 64, 3}));
  }
}

}  // namespace
}  // namespace atelier
