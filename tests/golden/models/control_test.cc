#include "worker/models/control.h"

#include <catch2/catch.hpp>
#include <cstdio>

#include "tests/golden/golden_data.h"
#include "worker/models/loaders.h"

namespace atelier {
namespace {

using engine::WeightSource;
using Network = std::shared_ptr<const engine::ControlNetwork>;

WeightSource File(const std::string& name) {
  auto file = WeightSource::Open(golden::Models() + "/controlnet/" + name);
  REQUIRE(file.ok());
  return *file;
}

WeightSource Classic() { return File("sd15_cn_a.safetensors").Prefixed("control_model."); }

engine::Model BaseModel(engine::Engine& engine) {
  auto parts = models::LoadCheckpoint(golden::Models() + "/checkpoints/tiny_sd15.safetensors", engine);
  REQUIRE(parts.ok());
  return (*parts)->diffusion;
}

Network Must(StatusOr<Network> network) {
  INFO(Message(network.status()));
  REQUIRE(network.ok());
  return *network;
}

// The residuals for the stored inputs of a case.
engine::ControlResiduals Residuals(const engine::ControlNetwork& network, const WeightSource& io,
                                   std::vector<int64_t> kinds = {}) {
  const c10::InferenceMode inference;
  engine::ControlPicture picture;
  picture.pixels = io.Find("in.hint").movedim(1, 3);
  picture.kinds = std::move(kinds);
  auto prepared = network.Prepare(picture, io.Dim("in.x", 2), io.Dim("in.x", 3), {});
  INFO(Message(prepared.status()));
  REQUIRE(prepared.ok());
  engine::ModelCallInputs inputs;
  inputs.context = io.Find("in.context");
  return network.Residuals(*prepared, io.Find("in.x"), io.Find("in.t"), inputs);
}

double Worst(const engine::ControlResiduals& a, const engine::ControlResiduals& b) {
  REQUIRE(a.output.size() == b.output.size());
  double worst = golden::MaxDiff(a.middle.at(0), b.middle.at(0));
  for (size_t i = 0; i < a.output.size(); ++i) worst = std::max(worst, golden::MaxDiff(a.output[i], b.output[i]));
  return worst;
}

WeightSource Io() { return golden::Tensors("module_forward/sd15_cn_a_51/io.safetensors"); }

TEST_CASE("control networks give the golden residuals") {
  engine::Engine engine({});
  int checked = 0;
  for (const Json& item : golden::Cases("module_forward")) {
    const std::string id = item["id"];
    if (id.find("_cn_") == std::string::npos) continue;
    INFO(id);
    const auto io = golden::Tensors(item["files"][0]);
    const std::string model = item["models"][0];
    const Network network = Must(models::LoadControlNet(golden::Models() + "/controlnet/" + model, nullptr, engine));
    const engine::ControlResiduals got = Residuals(*network, io);
    double worst = golden::MaxDiff(got.middle.at(0), io.Find("out.middle.0"));
    REQUIRE(got.output.size() == 12);
    for (size_t i = 0; i < got.output.size(); ++i)
      worst = std::max(worst, golden::MaxDiff(got.output[i], io.Find(Cat("out.output.", i))));
    std::printf("%s: difference %.2g\n", id.c_str(), worst);
    CHECK(worst <= item["tolerance_abs"].get<double>());
    ++checked;
  }
  CHECK(checked >= 2);
}

// The names that diffusers gives to the layers of an encoder with two residual blocks a resolution.
std::string DiffusersName(std::string name) {
  const auto swap = [&name](const std::string& from, const std::string& to) {
    if (name.starts_with(from)) name = to + name.substr(from.size());
  };
  swap("input_blocks.0.0.", "conv_in.");
  swap("time_embed.0.", "time_embedding.linear_1.");
  swap("time_embed.2.", "time_embedding.linear_2.");
  swap("middle_block_out.0.", "controlnet_mid_block.");
  swap("middle_block.0.", "mid_block.resnets.0.");
  swap("middle_block.1.", "mid_block.attentions.0.");
  swap("middle_block.2.", "mid_block.resnets.1.");
  swap("input_hint_block.0.", "controlnet_cond_embedding.conv_in.");
  swap("input_hint_block.14.", "controlnet_cond_embedding.conv_out.");
  for (int i = 0; i < 6; ++i)
    swap(Cat("input_hint_block.", 2 * i + 2, "."), Cat("controlnet_cond_embedding.blocks.", i, "."));
  for (int i = 0; i < 12; ++i) swap(Cat("zero_convs.", i, ".0."), Cat("controlnet_down_blocks.", i, "."));
  for (int i = 1; i < 12; ++i) {
    const std::string at = Cat("input_blocks.", i, "."), level = Cat("down_blocks.", (i - 1) / 3, ".");
    swap(at + "0.op.", level + "downsamplers.0.conv.");
    swap(at + "0.", Cat(level, "resnets.", (i - 1) % 3, "."));
    swap(at + "1.", Cat(level, "attentions.", (i - 1) % 3, "."));
  }
  if (name.find("resnets.") == std::string::npos) return name;
  const std::pair<const char*, const char*> layers[] = {
      {".in_layers.0.", ".norm1."},  {".in_layers.2.", ".conv1."},  {".emb_layers.1.", ".time_emb_proj."},
      {".out_layers.0.", ".norm2."}, {".out_layers.3.", ".conv2."}, {".skip_connection.", ".conv_shortcut."}};
  for (const auto& [from, to] : layers)
    if (const size_t at = name.find(from); at != std::string::npos) name.replace(at, std::string_view(from).size(), to);
  return name;
}

TEST_CASE("a control network under diffusers' names is the same network") {
  engine::Engine engine({});
  const Network classic = Must(models::BuildControlNet(Classic(), nullptr, engine));
  const WeightSource renamed = Classic().Renamed(DiffusersName);
  REQUIRE_FALSE(renamed.HasPrefix("input_blocks."));
  const Network diffusers = Must(models::BuildControlNet(renamed, nullptr, engine));
  CHECK(Worst(Residuals(*classic, Io()), Residuals(*diffusers, Io())) == 0);
}

TEST_CASE("a control network stored as a difference is completed by its model") {
  const c10::InferenceMode inference;
  engine::Engine engine({});
  const engine::Model base = BaseModel(engine);
  WeightSource::Tensors tensors;
  const WeightSource classic = Classic();
  for (const auto& [name, tensor] : classic.tensors()) {
    const at::Tensor own = base.weights.Find(name);
    const bool shared = own.defined() && own.sizes() == tensor.sizes();
    tensors.emplace("control_model." + name, shared ? tensor.to(at::kFloat) - own.to(at::kFloat) : tensor);
  }
  tensors.emplace("difference", at::zeros({0}));
  const WeightSource file("difference.pth", std::move(tensors));
  const Network completed = Must(models::BuildControlNet(file, &base, engine));
  const Network alone = Must(models::BuildControlNet(file, nullptr, engine));
  const engine::ControlResiduals want = Residuals(*Must(models::BuildControlNet(Classic(), nullptr, engine)), Io());
  CHECK(Worst(want, Residuals(*completed, Io())) < 1e-4);
  CHECK(Worst(want, Residuals(*alone, Io())) > 1e-3);
}

TEST_CASE("a Control-LoRA is its model's encoder with changes of low rank") {
  const c10::InferenceMode inference;
  engine::Engine engine({});
  const engine::Model base = BaseModel(engine);
  WeightSource::Tensors lora{{"lora_controlnet", at::zeros({0})}}, whole;
  const WeightSource classic = Classic();
  for (const auto& [name, tensor] : classic.tensors()) {
    const bool own = !base.weights.Has(name);
    if (own) lora.emplace(name, tensor);
    whole.emplace(name, own ? tensor : base.weights.Find(name));
  }
  const std::string layer = "input_blocks.1.0.in_layers.2.";
  const at::Tensor weight = base.weights.Find(layer + "weight").to(at::kFloat);
  const at::Tensor up = at::full({weight.size(0), 2}, 0.05), down = at::full({2, weight.size(1), 3, 3}, 0.1);
  lora.emplace(layer + "up", up);
  lora.emplace(layer + "down", down);
  const Network file = Must(models::BuildControlNet(WeightSource("lora.safetensors", lora), nullptr, engine));
  const Network network = Must(file->For(base));
  REQUIRE(network != nullptr);
  CHECK(Must(file->For(base)) == network);  // made once

  const WeightSource plain("whole.safetensors", whole);
  whole[layer + "weight"] = weight + at::mm(up, down.flatten(1)).view(weight.sizes());
  const WeightSource changed("whole.safetensors", whole);
  const engine::ControlResiduals got = Residuals(*network, Io());
  CHECK(Worst(got, Residuals(*Must(models::BuildControlNet(changed, nullptr, engine)), Io())) < 1e-4);
  CHECK(Worst(got, Residuals(*Must(models::BuildControlNet(plain, nullptr, engine)), Io())) > 1e-3);
}

TEST_CASE("a control network of several kinds looks at the kind only when it is told") {
  const c10::InferenceMode inference;
  engine::Engine engine({});
  WeightSource::Tensors tensors = Classic().tensors();
  auto random = [seed = 1.0](at::IntArrayRef shape) mutable {
    seed += 1;
    int64_t n = 1;
    for (const int64_t size : shape) n *= size;
    return (at::arange(n, at::kFloat) * seed).sin().view(shape) * 0.1;
  };
  const int64_t c = 32, kinds = 6;
  tensors["task_embedding"] = random({kinds, c});
  tensors["spatial_ch_projs.weight"] = random({c, c});
  tensors["spatial_ch_projs.bias"] = random({c});
  tensors["control_add_embedding.linear_1.weight"] = random({c * 4, kinds * 256});
  tensors["control_add_embedding.linear_1.bias"] = random({c * 4});
  tensors["control_add_embedding.linear_2.weight"] = random({c * 4, c * 4});
  tensors["control_add_embedding.linear_2.bias"] = random({c * 4});
  const std::string at = "transformer_layes.0.";
  tensors[at + "attn.in_proj_weight"] = random({3 * c, c});
  tensors[at + "attn.in_proj_bias"] = random({3 * c});
  tensors[at + "attn.out_proj.weight"] = random({c, c});
  tensors[at + "attn.out_proj.bias"] = random({c});
  tensors[at + "mlp.c_fc.weight"] = random({4 * c, c});
  tensors[at + "mlp.c_fc.bias"] = random({4 * c});
  tensors[at + "mlp.c_proj.weight"] = random({c, 4 * c});
  tensors[at + "mlp.c_proj.bias"] = random({c});
  for (const char* norm : {"ln_1", "ln_2"}) {
    tensors[at + norm + ".weight"] = at::ones({c});
    tensors[at + norm + ".bias"] = at::zeros({c});
  }
  const Network network = Must(models::BuildControlNet(WeightSource("union.safetensors", tensors), nullptr, engine));
  const engine::ControlResiduals plain = Residuals(*Must(models::BuildControlNet(Classic(), nullptr, engine)), Io());
  CHECK(Worst(plain, Residuals(*network, Io())) == 0);
  const engine::ControlResiduals depth = Residuals(*network, Io(), {1});
  CHECK(Worst(plain, depth) > 1e-3);
  CHECK(Worst(depth, Residuals(*network, Io(), {3})) > 1e-3);
  engine::ControlPicture picture{Io().Find("in.hint").movedim(1, 3), {}, nullptr, {7}};
  CHECK(network->Prepare(picture, 8, 8, {}).status().code() == StatusCode::kInvalidArgument);
}

TEST_CASE("a T2I-Adapter adds one feature a resolution to the encoder") {
  const c10::InferenceMode inference;
  engine::Engine engine({});
  const int64_t widths[] = {8, 16, 32, 32};
  for (const int64_t in : {int64_t{192}, int64_t{64}, int64_t{768}}) {
    INFO(in << " channels");
    WeightSource::Tensors tensors;
    const auto conv = [&tensors](const std::string& name, int64_t out, int64_t from, int64_t kernel) {
      tensors[name + ".weight"] = at::full({out, from, kernel, kernel}, 0.01);
      tensors[name + ".bias"] = at::full({out}, 0.1);
    };
    conv("conv_in", 8, in, 3);
    int64_t channels = 8;
    for (int i = 0; i < 8; ++i) {
      const int64_t out = widths[i / 2];
      if (out != channels) conv(Cat("body.", i, ".in_conv"), out, channels, 1);
      conv(Cat("body.", i, ".block1"), out, out, 3);
      conv(Cat("body.", i, ".block2"), out, out, 1);
      channels = out;
    }
    const Network network = Must(models::BuildControlNet(WeightSource("t2i.safetensors", tensors), nullptr, engine));
    engine::ControlPicture picture;
    picture.pixels = at::full({2, 100, 100, 3}, 0.5);
    auto prepared = network->Prepare(picture, 16, 16, {});
    REQUIRE(prepared.ok());
    const engine::ControlResiduals got = network->Residuals(*prepared, at::Tensor(), at::Tensor(), {});
    std::map<size_t, std::vector<int64_t>> shapes;
    for (size_t i = 0; i < got.input.size(); ++i)
      if (got.input[i].defined()) shapes[i] = got.input[i].sizes().vec();
    if (in == 768) {
      CHECK(shapes ==
            std::map<size_t, std::vector<int64_t>>{{3, {2, 8, 8, 8}}, {5, {2, 16, 8, 8}}, {8, {2, 32, 4, 4}}});
      REQUIRE(got.middle.size() == 1);
      CHECK(got.middle[0].sizes().vec() == std::vector<int64_t>{2, 32, 4, 4});
    } else {
      CHECK(shapes == std::map<size_t, std::vector<int64_t>>{
                          {2, {2, 8, 16, 16}}, {5, {2, 16, 8, 8}}, {8, {2, 32, 4, 4}}, {11, {2, 32, 2, 2}}});
      CHECK(got.middle.empty());
    }
  }
}

TEST_CASE("a file without a control network is refused by name") {
  engine::Engine engine({});
  const auto got = models::BuildControlNet(WeightSource("x.safetensors", {{"a", at::zeros({1})}}), nullptr, engine);
  REQUIRE_FALSE(got.ok());
  CHECK(Message(got.status()).find("x.safetensors") != std::string::npos);
  WeightSource::Tensors tensors = Classic().tensors();
  tensors.erase("zero_convs.3.0.weight");
  const auto damaged = models::BuildControlNet(WeightSource("y.safetensors", tensors), nullptr, engine);
  REQUIRE_FALSE(damaged.ok());
  CHECK(Message(damaged.status()).find("zero_convs.3.0") != std::string::npos);
}

}  // namespace
}  // namespace atelier
