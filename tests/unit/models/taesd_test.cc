// Tiny autoencoders against their layers written out one by one. Source: spec engine.md 6.2, 6.4.
#include <catch2/catch.hpp>

#include "tests/harness/taesd_files.h"
#include "worker/models/loaders.h"
#include "worker/models/saving.h"

namespace atelier::models::tiny {
namespace {

using namespace test;

// The layout that does not count the clamp in front.
Tensors CountedWithoutClamp(const Tensors& decoder) {
  Tensors t;
  for (const auto& [name, tensor] : decoder) {
    const size_t dot = name.find('.');
    t[std::to_string(std::stoi(name.substr(0, dot)) - 1) + name.substr(dot)] = tensor;
  }
  return t;
}

Tensors Under(const std::string& prefix, const Tensors& tensors) {
  Tensors t;
  for (const auto& [name, tensor] : tensors) t[prefix + name] = tensor;
  return t;
}

at::Tensor Conv(const Tensors& t, const std::string& name, const at::Tensor& x, int64_t stride = 1) {
  const auto bias = t.find(name + ".bias");
  return at::conv2d(x, t.at(name + ".weight"), bias == t.end() ? at::Tensor() : bias->second, {stride, stride}, {1, 1});
}
at::Tensor ThreeBlocks(const Tensors& t, int64_t first, at::Tensor x, int64_t count = 3) {
  for (int64_t n = first; n < first + count; ++n) {
    const std::string at = std::to_string(n) + ".conv.";
    x = at::relu(Conv(t, at + "4", at::relu(Conv(t, at + "2", at::relu(Conv(t, at + "0", x))))) + x);
  }
  return x;
}
at::Tensor Encoded(const Tensors& t, const at::Tensor& pixels, double scale, double shift) {
  at::Tensor x = ThreeBlocks(t, 1, Conv(t, "0", pixels.permute({0, 3, 1, 2})), 1);
  x = ThreeBlocks(t, 3, Conv(t, "2", x, 2));
  x = ThreeBlocks(t, 7, Conv(t, "6", x, 2));
  x = ThreeBlocks(t, 11, Conv(t, "10", x, 2));
  return Conv(t, "14", x) / scale + shift;
}
at::Tensor Doubled(const at::Tensor& x) { return x.repeat_interleave(2, 2).repeat_interleave(2, 3); }
at::Tensor Decoded(const Tensors& t, const at::Tensor& latent, double scale, double shift) {
  at::Tensor x = at::relu(Conv(t, "1", at::tanh((latent - shift) * scale / 3) * 3));
  x = Conv(t, "7", Doubled(ThreeBlocks(t, 3, x)));
  x = Conv(t, "12", Doubled(ThreeBlocks(t, 8, x)));
  x = Conv(t, "17", Doubled(ThreeBlocks(t, 13, x)));
  return Conv(t, "19", ThreeBlocks(t, 18, x, 1)).clamp(0, 1).permute({0, 2, 3, 1});
}

bool Close(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && at::allclose(a, b, 1e-4, 2e-5);
}

using Network = std::shared_ptr<const engine::Autoencoder>;
Network Must(StatusOr<Network> loaded) {
  INFO(Message(loaded.status()));
  REQUIRE(loaded.ok());
  return *std::move(loaded);
}

TEST_CASE("tiny autoencoders compute what their layers say, from files of each kind") {
  const c10::InferenceMode inference;
  at::manual_seed(11);
  const TinyFolder folder;
  const int64_t channels = GENERATE(4, 16);
  const double scale = channels == 4 ? 0.18215 : 1.5305, shift = channels == 4 ? 0.0 : 0.0609;
  const Tensors encoder = EncoderFile(channels), decoder = DecoderFile(channels);
  const at::Tensor pixels = at::rand({2, 43, 57, 3}), latent = at::randn({2, channels, 5, 7}) / scale + shift;
  const at::Tensor want = Encoded(encoder, pixels.narrow(1, 1, 40).narrow(2, 0, 56), scale, shift);
  const at::Tensor picture = Decoded(decoder, latent, scale, shift);
  REQUIRE(picture.std().item<double>() > 0.02);  // not all is clamped

  Tensors both = Under("taesd_encoder.", encoder);
  both.merge(Under("taesd_decoder.", decoder));
  both["vae_scale"] = at::full({}, scale);
  both["vae_shift"] = at::full({}, shift);
  engine::Engine engine({});
  const auto pair = [&](const std::string& ending, const std::string& first, const std::string& second) {
    return Must(LoadTinyAutoencoder(folder.Write("e." + ending, first), folder.Write("d." + ending, second),
                                    {scale, shift}, engine));
  };
  for (const Network& vae : {pair("safetensors", Safetensors(encoder), Safetensors(decoder)),
                             pair("pth", TorchFile(encoder), TorchFile(decoder)),
                             pair("pt", TorchFile(encoder), TorchFile(CountedWithoutClamp(decoder))),
                             Must(LoadAutoencoder(folder.Write("both.safetensors", Safetensors(both)), engine))}) {
    CHECK(vae->channels() == channels);
    CHECK(vae->ratio() == 8);
    CHECK(vae->frame_ratio() == 0);
    const auto encoded = vae->Encode(pixels);
    REQUIRE(encoded.ok());
    CHECK(Close(*encoded, want));
    const auto decoded = vae->Decode(latent);
    REQUIRE(decoded.ok());
    CHECK(Close(*decoded, picture));
    CHECK(Close(*vae->EncodeTiled(pixels, {512, 64}), want));
    CHECK(Close(*vae->DecodeTiled(latent, {64, 16}), picture));
    const auto tiled = vae->DecodeTiled(latent, {4, 1});
    REQUIRE(tiled.ok());
    CHECK(tiled->sizes() == picture.sizes());
    const Status other = vae->Decode(at::zeros({1, channels + 1, 4, 4})).status();
    CHECK(other.code() == StatusCode::kInvalidArgument);
    CHECK(Message(other).find(Cat("[B,", channels, ",h,w]")) != std::string::npos);
    CHECK(AutoencoderTensors({vae})->contains("taesd_decoder.3.conv.0.weight"));
  }
}

TEST_CASE("a tiny autoencoder without numbers neither scales nor shifts, and may narrow") {
  const c10::InferenceMode inference;
  at::manual_seed(12);
  const TinyFolder folder;
  Tensors encoder = EncoderFile(4);
  const Tensors decoder = DecoderFile(4);
  // A block of other widths has a skip convolution.
  AddConv(encoder, "0", 3, kTinyWidth / 2, true);
  AddConv(encoder, "1.conv.0", kTinyWidth / 2, kTinyWidth, true);
  encoder["1.skip.weight"] = at::randn({kTinyWidth, kTinyWidth / 2, 1, 1}) * 0.3;
  Tensors both = Under("taesd_encoder.", encoder);
  both.merge(Under("taesd_decoder.", decoder));
  engine::Engine engine({});
  const Network vae = Must(LoadAutoencoder(folder.Write("both.safetensors", Safetensors(both)), engine));
  const at::Tensor pixels = at::rand({1, 16, 16, 3});
  at::Tensor x = Conv(encoder, "0", pixels.permute({0, 3, 1, 2}));
  const at::Tensor skipped = at::conv2d(x, encoder["1.skip.weight"]);
  for (const char* conv : {"1.conv.0", "1.conv.2"}) x = at::relu(Conv(encoder, conv, x));
  x = at::relu(Conv(encoder, "1.conv.4", x) + skipped);
  x = ThreeBlocks(encoder, 3, Conv(encoder, "2", x, 2));
  x = ThreeBlocks(encoder, 7, Conv(encoder, "6", x, 2));
  x = Conv(encoder, "14", ThreeBlocks(encoder, 11, Conv(encoder, "10", x, 2)));
  CHECK(Close(*vae->Encode(pixels), x));
  CHECK(Close(*vae->Decode(x), Decoded(decoder, x, 1.0, 0.0)));
}

TEST_CASE("no tensor of a tiny autoencoder can be missing unnoticed, nor one too many") {
  const TinyFolder folder;
  const std::string encoder = folder.Write("e.safetensors", Safetensors(EncoderFile(4)));
  const std::string decoder = folder.Write("d.safetensors", Safetensors(DecoderFile(4)));
  engine::Engine engine({});
  const auto refused = [&](const std::string& first, const std::string& second) {
    const Status status = LoadTinyAutoencoder(first, second, {}, engine).status();
    UNSCOPED_INFO(status.ToString());
    CHECK(status.code() == StatusCode::kInvalidArgument);
    CHECK(Message(status).find(".safetensors") != std::string::npos);
    CHECK(Message(status).find(folder.path) == std::string::npos);
    return Message(status);
  };
  int made = 0;
  const auto file = [&](const Tensors& tensors) {
    return folder.Write(Cat(++made, ".safetensors"), Safetensors(tensors));
  };
  for (const auto& [name, tensor] : EncoderFile(4)) {
    INFO("encoder without " << name);
    Tensors less = EncoderFile(4);
    less.erase(name);
    refused(file(less), decoder);
  }
  for (const auto& [name, tensor] : DecoderFile(4)) {
    INFO("decoder without " << name);
    Tensors less = DecoderFile(4);
    less.erase(name);
    refused(encoder, file(less));
  }
  Tensors more = DecoderFile(4);
  more["18.pool.0.weight"] = at::zeros({4, kTinyWidth, 1, 1});  // of a later kind with another middle
  CHECK(refused(encoder, file(more)).find("taesd_decoder.18.pool.0.weight") != std::string::npos);
  refused(encoder, file(DecoderFile(16)));
  refused(decoder, encoder);
  CHECK(LoadTinyAutoencoder(encoder, folder.path + "/none.pth", {}, engine).status().code() == StatusCode::kNotFound);
  CHECK(LoadTinyAutoencoder(encoder, decoder, {}, engine).ok());
}

TEST_CASE("a file that holds no autoencoder says which kinds are known") {
  const TinyFolder folder;
  engine::Engine engine({});
  const Status status =
      LoadAutoencoder(folder.Write("x.safetensors", Safetensors({{"a", at::zeros({2})}})), engine).status();
  CHECK(status.code() == StatusCode::kInvalidArgument);
  CHECK(Message(status).find("known: images, pixel_space, taesd, wan") != std::string::npos);
}

}  // namespace
}  // namespace atelier::models::tiny
