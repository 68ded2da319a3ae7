// Control networks of FLUX and SD3 and the layers of GLIGEN against diffusers 0.42.1: weights and inputs are waves that
// both sides compute, the expected numbers were printed by diffusers.
#include <catch2/catch.hpp>
#include <cmath>

#include "worker/engine/guard.h"
#include "worker/models/control.h"
#include "worker/models/gligen.h"
#include "worker/sampling/control.h"

namespace atelier::models {
namespace {

using engine::WeightSource;

// sin of the element's number and the name.
at::Tensor Wave(const std::string& name, at::IntArrayRef shape, double scale = 0.05, double offset = 0.0) {
  int64_t sum = 0;
  for (const char c : name) sum += static_cast<unsigned char>(c);
  const at::Tensor numbers = at::arange(c10::multiply_integers(shape), at::kDouble);
  return (at::sin(numbers * 0.7310585 + static_cast<double>(sum % 997)) * scale + offset).to(at::kFloat).view(shape);
}

// Element 0, the middle one, the last one, and the sum of all absolute values.
void CheckWave(const at::Tensor& got, at::IntArrayRef shape, const std::vector<double>& want) {
  REQUIRE(got.sizes() == shape);
  const at::Tensor flat = got.flatten().to(at::kDouble);
  const std::vector<double> have = {flat[0].item<double>(), flat[flat.numel() / 2].item<double>(),
                                    flat[-1].item<double>(), flat.abs().sum().item<double>()};
  for (size_t i = 0; i < want.size(); ++i) {
    INFO(i);
    CHECK(have[i] == Approx(want[i]).epsilon(2e-4));
  }
}

// A state dictionary under construction.
struct Dictionary {
  WeightSource::Tensors tensors;

  void Add(const std::string& name, at::IntArrayRef shape, double scale = 0.05, double offset = 0.0) {
    tensors.emplace(name, Wave(name, shape, scale, offset));
  }
  void Layer(const std::string& name, int64_t in, int64_t out) {
    Add(name + ".weight", {out, in});
    Add(name + ".bias", {out});
  }
  void Norm(const std::string& name, int64_t width) { Add(name + ".weight", {width}, 0.05, 1.0); }
  void JointAttention(const std::string& at, int64_t width) {
    for (const char* part : {"attn.to_q", "attn.to_k", "attn.to_v", "attn.add_q_proj", "attn.add_k_proj",
                             "attn.add_v_proj", "attn.to_out.0", "attn.to_add_out"})
      Layer(at + part, width, width);
    for (const char* side : {"ff", "ff_context"}) {
      Layer(Cat(at, side, ".net.0.proj"), width, width * 4);
      Layer(Cat(at, side, ".net.2"), width * 4, width);
    }
    Layer(at + "norm1.linear", width, width * 6);
    Layer(at + "norm1_context.linear", width, width * 6);
  }
  void TimeAndText(const std::vector<std::pair<std::string, int64_t>>& parts, int64_t width) {
    for (const auto& [part, in] : parts) {
      Layer(Cat("time_text_embed.", part, "_embedder.linear_1"), in, width);
      Layer(Cat("time_text_embed.", part, "_embedder.linear_2"), width, width);
    }
  }
};

constexpr int64_t kWidth = 128;

WeightSource FluxFile() {
  Dictionary d;
  d.TimeAndText({{"timestep", 256}, {"guidance", 256}, {"text", 16}}, kWidth);
  d.Layer("context_embedder", 32, kWidth);
  d.Layer("x_embedder", 64, kWidth);
  for (int i = 0; i < 2; ++i) {
    const std::string at = Cat("transformer_blocks.", i, ".");
    d.JointAttention(at, kWidth);
    for (const char* norm : {"norm_q", "norm_k", "norm_added_q", "norm_added_k"}) d.Norm(at + "attn." + norm, 128);
    d.Layer(Cat("controlnet_blocks.", i), kWidth, kWidth);
  }
  const std::string at = "single_transformer_blocks.0.";
  for (const char* part : {"attn.to_q", "attn.to_k", "attn.to_v"}) d.Layer(at + part, kWidth, kWidth);
  d.Norm(at + "attn.norm_q", 128);
  d.Norm(at + "attn.norm_k", 128);
  d.Layer(at + "norm.linear", kWidth, kWidth * 3);
  d.Layer(at + "proj_mlp", kWidth, kWidth * 4);
  d.Layer(at + "proj_out", kWidth * 5, kWidth);
  d.Layer("controlnet_single_blocks.0", kWidth, kWidth);
  d.Add("controlnet_mode_embedder.weight", {4, kWidth});
  d.Layer("controlnet_x_embedder", 64, kWidth);
  return WeightSource("flux_control.safetensors", std::move(d.tensors));
}

WeightSource Sd3File(int64_t hint_channels, bool norms) {
  Dictionary d;
  d.TimeAndText({{"timestep", 256}, {"text", 24}}, kWidth);
  d.Layer("context_embedder", 32, kWidth);
  d.Add("pos_embed.pos_embed", {1, 64, kWidth});
  d.Add("pos_embed.proj.weight", {kWidth, 16, 2, 2});
  d.Add("pos_embed.proj.bias", {kWidth});
  d.JointAttention("transformer_blocks.0.", kWidth);
  if (norms)
    for (const char* norm : {"norm_q", "norm_k", "norm_added_q", "norm_added_k"})
      d.Norm(Cat("transformer_blocks.0.attn.", norm), 64);
  d.Layer("controlnet_blocks.0", kWidth, kWidth);
  d.Add("pos_embed_input.proj.weight", {kWidth, hint_channels, 2, 2});
  d.Add("pos_embed_input.proj.bias", {kWidth});
  return WeightSource("sd3_control.safetensors", std::move(d.tensors));
}

// Gives what it was told to, whatever the picture.
class FixedAutoencoder final : public engine::Autoencoder {
 public:
  explicit FixedAutoencoder(at::Tensor latents) : latents_(std::move(latents)) {}
  StatusOr<at::Tensor> Encode(const at::Tensor& pixels) const override {
    seen = pixels;
    return latents_;
  }
  StatusOr<at::Tensor> Decode(const at::Tensor&) const override { return Internal("not used"); }
  StatusOr<at::Tensor> EncodeTiled(const at::Tensor&, const engine::VaeTiles&) const override {
    return Internal("not used");
  }
  StatusOr<at::Tensor> DecodeTiled(const at::Tensor&, const engine::VaeTiles&) const override {
    return Internal("not used");
  }
  int64_t ratio() const override { return 8; }
  int64_t channels() const override { return latents_.size(1); }

  mutable at::Tensor seen;

 private:
  at::Tensor latents_;
};

constexpr int64_t kHeight = 6, kLatentWidth = 4;

engine::LatentFormat PlainFormat() {
  engine::LatentFormat format;
  format.channels = 16;
  format.scale = 1.0;
  return format;
}

struct Run {
  std::shared_ptr<const engine::ControlNetwork> network;
  engine::ControlPicture picture;
  engine::ModelCallInputs inputs;
  at::Tensor times;

  engine::ControlResiduals operator()() const {
    auto prepared = network->Prepare(picture, kHeight, kLatentWidth, PlainFormat());
    INFO(Message(prepared.status()));
    REQUIRE(prepared.ok());
    std::vector<at::Tensor> twice;
    for (const at::Tensor& t : *prepared) twice.push_back(t.defined() ? at::cat({t, t}, 0) : t);
    return network->Residuals(twice, Wave("x", {2, 16, kHeight, kLatentWidth}, 1.0), times, inputs);
  }
};

Run Make(const WeightSource& file, engine::Engine& engine) {
  auto network = BuildControlNet(file, nullptr, engine);
  INFO(Message(network.status()));
  REQUIRE(network.ok());
  Run run;
  run.network = *network;
  run.picture.pixels = Wave("pixels", {1, kHeight * 8, kLatentWidth * 8, 3}, 0.5, 0.5);
  run.picture.autoencoder = std::make_shared<const FixedAutoencoder>(Wave("hint", {1, 16, kHeight, kLatentWidth}, 1.0));
  run.inputs.context = Wave("context", {2, 5, 32}, 1.0);
  return run;
}

TEST_CASE("FLUX control networks of diffusers give its residuals") {
  const c10::InferenceMode inference;
  engine::Engine engine({});
  Run run = Make(FluxFile(), engine);
  run.picture.kinds = {2};
  run.inputs.y = Wave("y", {2, 16}, 1.0);
  run.inputs.guidance = at::full({2}, 3.5);
  run.times = at::tensor({0.7, 0.3}, at::kFloat);
  const engine::ControlResiduals got = run();
  REQUIRE(got.input.size() == 19);
  REQUIRE(got.output.size() == 38);
  CheckWave(got.input[0], {2, 6, kWidth}, {0.181575701, 0.179528445, -0.317474544, 312.203462});
  CheckWave(got.input[10], {2, 6, kWidth}, {-0.0804835781, -0.0844077244, -0.0250293072, 291.428273});
  CheckWave(got.output[37], {2, 6, kWidth}, {0.0108536333, 0.0148141198, 0.111450657, 291.126821});
  // Each of two residuals serves a run of ten blocks.
  CHECK(at::equal(got.input[9], got.input[0]));
  CHECK(at::equal(got.input[18], got.input[10]));
  run.picture.kinds = {4};
  CHECK_FALSE(run.network->Prepare(run.picture, kHeight, kLatentWidth, PlainFormat()).ok());
  run.picture.kinds = {2};
  run.picture.autoencoder = nullptr;
  CHECK_FALSE(run.network->Prepare(run.picture, kHeight, kLatentWidth, PlainFormat()).ok());
}

TEST_CASE("SD3 control networks of diffusers give its residuals") {
  const c10::InferenceMode inference;
  engine::Engine engine({});
  for (const bool norms : {false, true}) {
    INFO(norms);
    Run run = Make(Sd3File(17, norms), engine);
    // The last channel of the hint is the mask.
    const at::Tensor hint = Wave("hint", {1, 17, kHeight, kLatentWidth}, 1.0);
    const auto encoder = std::make_shared<const FixedAutoencoder>(hint.narrow(1, 0, 16));
    run.picture.autoencoder = encoder;
    run.picture.mask = 1.0 - hint.select(1, 16);
    run.inputs.y = Wave("y", {2, 24}, 1.0);
    run.times = at::tensor({700.0, 300.0}, at::kFloat);
    const engine::ControlResiduals got = run();
    REQUIRE(got.output.size() == 2);  // as many as heads
    CHECK(at::equal(got.output[0], got.output[1]));
    CheckWave(got.output[0], {2, 6, kWidth},
              norms ? std::vector<double>{0.0565429293, 0.0588117875, 0.0689779967, 141.664689}
                    : std::vector<double>{0.0571823977, 0.0602530204, 0.0688191205, 142.763584});
    run.picture.mask = at::Tensor();
    CHECK_FALSE(run.network->Prepare(run.picture, kHeight, kLatentWidth, PlainFormat()).ok());
  }
}

TEST_CASE("what is to be painted anew is black in the picture that a control network sees") {
  const c10::InferenceMode inference;
  engine::Engine engine({});
  Run run = Make(Sd3File(17, false), engine);
  const auto encoder = std::make_shared<const FixedAutoencoder>(at::zeros({1, 16, kHeight, kLatentWidth}));
  run.picture.autoencoder = encoder;
  run.picture.mask = at::zeros({1, kHeight * 8, kLatentWidth * 8});
  run.picture.mask.narrow(1, 0, 8).fill_(1.0);
  REQUIRE(run.network->Prepare(run.picture, kHeight, kLatentWidth, PlainFormat()).ok());
  CHECK(encoder->seen.narrow(1, 0, 8).abs().max().item<double>() == 0);
  CHECK(at::equal(encoder->seen.narrow(1, 8, 40), run.picture.pixels.narrow(1, 8, 40)));
}

TEST_CASE("XLabs' control networks see pixels and repeat their whole list") {
  const c10::InferenceMode inference;
  engine::Engine engine({});
  // The same blocks under FLUX's own names, with a stem of convolutions.
  Dictionary d;
  const WeightSource flux = FluxFile();
  d.Layer("img_in", 64, kWidth);
  d.Layer("txt_in", 32, kWidth);
  for (const auto& [name, in] :
       {std::pair("time_in", 256), std::pair("vector_in", 16), std::pair("guidance_in", 256)}) {
    d.Layer(Cat(name, ".in_layer"), in, kWidth);
    d.Layer(Cat(name, ".out_layer"), kWidth, kWidth);
  }
  for (int i = 0; i < 2; ++i) {
    for (const char* side : {"img_", "txt_"}) {
      const std::string at = Cat("double_blocks.", i, ".", side);
      d.Layer(at + "mod.lin", kWidth, kWidth * 6);
      d.Layer(at + "attn.qkv", kWidth, kWidth * 3);
      d.Layer(at + "attn.proj", kWidth, kWidth);
      d.Add(at + "attn.norm.query_norm.scale", {128}, 0.05, 1.0);
      d.Add(at + "attn.norm.key_norm.scale", {128}, 0.05, 1.0);
      d.Layer(at + "mlp.0", kWidth, kWidth * 4);
      d.Layer(at + "mlp.2", kWidth * 4, kWidth);
    }
    d.Layer(Cat("controlnet_blocks.", i), kWidth, kWidth);
  }
  for (int i = 0; i <= 14; i += 2) {
    d.Add(Cat("input_hint_block.", i, ".weight"), {16, i == 0 ? 3 : 16, 3, 3});
    d.Add(Cat("input_hint_block.", i, ".bias"), {16});
  }
  d.Layer("pos_embed_input", 64, kWidth);
  Run run = Make(WeightSource("xlabs.safetensors", std::move(d.tensors)), engine);
  run.picture.autoencoder = nullptr;
  run.inputs.y = Wave("y", {2, 16}, 1.0);
  run.times = at::tensor({0.7, 0.3}, at::kFloat);
  const engine::ControlResiduals got = run();
  REQUIRE(got.input.size() == 19);
  CHECK(got.output.empty());
  CHECK(got.input[0].sizes() == at::IntArrayRef({2, 6, kWidth}));
  CHECK(at::equal(got.input[2], got.input[0]));
  CHECK(at::equal(got.input[17], got.input[1]));
  CHECK_FALSE(at::equal(got.input[0], got.input[1]));
  const at::Tensor before = got.input[0];
  run.picture.pixels = 1.0 - run.picture.pixels;
  CHECK_FALSE(at::equal(run().input[0], before));
}

WeightSource GligenFile() {
  Dictionary d;
  const auto add = [&d](const std::string& at, const std::string& name, at::IntArrayRef shape) {
    d.tensors.emplace(at + name, Wave((at == "position_net." ? at : "fuser.") + name, shape, 0.2));
  };
  add("position_net.", "null_positive_feature", {24});
  add("position_net.", "null_position_feature", {64});
  for (const auto& [i, in, out] : {std::tuple(0, 88, 512), std::tuple(2, 512, 512), std::tuple(4, 512, 32)}) {
    add("position_net.", Cat("linears.", i, ".weight"), {out, in});
    add("position_net.", Cat("linears.", i, ".bias"), {out});
  }
  const std::string fuser = "output_blocks.3.1.transformer_blocks.0.fuser.";
  add(fuser, "alpha_attn", {});
  add(fuser, "alpha_dense", {});
  add(fuser, "linear.weight", {64, 32});
  add(fuser, "linear.bias", {64});
  for (const char* part : {"attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"})
    add(fuser, Cat(part, ".weight"), {64, 64});
  add(fuser, "attn.to_out.0.bias", {64});
  add(fuser, "ff.net.0.proj.weight", {512, 64});
  add(fuser, "ff.net.0.proj.bias", {512});
  add(fuser, "ff.net.2.weight", {64, 256});
  add(fuser, "ff.net.2.bias", {64});
  for (const char* norm : {"norm1", "norm2"}) {
    add(fuser, Cat(norm, ".weight"), {64});
    add(fuser, Cat(norm, ".bias"), {64});
  }
  return WeightSource("gligen.safetensors", std::move(d.tensors));
}

TEST_CASE("described boxes become GLIGEN's tokens, and its layers look at them") {
  const c10::InferenceMode inference;
  engine::Engine engine({});
  auto network = BuildGligen(GligenFile(), engine);
  INFO(Message(network.status()));
  REQUIRE(network.ok());
  std::vector<GroundedBox> boxes(2);
  boxes[0] = {Wave("text0", {1, 24}, 1.0), 4, 6, 1, 2};
  boxes[1] = {Wave("text1", {1, 24}, 1.0), 2, 5, 3, 0};
  const at::Tensor tokens = (*network)->Tokens(boxes, 8, 16);
  CheckWave(tokens, {1, 30, 32}, {-4.82401609, -4.71382046, 4.52978468, 4051.94749});
  engine::BlockCall call;
  call.part = engine::BlockCall::Part::kOutput;
  call.number = 3;
  const at::Tensor state = Wave("state", {2, 12, 64}, 1.0);
  const engine::NetworkHooks::OnResult layers = (*network)->Layers(tokens);
  CheckWave(layers(state, call), {2, 12, 64}, {-1.01434243, 0.552633882, 0.858797491, 978.632843});
  call.number = 4;  // a layer without boxes
  CHECK(at::equal(layers(state, call), state));
}

TEST_CASE("boxes add up and end at the network's limit") {
  const c10::InferenceMode inference;
  engine::Engine engine({});
  auto network = BuildGligen(GligenFile(), engine);
  REQUIRE(network.ok());
  const Gligen gligen{*network};
  engine::CondEntry entry;
  for (int i = 0; i < 30; ++i) {
    auto more = WithBox(entry, gligen, {Wave("text", {1, 24}, 1.0), 2, 2, 0, i});
    REQUIRE(more.ok());
    entry = *more;
  }
  CHECK_FALSE(WithBox(entry, gligen, {Wave("text", {1, 24}, 1.0), 2, 2, 0, 0}).ok());
  REQUIRE(engine::GroundingOf(entry.control.get()) == entry.control.get());
  engine::NetworkHooks hooks;
  dynamic_cast<const engine::GroundingNetwork&>(*entry.control->net.network).AddHooks(hooks, 8, 8);
  CHECK(hooks.after_self.size() == 1);
}

}  // namespace
}  // namespace atelier::models
