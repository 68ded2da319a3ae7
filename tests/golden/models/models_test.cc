#include <catch2/catch.hpp>
#include <chrono>
#include <cstdio>

#include "common/image/codec.h"
#include "tests/golden/golden_data.h"
#include "tests/golden/models/unnoticed.h"
#include "worker/engine/guard.h"
#include "worker/models/adapter.h"
#include "worker/models/family.h"
#include "worker/models/loaders.h"
#include "worker/models/vae.h"
#include "worker/text/clip_encoder.h"

namespace atelier {
namespace {

std::string Checkpoint(const std::string& name) { return golden::Models() + "/checkpoints/" + name + ".safetensors"; }

TEST_CASE("UNets give the golden output") {
  const c10::InferenceMode inference;
  engine::Engine engine({});
  int checked = 0;
  for (const Json& item : golden::Cases("module_forward")) {
    const std::string id = item["id"];
    const size_t unet = id.find("_unet_");
    if (unet == std::string::npos) continue;
    INFO(id);
    auto parts = models::LoadCheckpoint(Checkpoint(id.substr(0, unet)), engine);
    REQUIRE(parts.ok());
    const auto io = golden::Tensors(item["files"][0]);
    engine::ModelCallInputs inputs;
    inputs.context = io.Find("in.context");
    inputs.y = io.Find("in.y");
    const at::Tensor out = (*parts)->diffusion.network->Forward(io.Find("in.x"), io.Find("in.t"), inputs);
    const double diff = golden::MaxDiff(out, io.Find("out"));
    std::printf("%s: difference %.2g\n", id.c_str(), diff);
    CHECK(diff <= item["tolerance_abs"].get<double>());
    ++checked;
  }
  CHECK(checked >= 9);
}

TEST_CASE("adapters give the golden weights") {
  const c10::InferenceMode inference;
  engine::Engine engine({});
  int checked = 0;
  for (const Json& item : golden::Cases("lora_weights")) {
    const std::string id = item["id"], checkpoint = item["models"][0], adapter = item["models"][1];
    INFO(id);
    auto parts = models::LoadCheckpoint(golden::Models() + "/checkpoints/" + checkpoint, engine);
    REQUIRE(parts.ok());
    auto file = models::AdapterFile::Open(golden::Models() + "/loras/" + adapter);
    REQUIRE(file.ok());
    // The strength is the end of the case's name.
    const double strength = std::stod(id.substr(id.rfind('_') + 1));
    using Side = models::AdapterNaming::Side;
    const engine::WeightSource& network = (*parts)->diffusion.weights;
    const engine::WeightSource text = (*parts)->text_encoder->weights();
    const auto model = models::ReadAdapter(*file, Side::kDiffusion, network, strength);
    const auto clip = models::ReadAdapter(*file, Side::kText, text, strength);
    CHECK(file->Unused().empty());
    CHECK(model.misfits.empty());
    CHECK(clip.misfits.empty());
    for (const auto& [name, want] : golden::ReadTensors(golden::Root() + "/" + item["files"][0].get<std::string>())) {
      const std::string in_model = "model.diffusion_model.", in_clip = "clip.";
      const bool of_model = name.starts_with(in_model);
      const std::string own = name.substr(of_model ? in_model.size() : in_clip.size());
      INFO(own);
      const at::Tensor got =
          of_model ? network.Value(own, at::kCPU, model.patches) : text.Value(own, at::kCPU, clip.patches);
      REQUIRE(got.defined());
      CHECK(golden::MaxDiff(got, want) <= item["tolerance_abs"].get<double>());
      CHECK(golden::MaxDiff(got, (of_model ? network : text).Value(own, at::kCPU)) > 0);
      ++checked;
    }
  }
  CHECK(checked >= 30);
}

TEST_CASE("autoencoders give the golden output") {
  const c10::InferenceMode inference;
  engine::Engine engine({});
  int checked = 0;
  for (const Json& item : golden::Cases("module_forward")) {
    const std::string id = item["id"];
    const size_t at = id.find("_vae_");
    if (at == std::string::npos || id.find("wan") != std::string::npos) continue;
    INFO(id);
    auto parts = models::LoadCheckpoint(Checkpoint(id.substr(0, at)), engine);
    REQUIRE(parts.ok());
    REQUIRE((*parts)->autoencoder != nullptr);
    const auto io = golden::Tensors(item["files"][0]);
    // The file holds the raw network: images in -1..1, channels first.
    auto latent = (*parts)->autoencoder->Encode((io.Find("in.image").movedim(1, 3) + 1.0) / 2.0);
    REQUIRE(latent.ok());
    const double encode = golden::MaxDiff(*latent, io.Find("out.encode"));
    auto pixels = (*parts)->autoencoder->Decode(io.Find("in.z"));
    REQUIRE(pixels.ok());
    const at::Tensor want = ((io.Find("out.decode") + 1.0) / 2.0).clamp(0, 1).movedim(1, 3);
    const double decode = golden::MaxDiff(*pixels, want);
    std::printf("%s: encode %.2g decode %.2g\n", id.c_str(), encode, decode);
    CHECK(encode <= item["tolerance_abs"].get<double>());
    CHECK(decode <= item["tolerance_abs"].get<double>());
    ++checked;
  }
  CHECK(checked >= 3);
}

// An image of golden/inputs as LoadImage gives it: f32 [1,H,W,3].
at::Tensor Input(const std::string& name) {
  auto image = DecodeImage(golden::ReadFile(golden::Root() + "/inputs/" + name));
  REQUIRE(image.ok());
  const ImageU8& rgb = image->rgb;
  return at::from_blob(const_cast<uint8_t*>(rgb.data.data()), {1, rgb.height, rgb.width, 3}, at::kByte).to(at::kFloat) /
         255.0;
}

TEST_CASE("VAE workflows give the golden latents and pictures") {
  engine::Engine engine({});
  double worst = 0;
  int checked = 0;
  for (const Json& item : golden::Cases("vae")) {
    const std::string folder = golden::Root() + "/vae/" + item["id"].get<std::string>() + "/";
    INFO(folder);
    std::string checkpoint, vae, image;
    int64_t tile = 0, overlap = 0;
    bool encode_tiled = false, decode_tiled = false;
    const Json workflow = golden::ReadJson(folder + "workflow.json");
    for (const auto& [id, node] : workflow.items()) {
      const std::string type = node["class_type"];
      const Json& in = node["inputs"];
      if (type == "CheckpointLoaderSimple") checkpoint = in["ckpt_name"];
      if (type == "VAELoader") vae = in["vae_name"];
      if (type == "LoadImage") image = in["image"];
      encode_tiled = encode_tiled || type == "VAEEncodeTiled";
      decode_tiled = decode_tiled || type == "VAEDecodeTiled";
      if (type.ends_with("Tiled")) tile = in["tile_size"], overlap = in["overlap"];
    }
    std::shared_ptr<const engine::Autoencoder> autoencoder;
    if (!vae.empty()) {
      auto loaded = models::LoadAutoencoder(golden::Models() + "/vae/" + vae, engine);
      REQUIRE(loaded.ok());
      autoencoder = *loaded;
    } else {
      auto loaded = models::LoadCheckpoint(golden::Models() + "/checkpoints/" + checkpoint, engine);
      REQUIRE(loaded.ok());
      autoencoder = (*loaded)->autoencoder;
    }
    const at::Tensor pixels = Input(image);
    auto latent = encode_tiled ? autoencoder->EncodeTiled(pixels, {tile, overlap}) : autoencoder->Encode(pixels);
    REQUIRE(latent.ok());
    const double tolerance = item["tolerance_abs"];
    if (std::filesystem::exists(folder + "final.latent.safetensors")) {
      const double diff =
          golden::MaxDiff(*latent, golden::ReadTensors(folder + "final.latent.safetensors").at("latent_tensor"));
      worst = std::max(worst, diff);
      CHECK(diff <= tolerance);
      ++checked;
    }
    if (!std::filesystem::exists(folder + "final.image.safetensors")) continue;
    const int64_t fitting = tile < overlap * 4 ? tile / 4 : overlap;
    auto decoded =
        decode_tiled ? autoencoder->DecodeTiled(*latent, {tile / 8, fitting / 8}) : autoencoder->Decode(*latent);
    REQUIRE(decoded.ok());
    const at::Tensor want = golden::ReadTensors(folder + "final.image.safetensors").at("image");
    const double diff = golden::MaxDiff(*decoded, want);
    worst = std::max(worst, diff);
    CHECK(diff <= std::max(tolerance, want.scalar_type() == at::kHalf ? 5e-4 : 0.0));
    ++checked;
  }
  std::printf("VAE workflows: %d results, worst difference %.2g\n", checked, worst);
  CHECK(checked >= 15);
}

TEST_CASE("upscale workflows give the golden pictures") {
  engine::Engine engine({});
  int checked = 0;
  for (const Json& item : golden::Cases("upscale_model")) {
    const std::string folder = golden::Root() + "/upscale_model/" + item["id"].get<std::string>() + "/";
    std::string model, image;
    const Json workflow = golden::ReadJson(folder + "workflow.json");
    for (const auto& [id, node] : workflow.items()) {
      if (node["class_type"] == "UpscaleModelLoader") model = node["inputs"]["model_name"];
      if (node["class_type"] == "LoadImage") image = node["inputs"]["image"];
    }
    const std::string path = golden::Models() + "/upscale_models/" + model;
    if (!std::filesystem::exists(path)) {
      std::printf("SKIPPED part: %s is not there (get_upscale_models fetches it)\n", model.c_str());
      continue;
    }
    INFO(folder);
    auto network = models::LoadUpscaler(path, engine);
    REQUIRE(network.ok());
    auto up = models::UpscaleWithModel(**network, Input(image));
    REQUIRE(up.ok());
    const at::Tensor want = golden::ReadTensors(folder + "up.image.safetensors").at("image");
    const double diff = golden::MaxDiff(*up, want);
    std::printf("%s: difference %.2g\n", item["id"].get<std::string>().c_str(), diff);
    CHECK(diff <= std::max(item["tolerance_abs"].get<double>(), want.scalar_type() == at::kHalf ? 5e-4 : 0.0));
    ++checked;
  }
  CHECK(checked > 0);
}

TEST_CASE("the demo model loads by its shapes and runs") {
  const c10::InferenceMode inference;
  const std::string path = golden::Root() + "/../demo/demo.safetensors";
  if (!std::filesystem::exists(path)) {
    std::printf("SKIPPED part: no demo model\n");
    return;
  }
  engine::Engine engine({});
  auto parts = models::LoadCheckpoint(path, engine);
  REQUIRE(parts.ok());
  CHECK((*parts)->diffusion.family == "sd15");
  auto cond = (*parts)->text_encoder->Encode("a red circle on a blue background", 0);
  REQUIRE(cond.ok());
  engine::ModelCallInputs inputs;
  inputs.context = cond->entries[0].cond.repeat({2, 1, 1});
  const at::Tensor x = at::zeros({2, 4, 16, 16}), t = at::full({2}, 500.0);
  (*parts)->diffusion.network->Forward(x, t, inputs);
  const auto start = std::chrono::steady_clock::now();
  const at::Tensor out = (*parts)->diffusion.network->Forward(x, t, inputs);
  const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  CHECK(at::isfinite(out).all().item<bool>());
  auto image = (*parts)->autoencoder->Decode(at::randn({1, 4, 16, 16}));
  REQUIRE(image.ok());
  CHECK(image->sizes() == at::IntArrayRef({1, 128, 128, 3}));
  std::printf("demo model: one UNet call at 128x128, batch 2: %.1f ms\n", ms);
}

TEST_CASE("an engine of little memory unloads and gives the same") {
  const c10::InferenceMode inference;
  engine::EngineOptions options;
  options.resident_bytes_max = 1;
  engine::Engine small(options), large({});
  auto a = models::LoadCheckpoint(Checkpoint("tiny_sd15"), small);
  auto b = models::LoadCheckpoint(Checkpoint("tiny_sd15"), large);
  REQUIRE((a.ok() && b.ok()));
  for (int round = 0; round < 2; ++round) {
    auto x = (*a)->text_encoder->Encode("a (cat:1.2)", 0), y = (*b)->text_encoder->Encode("a (cat:1.2)", 0);
    REQUIRE((x.ok() && y.ok()));
    CHECK(at::equal(x->entries[0].cond, y->entries[0].cond));
    auto p = (*a)->autoencoder->Decode(at::ones({1, 4, 8, 8})), q = (*b)->autoencoder->Decode(at::ones({1, 4, 8, 8}));
    REQUIRE((p.ok() && q.ok()));
    CHECK(at::equal(*p, *q));
  }
  CHECK(small.residency()->bytes() < large.residency()->bytes());
  auto again = models::LoadCheckpoint(Checkpoint("tiny_sd15"), large);
  CHECK(again->get() == b->get());
}

TEST_CASE("upscale networks give the golden output") {
  const c10::InferenceMode inference;
  engine::Engine engine({});
  for (const char* name : {"compact", "esrgan_x2", "esrgan_plus"}) {
    auto network = models::LoadUpscaler(golden::Models() + "/upscale_models/tiny_" + name + ".safetensors", engine);
    INFO(name << " " << network.status().ToString());
    REQUIRE(network.ok());
    const auto io = golden::Tensors(std::string("upscale_arch/") + name + "/io.safetensors");
    int pairs = 0;
    for (; io.Has(Cat("in", pairs)); ++pairs) {
      const at::Tensor out = (*network)->Forward(io.Find(Cat("in", pairs)));
      const double diff = golden::MaxDiff(out, io.Find(Cat("raw", pairs)));
      std::printf("%s %d: difference %.2g, scale %d\n", name, pairs, diff, static_cast<int>((*network)->scale()));
      CHECK(diff <= 2e-5);
    }
    CHECK(pairs > 0);
  }
}

TEST_CASE("files that cannot be loaded are named in one sentence") {
  engine::Engine engine({});
  const auto expect = [](const Status& status, StatusCode code, const std::string& word) {
    INFO(status.ToString());
    CHECK(status.code() == code);
    CHECK(Message(status).find(word) != std::string::npos);
    CHECK(Message(status).find('\n') == std::string::npos);
    CHECK(Message(status).find("/tmp") == std::string::npos);  // no server paths
  };
  expect(models::LoadCheckpoint("/tmp/none.safetensors", engine).status(), StatusCode::kNotFound, "none.safetensors");
  expect(models::LoadCheckpoint(golden::Models() + "/vae/tiny_wan21_vae.safetensors", engine).status(),
         StatusCode::kInvalidArgument, "known family");
  expect(models::LoadAutoencoder(Checkpoint("../loras/sd15_lokr"), engine).status(), StatusCode::kInvalidArgument,
         "autoencoder");
  expect(models::LoadUpscaler(Checkpoint("tiny_sd15"), engine).status(), StatusCode::kInvalidArgument,
         "known architecture");
  const std::string bytes = golden::ReadFile(Checkpoint("tiny_sd15"));
  const std::string path = "/tmp/atelier_models_test_cut.safetensors";
  std::ofstream(path, std::ios::binary) << bytes.substr(0, bytes.size() / 2);
  expect(models::LoadCheckpoint(path, engine).status(), StatusCode::kDataLoss, "cut off");
  std::ofstream(path, std::ios::binary) << "hello, this is no model";
  expect(models::LoadCheckpoint(path, engine).status(), StatusCode::kInvalidArgument, "no safetensors file");
  std::filesystem::remove(path);
}

TEST_CASE("a missing tensor is named") {
  engine::Engine engine({});
  auto file = engine::WeightSource::Open(Checkpoint("tiny_sd15"));
  REQUIRE(file.ok());
  auto tensors = file->tensors();
  tensors.erase("model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_v.weight");
  const engine::WeightSource cut("cut.safetensors", std::move(tensors));
  const auto family = Registry<models::Family>::Get().Find("sd15");
  const Status status = family->build(cut.Prefixed("model.diffusion_model."), cut, engine).status();
  CHECK(status.code() == StatusCode::kInvalidArgument);
  CHECK(Message(status).find("middle_block.1.transformer_blocks.0.attn2.to_v.weight") != std::string::npos);
}

TEST_CASE("no tensor of a network can be missing unnoticed, biases neither") {
  engine::Engine engine({});
  const auto file = engine::WeightSource::Open(Checkpoint("tiny_sd15"));
  REQUIRE(file.ok());
  const std::vector<std::string> none;
  const models::Family& family = *Registry<models::Family>::Get().Find("sd15");
  CHECK(Unnoticed(file->Prefixed("model.diffusion_model."), [&](const engine::WeightSource& w) {
          if (!family.detect(w)) return InvalidArgument(w.file(), ": of no known family");
          return family.build(w, w, engine).status();
        }) == none);
  CHECK(Unnoticed(file->Prefixed("first_stage_model."),
                  [&](const engine::WeightSource& w) { return models::BuildVae(w, engine).status(); }) == none);
  CHECK(Unnoticed(file->Prefixed("cond_stage_model.transformer."), [&](const engine::WeightSource& w) {
          return text::ClipEncoder::Build(w, {}, engine).status();
        }) == none);
}

TEST_CASE("no tensor of an upscale network can be missing unnoticed") {
  engine::Engine engine({});
  for (const char* name : {"compact", "esrgan_x2"}) {
    INFO(name);
    const auto file = engine::WeightSource::Open(golden::Models() + "/upscale_models/tiny_" + name + ".safetensors");
    REQUIRE(file.ok());
    const models::UpscalerArch& arch =
        *Registry<models::UpscalerArch>::Get().Find(std::string(name).substr(0, std::string(name).find('_')));
    CHECK(Unnoticed(*file, [&](const engine::WeightSource& w) {
            if (!arch.detect(w)) return InvalidArgument(w.file(), ": of no known architecture");
            return arch.build(w, engine).status();
          }) == std::vector<std::string>());
  }
}

}  // namespace
}  // namespace atelier
