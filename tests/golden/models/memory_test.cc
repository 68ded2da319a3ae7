// Models that do not fit, and memory that runs out on the way: the results are the same, or those of tiles.
#include <catch2/catch.hpp>
#include <cstdio>
#include <functional>

#include "tests/golden/golden_data.h"
#include "tests/harness/limited_memory.h"
#include "worker/engine/guard.h"
#include "worker/engine/tiler.h"
#include "worker/models/loaders.h"
#include "worker/models/vae_parts.h"
#include "worker/models/wan_vae.h"

namespace atelier {
namespace {

engine::EngineOptions Within(int64_t bytes) {
  engine::EngineOptions options;
  options.resident_bytes_max = bytes;
  return options;
}

// The network of a golden case, and its call.
struct Case {
  std::string id, path;
  engine::ModelCallInputs inputs;
  at::Tensor x, t;
};

std::vector<Case> Networks() {
  std::vector<Case> cases;
  for (const Json& item : golden::Cases("module_forward")) {
    const std::string id = item["id"];
    const bool unet = id.find("_unet_") != std::string::npos;
    const bool sd3 = id.starts_with("tiny_sd3_") || id.starts_with("tiny_sd35");
    if (!unet && !sd3 && !id.starts_with("tiny_flux") && !id.starts_with("tiny_wan")) continue;
    if (id.find("_vae_") != std::string::npos) continue;
    Case& c = cases.emplace_back();
    c.id = id;
    const std::string model = unet ? id.substr(0, id.find("_unet_")) : item["models"][0].get<std::string>();
    c.path = unet ? golden::Models() + "/checkpoints/" + model + ".safetensors"
                  : golden::Models() + "/diffusion_models/" + model.substr(0, model.rfind('.')) + ".safetensors";
    const auto io = golden::Tensors(item["files"][0]);
    c.inputs.context = io.Find("in.context");
    if (sd3) c.inputs.context = at::constant_pad_nd(io.Find("in.context_first192"), {0, 4096 - 192});
    c.inputs.y = io.Find("in.y");
    c.inputs.guidance = io.Find("in.guidance");
    c.inputs.clip_vision = io.Find("in.clip_fea");
    c.x = io.Find("in.x");
    c.t = io.Find("in.t");
  }
  return cases;
}

TEST_CASE("networks that are larger than the limit are streamed and give the same bytes") {
  const c10::InferenceMode inference;
  int checked = 0;
  for (const Case& c : Networks()) {
    INFO(c.id);
    engine::Engine whole({});
    const auto model = models::LoadDiffusion(c.path, whole);
    if (!model.ok()) UNSCOPED_INFO(model.status().ToString());
    REQUIRE(model.ok());
    const at::Tensor want = model->network->Forward(c.x, c.t, c.inputs);
    const int64_t bytes = whole.residency()->bytes();
    CHECK(bytes > 0);
    for (const int64_t limit : {bytes / 2, bytes / 8, int64_t{1}}) {
      INFO(limit);
      engine::Engine small(Within(limit));
      const auto streamed = models::LoadDiffusion(c.path, small);
      REQUIRE(streamed.ok());
      for (int call = 0; call < 2; ++call) CHECK(at::equal(streamed->network->Forward(c.x, c.t, c.inputs), want));
      CHECK(small.residency()->bytes() <= bytes);  // less, where no weight is a third of all
    }
    ++checked;
  }
  CHECK(checked >= 20);
}

TEST_CASE("networks compute in the type that the call asks for") {
  const c10::InferenceMode inference;
  int checked = 0;
  for (const Case& c : Networks()) {
    INFO(c.id);
    engine::Engine engine({});
    const auto model = models::LoadDiffusion(c.path, engine);
    REQUIRE(model.ok());
    const at::Tensor want = model->network->Forward(c.x, c.t, c.inputs);
    engine::ModelCallInputs inputs = c.inputs;
    inputs.compute = at::kFloat;
    CHECK(at::equal(model->network->Forward(c.x, c.t, inputs), want));
    for (const auto& [type, bound] : {std::pair{at::kBFloat16, 0.1}, std::pair{at::kHalf, 0.02}}) {
      inputs.compute = type;
      const at::Tensor got = model->network->Forward(c.x, c.t, inputs);
      const double difference = golden::MaxDiff(got, want) / want.abs().max().item<double>();
      std::printf("%s: %s differs by %.2g of the largest value\n", c.id.c_str(), c10::toString(type), difference);
      CHECK(got.scalar_type() == at::kFloat);
      CHECK(difference > 0);
      CHECK(difference < bound);
    }
    ++checked;
  }
  CHECK(checked >= 20);
}

// The first of falling limits that refuses memory, with what `run` gave within it; none: the last was enough.
struct Outcome {
  int64_t megabytes = 0;
  int refused = 0;
  StatusOr<at::Tensor> result = Internal("memory never ran out");
};
Outcome RunningOut(const std::function<StatusOr<at::Tensor>()>& run) {
  test::LimitedMemory counted;
  REQUIRE(run().ok());
  const int64_t all = counted.peak();
  for (int64_t bytes = all - 1; bytes > all / 8; bytes -= all / 8) {
    const test::LimitedMemory limit(bytes);
    Outcome outcome;
    outcome.result = run();
    outcome.refused = limit.refused();
    if (outcome.refused == 0) continue;
    std::printf("%.1f MiB of %.1f refused\n", static_cast<double>(bytes) / (1 << 20),
                static_cast<double>(all) / (1 << 20));
    return outcome;
  }
  return {};
}

TEST_CASE("memory that runs out in an autoencoder: the whole picture is done again in tiles") {
  engine::Engine engine({});
  const auto vae = models::LoadAutoencoder(golden::Models() + "/checkpoints/tiny_sd15.safetensors", engine);
  REQUIRE(vae.ok());
  at::manual_seed(1);
  const at::Tensor latent = at::randn({1, 4, 66, 68}), pixels = at::rand({1, 528, 544, 3});
  // The fallback's tiles. Source: spec engine.md 6.3.
  const auto tiles = (*vae)->DecodeTiled(latent, {64, 16}), parts = (*vae)->EncodeTiled(pixels, {512, 64});
  const auto whole = (*vae)->Decode(latent), encoded = (*vae)->Encode(pixels);
  REQUIRE((tiles.ok() && parts.ok() && whole.ok() && encoded.ok()));
  CHECK_FALSE(at::equal(*tiles, *whole));
  CHECK_FALSE(at::equal(*parts, *encoded));
  const Outcome decode = RunningOut([&] { return (*vae)->Decode(latent); });
  REQUIRE(decode.result.ok());
  CHECK(decode.refused == 1);
  CHECK(at::equal(*decode.result, *tiles));
  const Outcome encode = RunningOut([&] { return (*vae)->Encode(pixels); });
  REQUIRE(encode.result.ok());
  CHECK(encode.refused == 1);
  CHECK(at::equal(*encode.result, *parts));
  {
    const test::LimitedMemory limit(1 << 16);  // not even a tile
    CHECK((*vae)->Decode(latent).status().code() == StatusCode::kResourceExhausted);
    CHECK((*vae)->Encode(pixels).status().code() == StatusCode::kResourceExhausted);
  }
  const auto again = (*vae)->Decode(latent);  // and nothing is left behind
  REQUIRE(again.ok());
  CHECK(at::equal(*again, *whole));
}

TEST_CASE("memory that runs out beside other models: the whole picture is tried once more without them") {
  engine::Engine engine({});
  const auto beside = models::LoadUpscaler(golden::Models() + "/upscale_models/tiny_compact.safetensors", engine);
  REQUIRE(beside.ok());
  const engine::ParamSet own(engine.device(), engine::Part::kAutoencoder, engine.residency());
  int wholes = 0;
  const auto whole = [&]() -> at::Tensor {
    if (++wholes == 1) throw std::bad_alloc();
    return at::ones({1});
  };
  const auto run = [&] {
    wholes = 0;
    return models::WholeOrTiled("decoding", "decoded", *engine.residency(), own, whole,
                                [] { return StatusOr<at::Tensor>(at::zeros({1})); });
  };
  REQUIRE(models::UpscaleWithModel(**beside, at::rand({1, 8, 8, 3})).ok());
  CHECK(run()->item<float>() == 1);
  CHECK(wholes == 2);
  CHECK(run()->item<float>() == 0);  // nothing is left to unload
  CHECK(wholes == 1);
}

TEST_CASE("memory that runs out in a video autoencoder: the whole video is done again in tiles") {
  engine::Engine engine({});
  const auto vae = models::LoadAutoencoder(golden::Models() + "/vae/tiny_wan21_vae.safetensors", engine);
  REQUIRE(vae.ok());
  at::manual_seed(2);
  const at::Tensor latent = at::randn({1, 16, 1, 36, 40}), video = at::rand({1, 288, 320, 3});
  // Source: spec engine.md 6.3, "OOM fallback".
  const auto tiles = (*vae)->DecodeTiled(latent, {32, 8, 999, 1}),
             parts = (*vae)->EncodeTiled(video, {256, 64, 9999, 1});
  REQUIRE((tiles.ok() && parts.ok()));
  const Outcome decode = RunningOut([&] { return (*vae)->Decode(latent); });
  REQUIRE(decode.result.ok());
  CHECK(decode.refused == 1);
  CHECK(golden::MaxDiff(*decode.result, *tiles) == 0);
  const Outcome encode = RunningOut([&] { return (*vae)->Encode(video); });
  REQUIRE(encode.result.ok());
  CHECK(encode.refused == 1);
  CHECK(golden::MaxDiff(*encode.result, *parts) == 0);
}

TEST_CASE("memory that runs out while a picture is enlarged: the tile is halved, below 128 it is an error") {
  const c10::InferenceMode inference;
  engine::Engine engine({});
  const auto network = models::LoadUpscaler(golden::Models() + "/upscale_models/tiny_compact.safetensors", engine);
  REQUIRE(network.ok());
  at::manual_seed(3);
  const at::Tensor pixels = at::rand({1, 520, 600, 3});
  const auto in_tiles_of = [&](int64_t tile) {
    const auto y = engine::RunTiled(pixels.movedim(3, 1), {tile, tile, 32, static_cast<double>((*network)->scale())}, 3,
                                    [&](const at::Tensor& t) { return (*network)->Forward(t).clamp(0.0, 1.0); });
    REQUIRE(y.ok());
    return y->clamp(0.0, 1.0).movedim(1, 3);
  };
  const auto run = [&] { return models::UpscaleWithModel(**network, pixels); };
  REQUIRE(run().ok());
  CHECK(at::equal(*run(), in_tiles_of(512)));
  const Outcome out = RunningOut(run);
  REQUIRE(out.result.ok());
  CHECK(at::equal(*out.result, in_tiles_of(out.refused == 1 ? 256 : 128)));
  CHECK_FALSE(at::equal(*out.result, in_tiles_of(512)));
  const test::LimitedMemory limit(1 << 18);
  CHECK(run().status().code() == StatusCode::kResourceExhausted);
  CHECK(limit.refused() == 3);  // tiles of 512, 256 and 128
}

}  // namespace
}  // namespace atelier
