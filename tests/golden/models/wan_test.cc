#include "worker/models/wan.h"

#include <ATen/Parallel.h>

#include <catch2/catch.hpp>

#include "tests/golden/golden_data.h"
#include "tests/golden/models/unnoticed.h"
#include "worker/engine/gguf_tokenizer.h"
#include "worker/engine/model_formats.h"
#include "worker/models/adapter.h"
#include "worker/models/family.h"
#include "worker/models/loaders.h"
#include "worker/models/wan_vae.h"
#include "worker/text/unigram.h"

namespace atelier {
namespace {

engine::WeightSource WanWeights(const std::string& path) {
  auto file = engine::WeightSource::Open(golden::Models() + "/" + path + ".safetensors");
  REQUIRE(file.ok());
  return *file;
}

at::Tensor Video(int64_t frames, int64_t height, int64_t width) {
  at::manual_seed(frames);
  const at::Tensor coarse = at::rand({1, 3, 3, 4, 4});
  return at::upsample_trilinear3d(coarse, {frames, height, width}, false)[0].permute({1, 2, 3, 0}).contiguous();
}

TEST_CASE("WAN autoencoders: sizes, pieces and tiles") {
  // Layers this small gain nothing from threads, and lose much where the cores are busy.
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  engine::Engine engine({});
  for (const char* name : {"vae/tiny_wan21_vae", "vae/tiny_wan22_vae"}) {
    INFO(name);
    const auto vae = models::LoadAutoencoder(golden::Models() + "/" + name + ".safetensors", engine);
    REQUIRE(vae.ok());
    const int64_t ratio = (*vae)->ratio();
    CHECK((*vae)->frame_ratio() == 4);
    const at::Tensor video = Video(11, 48, 64);
    const auto latent = (*vae)->Encode(video);
    REQUIRE(latent.ok());
    // Frames that do not fill a latent frame are left out: 1 + 4 + 4 of 11.
    CHECK(latent->sizes() == at::IntArrayRef({1, (*vae)->channels(), 3, 48 / ratio, 64 / ratio}));
    const auto nine = (*vae)->Encode(video.narrow(0, 0, 9));
    REQUIRE(nine.ok());
    CHECK(golden::MaxDiff(*latent, *nine) == 0);
    // What comes later changes nothing of what was before.
    const auto one = (*vae)->Encode(video.narrow(0, 0, 1));
    REQUIRE(one.ok());
    CHECK(golden::MaxDiff(latent->narrow(2, 0, 1), *one) < 1e-5);
    const auto pixels = (*vae)->Decode(*latent);
    REQUIRE(pixels.ok());
    CHECK(pixels->sizes() == at::IntArrayRef({9, 48, 64, 3}));
    const auto first = (*vae)->Decode(*one);
    REQUIRE(first.ok());
    CHECK(golden::MaxDiff(pixels->narrow(0, 0, 1), *first) < 1e-5);
    // Two videos come out one after the other.
    const auto both = (*vae)->Decode(at::cat({*latent, latent->flip({2})}, 0));
    REQUIRE(both.ok());
    CHECK(golden::MaxDiff(both->narrow(0, 0, 9), *pixels) == 0);
    // One tile is the whole; smaller ones come near it.
    const auto whole = (*vae)->DecodeTiled(*latent, {64, 16, 8, 2});
    REQUIRE(whole.ok());
    CHECK(golden::MaxDiff(*whole, *pixels) == 0);
    const auto tiled = (*vae)->DecodeTiled(*latent, {3, 1, 2, 1});
    REQUIRE(tiled.ok());
    CHECK(tiled->sizes() == pixels->sizes());
    const auto parts = (*vae)->EncodeTiled(video, {32, 16, 8, 4});
    REQUIRE(parts.ok());
    CHECK(parts->sizes() == latent->sizes());
    // A picture's latent, or another model's, is refused.
    CHECK((*vae)->Decode(at::zeros({1, 16, 8, 8})).status().code() == StatusCode::kInvalidArgument);
    CHECK((*vae)->Decode(at::zeros({1, 4, 1, 8, 8})).status().code() == StatusCode::kInvalidArgument);
    CHECK((*vae)->Encode(at::zeros({1, 4, 4, 3})).status().code() == StatusCode::kInvalidArgument);
  }
  at::set_num_threads(threads);
}

TEST_CASE("no tensor of WAN's networks can be missing unnoticed") {
  engine::Engine engine({});
  const models::Family& family = *Registry<models::Family>::Get().Find("wan");
  for (const char* name : {"tiny_wan21_t2v", "tiny_wan21_i2v", "tiny_wan22_ti2v5b"}) {
    INFO(name);
    const auto unnoticed = Unnoticed(WanWeights(std::string("diffusion_models/") + name), [&](const auto& w) {
      if (!family.detect(w)) return InvalidArgument(w.file(), " is of no known family");
      return family.build(w, w, engine).status();
    });
    // A file whose mark of an image model is gone is one for text, with tensors to spare.
    CHECK((unnoticed.empty() || unnoticed == std::vector<std::string>{"img_emb.proj.0.bias"}));
  }
  for (const char* name : {"vae/tiny_wan21_vae", "vae/tiny_wan22_vae"}) {
    INFO(name);
    CHECK(Unnoticed(WanWeights(name), [&](const auto& w) { return models::BuildWanVae(w, engine).status(); }).empty());
  }
}

// A network with control branches: the tiny one and random weights for the rest.
engine::WeightSource WithBranches(bool vace, bool camera, bool reference) {
  const engine::WeightSource base = WanWeights("diffusion_models/tiny_wan21_t2v");
  engine::WeightSource::Tensors tensors = base.tensors();
  at::manual_seed(1);
  const int64_t width = 256;
  if (vace) {
    tensors["vace_patch_embedding.weight"] = at::randn({width, 96, 1, 2, 2}) * 0.05;
    tensors["vace_patch_embedding.bias"] = at::zeros({width});
    for (const auto& [name, tensor] : base.tensors())
      if (name.starts_with("blocks.0.")) tensors["vace_" + name] = tensor;
    for (const char* layer : {"before_proj", "after_proj"}) {
      tensors[Cat("vace_blocks.0.", layer, ".weight")] = at::randn({width, width}) * 0.05;
      tensors[Cat("vace_blocks.0.", layer, ".bias")] = at::randn({width}) * 0.05;
    }
  }
  if (camera) {
    tensors["control_adapter.conv.weight"] = at::randn({width, 24 * 64, 2, 2}) * 0.02;
    tensors["control_adapter.conv.bias"] = at::zeros({width});
    for (const char* layer : {"conv1", "conv2"}) {
      tensors[Cat("control_adapter.residual_blocks.0.", layer, ".weight")] = at::randn({width, width, 3, 3}) * 0.02;
      tensors[Cat("control_adapter.residual_blocks.0.", layer, ".bias")] = at::zeros({width});
    }
  }
  if (reference) {
    tensors["ref_conv.weight"] = at::randn({width, 16, 2, 2}) * 0.05;
    tensors["ref_conv.bias"] = at::zeros({width});
  }
  return engine::WeightSource("branches.safetensors", std::move(tensors));
}

TEST_CASE("WAN's control branches change the output where they are asked to") {
  const c10::InferenceMode inference;
  engine::Engine engine({});
  auto plain = models::BuildWan(WithBranches(false, false, false), engine);
  auto network = models::BuildWan(WithBranches(true, true, true), engine);
  REQUIRE((plain.ok() && network.ok()));
  at::manual_seed(2);
  const at::Tensor x = at::randn({2, 16, 3, 7, 10}), t = at::full({2}, 700.0F);
  engine::ModelCallInputs inputs;
  inputs.context = at::randn({2, 20, 64});
  const at::Tensor want = (*plain)->Forward(x, t, inputs);
  CHECK(want.sizes() == x.sizes());
  CHECK(golden::MaxDiff((*network)->Forward(x, t, inputs), want) == 0);

  engine::ModelCallInputs vace = inputs;
  vace.vace = at::randn({2, 2, 96, 3, 7, 10});
  vace.vace_strength = at::tensor({0.0F, 0.0F, 0.5F, 0.0F}).view({2, 2});
  const at::Tensor controlled = (*network)->Forward(x, t, vace);
  CHECK(golden::MaxDiff(controlled[0], want[0]) < 1e-4);
  CHECK(golden::MaxDiff(controlled[1], want[1]) > 1e-3);

  engine::ModelCallInputs camera = inputs;
  camera.camera = at::randn({2, 24, 3, 64, 96});
  CHECK_THROWS((*network)->Forward(x, t, camera));  // 7x10 latents are 56x80 pixels
  const at::Tensor even = at::randn({2, 16, 3, 8, 12});
  CHECK(golden::MaxDiff((*network)->Forward(even, t, camera), (*plain)->Forward(even, t, inputs)) > 1e-3);

  engine::ModelCallInputs reference = inputs;
  reference.ref_latents = {at::randn({2, 16, 7, 10})};
  const at::Tensor referred = (*network)->Forward(x, t, reference);
  CHECK(referred.sizes() == x.sizes());
  CHECK(golden::MaxDiff(referred, want) > 1e-3);
}

TEST_CASE("a file of WAN weights in scaled fp8 gives the same network within fp8's precision") {
  const c10::InferenceMode inference;
  engine::Engine engine({});
  const engine::WeightSource base = WanWeights("diffusion_models/tiny_wan21_t2v");
  engine::WeightSource::Tensors tensors;
  for (const auto& [name, tensor] : base.tensors()) {
    const bool linear = tensor.dim() == 2 && name.ends_with(".weight");
    if (!linear) {
      tensors.emplace(name, tensor);
      continue;
    }
    const at::Tensor scale = tensor.to(at::kFloat).abs().amax() / 448.0;
    tensors.emplace(name, (tensor.to(at::kFloat) / scale).to(at::kFloat8_e4m3fn));
    tensors.emplace(name.substr(0, name.size() - 6) + "scale_weight", scale);
  }
  tensors.emplace("scaled_fp8", at::empty({0}, at::kFloat8_e4m3fn));
  const engine::WeightSource scaled = engine::WithScaledFp8(engine::WeightSource("fp8", std::move(tensors)));
  const models::Family& family = *Registry<models::Family>::Get().Find("wan");
  REQUIRE(family.detect(scaled));
  const auto plain = family.build(base, base, engine), small = family.build(scaled, scaled, engine);
  REQUIRE((plain.ok() && small.ok()));
  at::manual_seed(3);
  const at::Tensor x = at::randn({1, 16, 2, 8, 8}), t = at::full({1}, 500.0F);
  engine::ModelCallInputs inputs;
  inputs.context = at::randn({1, 512, 64});
  const at::Tensor want = plain->network->Forward(x, t, inputs), got = small->network->Forward(x, t, inputs);
  const double relative = ((got - want).norm() / want.norm()).item<double>();
  CHECK(relative > 1e-6);
  CHECK(relative < 0.05);
}

TEST_CASE("WAN adapters are found under every trainer's names") {
  const engine::WeightSource network = WanWeights("diffusion_models/tiny_wan21_i2v");
  const at::Tensor up = at::randn({256, 2}) * 0.1, down = at::randn({2, 256}) * 0.1;
  for (const auto& [name, weight] : {std::pair("diffusion_model.blocks.1.self_attn.q", "blocks.1.self_attn.q.weight"),
                                     {"lora_unet_blocks_1_cross_attn_k_img", "blocks.1.cross_attn.k_img.weight"},
                                     {"blocks.0.cross_attn.v", "blocks.0.cross_attn.v.weight"},
                                     {"transformer.blocks.0.attn1.to_out.0", "blocks.0.self_attn.o.weight"},
                                     {"transformer.blocks.0.attn2.add_v_proj", "blocks.0.cross_attn.v_img.weight"}}) {
    INFO(name);
    models::AdapterFile file{
        engine::WeightSource("adapter", {{Cat(name, ".lora_up.weight"), up}, {Cat(name, ".lora_down.weight"), down}})};
    const auto read = models::ReadAdapter(file, models::AdapterNaming::Side::kDiffusion, network, 0.5);
    CHECK(file.Unused().empty());
    REQUIRE(read.patches.contains(weight));
    const at::Tensor got = network.Value(weight, at::kCPU, read.patches);
    CHECK(at::allclose(got, network.Find(weight).to(at::kFloat) + 0.5 * up.mm(down), 1e-5, 1e-6));
  }
  // Lightning files also hold differences of biases, norms and bare parameters.
  models::AdapterFile file{
      engine::WeightSource("adapter", {{"diffusion_model.blocks.0.self_attn.k.diff_b", at::ones({256})},
                                       {"diffusion_model.blocks.0.self_attn.norm_q.diff", at::ones({256})},
                                       {"diffusion_model.blocks.0.modulation.diff", at::ones({1, 6, 256})}})};
  const auto read = models::ReadAdapter(file, models::AdapterNaming::Side::kDiffusion, network, 1.0);
  CHECK(file.Unused().empty());
  for (const char* name : {"blocks.0.self_attn.k.bias", "blocks.0.self_attn.norm_q.weight", "blocks.0.modulation"}) {
    INFO(name);
    REQUIRE(read.patches.contains(name));
    const at::Tensor got = network.Value(name, at::kCPU, read.patches);
    CHECK(golden::MaxDiff(got, network.Find(name).to(at::kFloat) + 1.0) < 1e-6);
  }
}

TEST_CASE("the tokenizer in a GGUF file's metadata is that of its sentencepiece model without the table") {
  const at::Tensor bytes = WanWeights("text_encoders/tiny_umt5").Find("spiece_model").contiguous();
  const auto read = text::UnigramTokenizer::ReadModel(
      {reinterpret_cast<const char*>(bytes.const_data_ptr<uint8_t>()), static_cast<size_t>(bytes.numel())});
  REQUIRE(read.ok());
  using Kind = GgufValue::Kind;
  GgufFile gguf;
  GgufValue tokens{Kind::kArray, 0, 0, {}, {}}, scores = tokens, kinds = tokens;
  for (const auto& piece : read->pieces) {
    tokens.items.push_back({Kind::kString, 0, 0, piece.text, {}});
    scores.items.push_back({Kind::kFloat, 0, piece.score, {}, {}});
    kinds.items.push_back({Kind::kInt, static_cast<int64_t>(piece.kind), 0, {}, {}});
  }
  CHECK(!engine::SentencepieceModelOf(gguf, "x")->has_value());
  gguf.metadata["tokenizer.ggml.tokens"] = tokens;
  gguf.metadata["tokenizer.ggml.scores"] = scores;
  gguf.metadata["tokenizer.ggml.token_type"] = kinds;
  CHECK(engine::SentencepieceModelOf(gguf, "x").status().code() == StatusCode::kInvalidArgument);  // of no kind
  gguf.metadata["tokenizer.ggml.model"] = {Kind::kString, 0, 0, "t5", {}};
  const Json cases = golden::ReadJson(golden::Root() + "/gguf/tokenizer_umt5.json")["cases"];
  for (const bool remove : {false, true}) {
    gguf.metadata["tokenizer.ggml.remove_extra_whitespaces"] = {Kind::kBool, remove ? 1 : 0, 0, {}, {}};
    const auto model = engine::SentencepieceModelOf(gguf, "x");
    REQUIRE((model.ok() && model->has_value()));
    const auto rebuilt = text::UnigramTokenizer::ReadModel(**model);
    REQUIRE(rebuilt.ok());
    const auto tokenizer = text::UnigramTokenizer::Build(*rebuilt);
    REQUIRE(tokenizer.ok());
    for (const Json& item : cases) {
      INFO(item["text"].get<std::string>());
      std::vector<int64_t> ids = (*tokenizer)->Encode(item["text"].get<std::string>());
      ids.push_back(1);
      CHECK(ids == item[remove ? "rebuilt_remove_ws" : "rebuilt_keep_ws"].get<std::vector<int64_t>>());
    }
  }
  gguf.metadata["tokenizer.ggml.scores"].items.pop_back();
  CHECK(engine::SentencepieceModelOf(gguf, "x").status().code() == StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace atelier
