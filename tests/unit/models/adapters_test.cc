#include <catch2/catch.hpp>

#include "worker/engine/guard.h"
#include "worker/models/adapter.h"

namespace atelier::models {
namespace {

using engine::WeightSource;
using Side = AdapterNaming::Side;

at::Tensor Some(at::IntArrayRef shape) { return at::randn(shape) * 0.3; }

// A network of one linear layer with a bias and one convolution.
WeightSource Network() {
  return WeightSource("network",
                      {{"mid.weight", Some({8, 6})}, {"mid.bias", Some({8})}, {"conv.weight", Some({4, 6, 3, 3})}});
}

// What `tensors` make of the weight `name` at `strength`.
at::Tensor Patched(const WeightSource& network, const std::string& name, WeightSource::Tensors tensors,
                   double strength) {
  AdapterFile file{WeightSource("adapter", std::move(tensors))};
  const AdapterResult result = ReadAdapter(file, Side::kDiffusion, network, strength);
  CHECK(file.Unused().empty());
  CHECK(result.misfits.empty());
  CHECK(result.patches.contains(name));
  return network.Value(name, at::kCPU, result.patches);
}

bool Near(const at::Tensor& a, const at::Tensor& b) { return at::allclose(a, b, 1e-5, 1e-6); }

TEST_CASE("a product of two matrices is added, by every trainer's spelling") {
  const WeightSource network = Network();
  const at::Tensor w = network.Find("mid.weight"), up = Some({8, 2}), down = Some({2, 6});
  for (const auto& [u, d] :
       {std::pair("lora_unet_mid.lora_up.weight", "lora_unet_mid.lora_down.weight"),
        std::pair("diffusion_model.mid.lora_B.weight", "diffusion_model.mid.lora_A.weight"),
        std::pair("diffusion_model.mid.lora_B", "diffusion_model.mid.lora_A"),
        std::pair("diffusion_model.mid_lora.up.weight", "diffusion_model.mid_lora.down.weight"),
        std::pair("diffusion_model.mid.lora.up.weight", "diffusion_model.mid.lora.down.weight"),
        std::pair("diffusion_model.mid.lora_linear_layer.up.weight",
                  "diffusion_model.mid.lora_linear_layer.down.weight"),
        std::pair("diffusion_model.mid.lora_B.default.weight", "diffusion_model.mid.lora_A.default.weight")}) {
    INFO(u);
    CHECK(Near(Patched(network, "mid.weight", {{u, up}, {d, down}}, 0.5), w + 0.5 * up.mm(down)));
  }
  CHECK(Near(Patched(network, "mid.weight",
                     {{"lora_unet_mid.lora_up.weight", up},
                      {"lora_unet_mid.lora_down.weight", down},
                      {"lora_unet_mid.alpha", at::scalar_tensor(6.0)}},
                     1.0),
             w + 3.0 * up.mm(down)));
}

TEST_CASE("a convolution's third matrix stands between the two") {
  const WeightSource network = Network();
  const at::Tensor w = network.Find("conv.weight"), up = Some({4, 2, 1, 1}), down = Some({2, 6, 1, 1}),
                   mid = Some({2, 2, 3, 3});
  const at::Tensor got = Patched(network, "conv.weight",
                                 {{"lora_unet_conv.lora_up.weight", up},
                                  {"lora_unet_conv.lora_down.weight", down},
                                  {"lora_unet_conv.lora_mid.weight", mid}},
                                 2.0);
  CHECK(Near(got, w + 2.0 * at::einsum("or,rskl,si->oikl", {up.flatten(1), mid, down.flatten(1)})));
}

TEST_CASE("magnitudes of columns or of rows are set apart") {
  const WeightSource network = Network();
  const at::Tensor w = network.Find("mid.weight"), up = Some({8, 2}), down = Some({2, 6});
  for (const bool rows : {false, true}) {
    INFO(rows);
    const at::Tensor magnitude = at::rand(rows ? at::IntArrayRef({8, 1}) : at::IntArrayRef({1, 6})) + 0.5;
    const at::Tensor got = Patched(network, "mid.weight",
                                   {{"lora_unet_mid.lora_up.weight", up},
                                    {"lora_unet_mid.lora_down.weight", down},
                                    {"lora_unet_mid.dora_scale", magnitude}},
                                   0.25);
    const at::Tensor moved = w + up.mm(down);
    const at::Tensor norm = rows ? w.norm(2, {1}, true) : moved.norm(2, {0}, true);
    CHECK(Near(got, w + 0.25 * (moved * magnitude / norm - w)));
  }
}

TEST_CASE("a change that depends on the weight, in both layouts") {
  const WeightSource network = Network();
  const at::Tensor w = network.Find("mid.weight");
  const auto file = [](at::Tensor a1, at::Tensor a2, at::Tensor b1, at::Tensor b2) {
    return WeightSource::Tensors{{"lora_unet_mid.a1.weight", std::move(a1)},
                                 {"lora_unet_mid.a2.weight", std::move(a2)},
                                 {"lora_unet_mid.b1.weight", std::move(b1)},
                                 {"lora_unet_mid.b2.weight", std::move(b2)}};
  };
  const at::Tensor a1 = Some({6, 2}), a2 = Some({2, 6}), b1 = Some({8, 2}), b2 = Some({2, 6});
  CHECK(Near(Patched(network, "mid.weight", file(a1, a2, b1, b2), 1.0), w + w.mm(a1).mm(a2) + b1.mm(b2)));
  CHECK(Near(Patched(network, "mid.weight", file(a2, a1, b2, b1), 1.0), w + w.mm(a1).mm(a2) + b1.mm(b2)));
  // Of a square weight the outer sizes tell nothing.
  const WeightSource square("network", {{"mid.weight", Some({6, 6})}});
  const at::Tensor s = square.Find("mid.weight"), c1 = Some({6, 2}), c2 = Some({2, 6});
  CHECK(Near(Patched(square, "mid.weight", file(a1, a2, c1, c2), 1.0), s + s.mm(a1).mm(a2) + c1.mm(c2)));
  CHECK(Near(Patched(square, "mid.weight", file(a2, a1, c2, c1), 1.0), s + s.mm(a1).mm(a2) + c1.mm(c2)));
}

TEST_CASE("rotations keep lengths, and none changes nothing") {
  const WeightSource network = Network();
  const at::Tensor w = network.Find("mid.weight");
  for (const auto& shape : {std::vector<int64_t>{2, 4, 4}, std::vector<int64_t>{2, 4, 2, 2}}) {
    INFO(shape.size());
    CHECK(Near(Patched(network, "mid.weight", {{"lora_unet_mid.oft_blocks", at::zeros(shape)}}, 1.0), w));
    const at::Tensor turned = Patched(network, "mid.weight", {{"lora_unet_mid.oft_blocks", Some(shape)}}, 1.0);
    CHECK(!Near(turned, w));
    CHECK(Near(turned.norm(2, {0}), w.norm(2, {0})));
    // alpha limits the norm of what turns.
    const at::Tensor blocks = Some(shape), skew = blocks - blocks.transpose(-2, -1);
    const auto with = [&](const at::Tensor& of, double alpha) {
      return Patched(network, "mid.weight",
                     {{"lora_unet_mid.oft_blocks", of}, {"lora_unet_mid.alpha", at::scalar_tensor(alpha)}}, 1.0);
    };
    CHECK(Near(with(blocks, 1e6), with(blocks, 0)));
    CHECK(Near(with(blocks, 0.25), with(blocks * (0.25 / skew.norm()), 0)));
    CHECK(!Near(with(blocks, 0.25), w));
  }
}

TEST_CASE("whole differences, of biases too, and replaced weights") {
  const WeightSource network = Network();
  const at::Tensor w = network.Find("mid.weight"), b = network.Find("mid.bias"), dw = Some({8, 6}), db = Some({8});
  CHECK(Near(Patched(network, "mid.weight", {{"lora_unet_mid.diff", dw}}, 0.5), w + 0.5 * dw));
  CHECK(Near(Patched(network, "mid.bias", {{"lora_unet_mid.diff_b", db}}, 0.5), b + 0.5 * db));
  CHECK(Near(Patched(network, "mid.weight", {{"lora_unet_mid.w_norm", dw}}, 2.0), w + 2.0 * dw));
  CHECK(Near(Patched(network, "mid.weight", {{"lora_unet_mid.set_weight", dw}}, 0.5), dw));
}

TEST_CASE("parts of a fused weight change alone") {
  const WeightSource network("flux", {{"img_in.weight", Some({4, 3})},
                                      {"double_blocks.0.img_attn.qkv.weight", Some({12, 4})},
                                      {"single_blocks.0.linear1.weight", Some({28, 4})}});
  const at::Tensor up = Some({4, 2}), down = Some({2, 4});
  const std::string q = "transformer.transformer_blocks.0.attn.to_k",
                    s = "transformer.single_transformer_blocks.0.attn.to_v";
  for (const auto& [prefix, weight, offset] :
       {std::tuple(q, "double_blocks.0.img_attn.qkv.weight", 4), std::tuple(s, "single_blocks.0.linear1.weight", 8)}) {
    INFO(prefix);
    at::Tensor want = network.Find(weight).clone();
    want.narrow(0, offset, 4).add_(up.mm(down));
    CHECK(Near(Patched(network, weight, {{prefix + ".lora_B.weight", up}, {prefix + ".lora_A.weight", down}}, 1.0),
               want));
  }
}

TEST_CASE("what does not fit is left out and told") {
  const WeightSource network = Network();
  AdapterFile file{WeightSource("adapter", {{"lora_unet_mid.lora_up.weight", Some({8, 2})},
                                            {"lora_unet_mid.lora_down.weight", Some({2, 5})},
                                            {"lora_unet_other.lora_up.weight", Some({8, 2})}})};
  const AdapterResult result = ReadAdapter(file, Side::kDiffusion, network, 1.0);
  CHECK(result.patches.empty());
  CHECK(result.misfits == std::vector<std::string>{"lora_unet_mid"});
  CHECK(file.Unused() == std::vector<std::string>{"lora_unet_other.lora_up.weight"});
}

}  // namespace
}  // namespace atelier::models
