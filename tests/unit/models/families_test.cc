// Which family a file is taken for, by its tensors alone: small networks in the layouts of the published ones. Source:
// spec engine.md 4.2, 9.2, 9.4.
#include <catch2/catch.hpp>

#include "worker/engine/guard.h"
#include "worker/models/family.h"
#include "worker/models/flux.h"
#include "worker/models/unet.h"
#include "worker/sampling/model_sampling.h"

namespace atelier::models {
namespace {

using engine::WeightSource;

// A UNet's layout. depths: transformer layers of each residual block on the way down.
struct Layout {
  int64_t channels = 32;
  std::vector<int64_t> multipliers;
  int64_t blocks = 2;  // residual blocks a resolution
  std::vector<int64_t> depths;
  int64_t middle = 1;  // -1: residual blocks without a transformer
  int64_t context = 0, vector = 0;
  bool linear = false;
  int64_t in = 4;
};

class UNetFile {
 public:
  explicit UNetFile(const Layout& l) : layout_(l) {
    const int64_t mc = l.channels, emb = mc * 4;
    Layer("time_embed.0", mc, emb);
    Layer("time_embed.2", emb, emb);
    if (l.vector > 0) {
      Layer("label_emb.0.0", l.vector, emb);
      Layer("label_emb.0.2", emb, emb);
    }
    Conv("input_blocks.0.0", l.in, mc, 3);
    std::vector<int64_t> skips{mc};
    std::vector<int64_t> depths = l.depths;
    int64_t at = mc, block = 1;
    size_t next = 0;
    for (size_t level = 0; level < l.multipliers.size(); ++level) {
      for (int64_t i = 0; i < l.blocks; ++i, ++block) {
        const int64_t out = mc * l.multipliers[level];
        Residual(Cat("input_blocks.", block, ".0"), at, out);
        at = out;
        Transformer(Cat("input_blocks.", block, ".1"), at, depths.at(next++));
        skips.push_back(at);
      }
      if (level + 1 == l.multipliers.size()) break;
      Conv(Cat("input_blocks.", block++, ".0.op"), at, at, 3);
      skips.push_back(at);
    }
    Residual("middle_block.0", at, at);
    if (l.middle > 0) Transformer("middle_block.1", at, l.middle);
    Residual(l.middle > 0 ? "middle_block.2" : "middle_block.1", at, at);
    block = 0;
    for (size_t level = l.multipliers.size(); level-- > 0;) {
      for (int64_t i = 0; i <= l.blocks; ++i, ++block) {
        const int64_t out = mc * l.multipliers[level];
        Residual(Cat("output_blocks.", block, ".0"), at + skips.back(), out);
        skips.pop_back();
        at = out;
        const int64_t depth = depths.at(level * static_cast<size_t>(l.blocks));
        Transformer(Cat("output_blocks.", block, ".1"), at, depth);
        if (i == l.blocks && level > 0)
          Conv(Cat("output_blocks.", block, depth > 0 ? ".2.conv" : ".1.conv"), at, at, 3);
      }
    }
    Norm("out.0", at);
    Conv("out.2", at, 4, 3);
  }

  WeightSource Source() const { return WeightSource("file.safetensors", tensors_); }
  void Add(const std::string& name, const at::Tensor& tensor) { tensors_[name] = tensor; }

 private:
  void Add(const std::string& name, at::IntArrayRef shape) { tensors_[name] = at::randn(shape) * 0.02; }
  void Layer(const std::string& name, int64_t in, int64_t out, bool bias = true) {
    Add(name + ".weight", {out, in});
    if (bias) Add(name + ".bias", {out});
  }
  void Conv(const std::string& name, int64_t in, int64_t out, int64_t kernel) {
    Add(name + ".weight", {out, in, kernel, kernel});
    Add(name + ".bias", {out});
  }
  void Norm(const std::string& name, int64_t width) {
    tensors_[name + ".weight"] = at::ones({width});
    tensors_[name + ".bias"] = at::zeros({width});
  }
  void Residual(const std::string& name, int64_t in, int64_t out) {
    Norm(name + ".in_layers.0", in);
    Conv(name + ".in_layers.2", in, out, 3);
    Layer(name + ".emb_layers.1", layout_.channels * 4, out);
    Norm(name + ".out_layers.0", out);
    Conv(name + ".out_layers.3", out, out, 3);
    if (in != out) Conv(name + ".skip_connection", in, out, 1);
  }
  void Transformer(const std::string& name, int64_t width, int64_t depth) {
    if (depth == 0) return;
    Norm(name + ".norm", width);
    for (const char* side : {".proj_in", ".proj_out"}) {
      if (layout_.linear)
        Layer(name + side, width, width);
      else
        Conv(name + side, width, width, 1);
    }
    for (int64_t i = 0; i < depth; ++i) {
      const std::string at = Cat(name, ".transformer_blocks.", i, ".");
      for (const char* norm : {"norm1", "norm2", "norm3"}) Norm(at + norm, width);
      for (const char* which : {"attn1", "attn2"}) {
        const int64_t keys = which[4] == '1' ? width : layout_.context;
        Layer(Cat(at, which, ".to_q"), width, width, false);
        Layer(Cat(at, which, ".to_k"), keys, width, false);
        Layer(Cat(at, which, ".to_v"), keys, width, false);
        Layer(Cat(at, which, ".to_out.0"), width, width);
      }
      Layer(at + "ff.net.0.proj", width, width * 8);
      Layer(at + "ff.net.2", width * 4, width);
    }
  }

  Layout layout_;
  WeightSource::Tensors tensors_;
};

// The names of all families that take the weights for theirs.
std::vector<std::string> FamiliesOf(const WeightSource& weights) {
  std::vector<std::string> names;
  for (const std::string& name : Registry<Family>::Get().Names())
    if (Registry<Family>::Get().Find(name)->detect(weights)) names.push_back(name);
  return names;
}

Layout Sd1() { return {32, {1, 2, 4, 4}, 2, {1, 1, 1, 1, 1, 1, 0, 0}, 1, 768, 0, false, 4}; }
Layout Sd2() { return {64, {1, 2, 4, 4}, 2, {1, 1, 1, 1, 1, 1, 0, 0}, 1, 1024, 0, true, 4}; }
Layout Sdxl() { return {64, {1, 2, 4}, 2, {0, 0, 2, 2, 10, 10}, 10, 2048, 2816, true, 4}; }

struct Case {
  const char* what;
  const char* family;
  Layout layout;
};

std::vector<Case> Cases() {
  std::vector<Case> cases = {{"SD1", "sd15", Sd1()}, {"SD2", "sd2", Sd2()}, {"SDXL", "sdxl", Sdxl()}};
  Layout l = Sd1();
  l.in = 9;
  cases.push_back({"SD1 inpainting", "sd15", l});
  l.in = 8;
  cases.push_back({"SD1 instruct-pix2pix", "sd15", l});
  l = Sd2();
  l.in = 9;
  cases.push_back({"SD2 inpainting", "sd2", l});
  l = Sd2();
  l.vector = 1536;
  cases.push_back({"SD2.1 unCLIP L", "sd2", l});
  l.vector = 2048;
  cases.push_back({"SD2.1 unCLIP H", "sd2", l});
  l = Sdxl();
  l.in = 9;
  cases.push_back({"SDXL inpainting", "sdxl", l});
  l.in = 8;
  cases.push_back({"SDXL instruct-pix2pix", "sdxl", l});
  l = Sdxl();
  l.depths = {0, 0, 2, 2, 4, 4};
  l.middle = -1;
  cases.push_back({"SSD-1B", "sdxl", l});
  l.depths = {0, 0, 1, 1, 2, 2};
  cases.push_back({"Vega", "sdxl", l});
  l.blocks = 1;
  l.depths = {0, 2, 5};
  cases.push_back({"KOALA 700M", "sdxl", l});
  l.depths = {0, 2, 6};
  l.middle = 6;
  cases.push_back({"KOALA 1B", "sdxl", l});
  cases.push_back(
      {"SDXL refiner", "sdxl_refiner", {64, {1, 2, 4, 4}, 2, {0, 0, 4, 4, 4, 4, 0, 0}, 4, 1280, 2560, true, 4}});
  return cases;
}

TEST_CASE("each published layout of a UNet is of one family, and its network runs") {
  const c10::InferenceMode inference;
  at::manual_seed(5);
  for (const Case& item : Cases()) {
    INFO(item.what);
    const WeightSource weights = UNetFile(item.layout).Source();
    REQUIRE(FamiliesOf(weights) == std::vector<std::string>{item.family});
    engine::Engine engine({});
    auto model = Registry<Family>::Get().Find(item.family)->build(weights, weights, engine);
    INFO(Message(model.status()));
    REQUIRE(model.ok());
    engine::ModelCallInputs inputs;
    inputs.context = at::randn({1, 7, item.layout.context});
    if (item.layout.vector > 0) inputs.y = at::randn({1, item.layout.vector});
    if (item.layout.in > 4) inputs.c_concat = at::randn({1, item.layout.in - 4, 8, 8});
    const at::Tensor out = model->network->Forward(at::randn({1, 4, 8, 8}), at::full({1}, 500.0), inputs);
    CHECK(out.sizes() == at::IntArrayRef({1, 4, 8, 8}));
    CHECK(at::isfinite(out).all().item<bool>());
    CHECK(model->latent_format.scale == Approx(item.layout.vector > 2048 ? 0.13025 : 0.18215));
    // In narrower types it comes near, as asked for by the call. The larger ones take long on a CPU.
    if (item.layout.vector > 0 || item.layout.in > 4) continue;
    const at::Tensor x = at::randn({1, 4, 8, 8}), t = at::full({1}, 500.0);
    const at::Tensor exact = model->network->Forward(x, t, inputs);
    inputs.compute = at::kFloat;
    CHECK(at::equal(model->network->Forward(x, t, inputs), exact));
    for (const auto& [type, bound] : {std::pair{at::kBFloat16, 0.05}, std::pair{at::kHalf, 0.01}}) {
      INFO(c10::toString(type));
      inputs.compute = type;
      const at::Tensor near = model->network->Forward(x, t, inputs);
      CHECK(near.scalar_type() == at::kFloat);
      CHECK_FALSE(at::equal(near, exact));
      CHECK((near - exact).abs().max().item<double>() < bound * exact.abs().max().item<double>());
    }
  }
}

// The parameterisation that the file's own tensors ask for, by how a step is undone: x0 of F = 0 at sigma 2 and x = 1.
double PlainDenoised(const engine::Model& model) {
  return model.sampling->CalculateDenoised(at::full({1}, 2.0), at::zeros({1, 1, 1, 1}), at::ones({1, 1, 1, 1}))
      .item<double>();
}

engine::Model Build(const char* family, const WeightSource& diffusion, const WeightSource& file) {
  static engine::Engine engine({});
  auto model = Registry<Family>::Get().Find(family)->build(diffusion, file, engine);
  INFO(Message(model.status()));
  REQUIRE(model.ok());
  return *model;
}

TEST_CASE("tensors beside the network say how it predicts") {
  const c10::InferenceMode inference;
  UNetFile sdxl(Sdxl());
  const WeightSource plain = sdxl.Source();
  const auto with = [&plain](std::vector<std::pair<std::string, at::Tensor>> more) {
    WeightSource::Tensors tensors = plain.tensors();
    for (auto& [name, tensor] : more) tensors[name] = tensor;
    return WeightSource("file.safetensors", std::move(tensors));
  };
  CHECK(PlainDenoised(Build("sdxl", plain, plain)) == Approx(1.0));  // eps: x - sigma F
  const engine::Model v = Build("sdxl", plain, with({{"v_pred", at::zeros({0})}}));
  CHECK(PlainDenoised(v) == Approx(0.2));  // x / (sigma^2 + 1)
  CHECK(v.sampling->sigma_max() == Approx(14.614641));
  const engine::Model zsnr = Build("sdxl", plain, with({{"v_pred", at::zeros({0})}, {"ztsnr", at::zeros({0})}}));
  CHECK(PlainDenoised(zsnr) == Approx(0.2));
  CHECK(zsnr.sampling->sigma_max() == Approx(4518.7637));
  const engine::Model edm = Build("sdxl", plain, with({{"edm_mean", at::zeros({1})}, {"edm_std", at::zeros({1})}}));
  CHECK(PlainDenoised(edm) == Approx(0.25 / 4.25));
  CHECK(edm.sampling->sigma_max() == Approx(80.0));
  CHECK(edm.latent_format.mean.size() == 4);
  const engine::Model edm_v = Build("sdxl", plain, with({{"edm_vpred.sigma_max", at::full({}, 120.0)}}));
  CHECK(PlainDenoised(edm_v) == Approx(0.2));
  CHECK(edm_v.sampling->sigma_max() == Approx(120.0));
}

TEST_CASE("only its weights tell an SD2 model of v from one of eps") {
  const c10::InferenceMode inference;
  const std::string bias = "output_blocks.11.1.transformer_blocks.0.norm1.bias";
  for (const bool v : {false, true}) {
    INFO(v);
    UNetFile file(Sd2());
    const int64_t width = file.Source().Dim(bias, 0);
    REQUIRE(width > 0);
    file.Add(bias, at::arange(width) % 2 * (v ? 0.2 : 0.1));  // standard deviation 0.1 or 0.05
    const WeightSource weights = file.Source();
    CHECK(PlainDenoised(Build("sd2", weights, weights)) == Approx(v ? 0.2 : 1.0));
  }
}

}  // namespace
}  // namespace atelier::models
