// Nodes of KJNodes and VideoHelperSuite, sound and the shift of LTXV, against values worked out by hand from the rules.
#include <catch2/catch.hpp>

#include "tests/harness/node_context.h"
#include "worker/nodes/support.h"
#include "worker/sampling/model_sampling.h"

namespace atelier::nodes {
namespace {

using test::LoneContext;
using test::RunNode;

Value Plain(Json json) { return Value::Literal(std::move(json)); }

struct Answer {
  double real = 0;
  int64_t whole = 0;
  bool truth = false;
  bool operator==(const Answer&) const = default;
};

Answer Calculate(const std::string& text, const std::map<std::string, Json>& names = {}, size_t warnings = 0) {
  INFO(text);
  InputValues inputs{{"expression", {Plain(text)}}};
  for (const auto& [name, value] : names) inputs[name] = {Plain(value)};
  LoneContext ctx;
  const auto values = RunNode("SimpleCalculatorKJ", inputs, ctx);
  INFO(Message(values.status()));
  REQUIRE(values.ok());
  CHECK(ctx.warnings.size() == warnings);
  return {values->at(0).literal().get<double>(), values->at(1).literal().get<int64_t>(),
          values->at(2).literal().get<bool>()};
}

TEST_CASE("a calculator has Python's numbers") {
  CHECK(Calculate("1 + 2 * 3") == Answer{7, 7, true});
  CHECK(Calculate("-7 // 2") == Answer{-4, -4, true});
  CHECK(Calculate("-7 % 3") == Answer{2, 2, true});
  CHECK(Calculate("7.5 % -2") == Answer{-0.5, 0, true});
  CHECK(Calculate("-2 ** 2") == Answer{-4, -4, true});
  CHECK(Calculate("2 ** 3 ** 2") == Answer{512, 512, true});
  CHECK(Calculate("2 ** -1") == Answer{0.5, 0, true});
  CHECK(Calculate("(-1) ** 3 + 1 ** 1000000000") == Answer{0, 0, false});
  CHECK(Calculate("1 << 4 | 0" + std::string(), {}, 1) == Answer{});  // no bitwise or
  CHECK(Calculate("1 << 2 + 1") == Answer{8, 8, true});
  CHECK(Calculate("-17 >> 2") == Answer{-5, -5, true});
  CHECK(Calculate("1 < 2 < 3 and not 0") == Answer{1, 1, true});
  CHECK(Calculate("3 > 2 > 2") == Answer{0, 0, false});
  CHECK(Calculate("0 or 2.9") == Answer{2.9, 2, true});
  CHECK(Calculate("a != 0 and 6 / a", {{"a", 0}}) == Answer{0, 0, false});
  CHECK(Calculate("0 and z") == Answer{0, 0, false});  // what does not count is not looked up
  CHECK(Calculate("round(2.5) + round(-0.125, 2)") == Answer{1.88, 1, true});
  CHECK(Calculate("min(3, a, 2.5) + max(1, 2) * abs(-k)", {{"a", 9}, {"k", 1.5}}) == Answer{5.5, 5, true});
  CHECK(Calculate("floor(-1.5) + ceil(1.2) + pow(2, 10)") == Answer{1024, 1024, true});
  CHECK(Calculate("a + b", {{"a", true}, {"b", 9007199254740993}}).whole == 9007199254740994);
  CHECK(Calculate("sqrt(16) + log10(1000) + exp(0) + sin(0) + cos(0) + tan(0) + log(euler)").real == Approx(10));
  CHECK(Calculate("pi").whole == 3);
  CHECK(Calculate("1.0 // 0.1") == Answer{9, 9, true});  // 0.1 is a little more than a tenth
  CHECK(Calculate("-7.5 // 2") == Answer{-4, -4, true});
  CHECK(Calculate("round(1.115, 2)") == Answer{1.11, 1, true});
  CHECK(Calculate("round(1250, -2)") == Answer{1200, 1200, true});
  CHECK(Calculate("1e308 / 1e-308", {}, 1) == Answer{});
}

TEST_CASE("a calculation that fails gives zeros and a warning") {
  for (const char* text : {"", "1 /", "1 / 0", "1 // 0", "5 % 0", "a + 1", "sqrt(-1)", "foo(1)", "1 << -1", "1 << 1.5",
                           "(1", "1 2", "0 ** -1", "exp(1000)", "min(1)", "__import__(1)", "1..2"})
    CHECK(Calculate(text, {}, 1) == Answer{});
  CHECK(Calculate(std::string(5000, '('), {}, 1) == Answer{});
  CHECK(Calculate(Cat(std::string(5000, '-'), "1"), {}, 1) == Answer{});
}

TEST_CASE("a number beyond 63 bits is an error of the node") {
  for (const char* text : {"2 ** 64", "9223372036854775807 + 1", "1 << 63", "1e300 * 1", "floor(1e19)"}) {
    INFO(text);
    const auto got = RunNode("SimpleCalculatorKJ", {{"expression", {Plain(text)}}});
    REQUIRE_FALSE(got.ok());
    CHECK(Message(got.status()).find("63 bits") != std::string::npos);
  }
  CHECK_FALSE(RunNode("SimpleCalculatorKJ", {{"expression", {Plain("a")}}, {"a", {Plain("text")}}}).ok());
}

struct Resized {
  at::Tensor pixels, mask;
  int64_t width = 0, height = 0;
};

// A picture whose red is x / 100 and green y / 100.
Image Ramp(int64_t height, int64_t width) {
  const at::Tensor x = at::arange(width, at::kFloat).view({1, 1, width, 1}).expand({1, height, width, 1});
  const at::Tensor y = at::arange(height, at::kFloat).view({1, height, 1, 1}).expand({1, height, width, 1});
  return Image{at::cat({x, y, at::zeros_like(x)}, 3) / 100.0};
}

Resized Resize(const Image& image, const Json& settings, const std::optional<Mask>& mask = {}) {
  InputValues inputs{{"image", {Value::Of<Image>("IMAGE", image)}}};
  for (const auto& [name, value] : settings.items()) inputs[name] = {Plain(value)};
  if (mask) inputs["mask"] = {Value::Of<Mask>("MASK", *mask)};
  const auto values = RunNode("ImageResizeKJv2", inputs);
  INFO(Message(values.status()));
  REQUIRE(values.ok());
  Resized out{values->at(0).Get<Image>()->pixels, values->at(3).Get<Mask>()->values,
              values->at(1).literal().get<int64_t>(), values->at(2).literal().get<int64_t>()};
  CHECK(out.pixels.size(2) == out.width);
  CHECK(out.pixels.size(1) == out.height);
  return out;
}

TEST_CASE("pictures are stretched, or keep their proportions") {
  const Image image = Ramp(20, 40);
  CHECK(Resize(image, {{"width", 31}, {"height", 15}}).width == 30);  // loses its remainder of 2
  const Resized same = Resize(image, {{"width", 0}, {"height", 0}});
  CHECK(at::equal(same.pixels, image.pixels));
  CHECK(same.mask.sizes() == at::IntArrayRef({1, 64, 64}));
  CHECK(same.mask.sum().item<float>() == 0);
  const Resized fit = Resize(image, {{"width", 100}, {"height", 100}, {"keep_proportion", "resize"}});
  CHECK(fit.width == 100);
  CHECK(fit.height == 50);
  const Resized follows = Resize(image, {{"width", 0}, {"height", 64}, {"keep_proportion", "resize"}});
  CHECK(follows.width == 128);
  const Resized total = Resize(image, {{"width", 100}, {"height", 100}, {"keep_proportion", "total_pixels"}});
  CHECK(total.width == 140);  // int(sqrt(20000)) = 141
  CHECK(total.height == 70);
}

TEST_CASE("crop takes the part that has the aspect") {
  const Image image = Ramp(20, 40);
  const auto cut = [&](const char* position) {
    return Resize(image, {{"width", 20}, {"height", 20}, {"keep_proportion", "crop"}, {"crop_position", position}})
        .pixels;
  };
  CHECK(at::equal(cut("center"), image.pixels.narrow(2, 10, 20)));
  CHECK(at::equal(cut("left"), image.pixels.narrow(2, 0, 20)));
  CHECK(at::equal(cut("right"), image.pixels.narrow(2, 20, 20)));
  CHECK(at::equal(cut("top"), image.pixels.narrow(2, 10, 20)));
  const at::Tensor tall =
      Resize(image, {{"width", 40}, {"height", 10}, {"keep_proportion", "crop"}, {"crop_position", "bottom"}}).pixels;
  CHECK(at::equal(tall, image.pixels.narrow(1, 10, 10)));
}

TEST_CASE("padding: colour, mean of the edge, the edge itself") {
  const Image image = Ramp(20, 40);
  Json settings{{"width", 40}, {"height", 31}, {"keep_proportion", "pad"}, {"pad_color", "255, 0, 51"}};
  Resized padded = Resize(image, settings);  // 11 rows: 5 above, 6 below and one more to make it even
  CHECK(padded.height == 32);
  CHECK(at::equal(padded.pixels.narrow(1, 5, 20), image.pixels));
  for (const int64_t row : {0, 4, 25, 31}) {
    CHECK(padded.pixels[0][row][7][0].item<float>() == 1.F);
    CHECK(padded.pixels[0][row][7][2].item<float>() == 0.2F);
    CHECK(padded.mask[0][row][7].item<float>() == 1);
  }
  CHECK(padded.mask.narrow(1, 5, 20).sum().item<float>() == 0);
  for (const auto& [text, red] : std::vector<std::pair<const char*, float>>{
           {"#ff8000", 1.F}, {"0.5, 0.5, 1", 0.5F}, {" Teal ", 0.F}, {"0, 0, 0", 0.F}}) {
    settings["pad_color"] = text;
    CHECK(Resize(image, settings).pixels[0][0][0][0].item<float>() == red);
  }
  settings["crop_position"] = "top";
  padded = Resize(image, settings);
  CHECK(at::equal(padded.pixels.narrow(1, 0, 20), image.pixels));

  settings = {{"width", 48}, {"height", 24}, {"keep_proportion", "pad_edge"}, {"divisible_by", 0}};
  const Resized mean = Resize(Ramp(20, 20), settings);  // 24x24 at 12
  CHECK(mean.width == 48);
  const at::Tensor inner = mean.pixels.narrow(2, 12, 24);
  CHECK(mean.pixels[0][5][3][1].item<float>() == Approx(inner.select(2, 0).select(2, 1).mean().item<float>()));
  CHECK(mean.pixels[0][5][40][0].item<float>() == Approx(0.19F));
  settings["keep_proportion"] = "pad_edge_pixel";
  const Resized edge = Resize(Ramp(20, 20), settings);
  CHECK(edge.pixels[0][5][0][0].item<float>() == 0.F);
  CHECK(edge.pixels[0][5][47][1].item<float>() == edge.pixels[0][5][35][1].item<float>());
}

TEST_CASE("a mask goes the same way") {
  const Image image = Ramp(20, 40);
  at::Tensor mask = at::zeros({1, 20, 40});
  mask.narrow(2, 20, 20).fill_(1);
  const Resized cut = Resize(image, {{"width", 20}, {"height", 20}, {"keep_proportion", "crop"}}, Mask{mask});
  CHECK(at::equal(cut.mask, mask.narrow(2, 10, 20)));
  const Resized padded = Resize(image, {{"width", 40}, {"height", 40}, {"keep_proportion", "pad"}}, Mask{mask});
  CHECK(padded.mask[0][0][39].item<float>() == 1);  // repeated, not 1 everywhere
  CHECK(padded.mask[0][0][0].item<float>() == 0);
  const Resized none =
      Resize(image, {{"width", 40}, {"height", 40}, {"keep_proportion", "pad"}}, Mask{at::ones({1, 64, 64})});
  CHECK(none.mask[0][20][20].item<float>() == 0);  // the empty mask of loaders counts as none
}

TEST_CASE("bad colours, lanczos on a GPU and sizes of nothing are errors") {
  const InputValues image{{"image", {Value::Of<Image>("IMAGE", Ramp(20, 40))}}};
  for (const char* colour : {"1, 2", "1, 2, 3, 4", "#12", "#12345g", "puce", "", "1, , 2", "nan, 0, 0"}) {
    INFO(colour);
    InputValues inputs = image;
    inputs["keep_proportion"] = {Plain("pad")};
    inputs["pad_color"] = {Plain(colour)};
    CHECK_FALSE(RunNode("ImageResizeKJv2", inputs).ok());
  }
  InputValues inputs = image;
  inputs["upscale_method"] = {Plain("lanczos")};
  inputs["device"] = {Plain("gpu")};
  CHECK_FALSE(RunNode("ImageResizeKJv2", inputs).ok());
  inputs = image;
  inputs["keep_proportion"] = {Plain("total_pixels")};
  inputs["width"] = {Plain(0)};
  CHECK_FALSE(RunNode("ImageResizeKJv2", inputs).ok());
}

TEST_CASE("ModelSamplingLTXV shifts by the latent's pixels") {
  const auto shifted = [](const std::optional<Latent>& latent) {
    InputValues inputs{{"model", {Value::Of<Model>("MODEL", Model{})}}};
    if (latent) inputs["latent"] = {Value::Of<Latent>("LATENT", *latent)};
    const auto values = RunNode("ModelSamplingLTXV", inputs);
    INFO(Message(values.status()));
    REQUIRE(values.ok());
    return values->at(0).Get<Model>()->sampling->PercentToSigma(0.5);
  };
  const auto flux = [](double mu) { return engine::ModelSampling::Flux(mu)->PercentToSigma(0.5); };
  CHECK(shifted({}) == Approx(flux(2.05)));
  Latent latent;
  latent.samples = at::zeros({1, 128, 4, 16, 16});  // 1024
  CHECK(shifted(latent) == Approx(flux(0.95)));
  latent.samples = at::zeros({2, 128, 10, 16, 16});  // 2560: half way
  CHECK(shifted(latent) == Approx(flux(1.5)));
}

// Latents are every fourth pixel's red; remembers how many items it got.
class Counting final : public engine::Autoencoder {
 public:
  StatusOr<at::Tensor> Encode(const at::Tensor& pixels) const override {
    got.push_back(pixels.size(0));
    const at::Tensor latents = pixels.slice(3, 0, 1).permute({0, 3, 1, 2}).slice(2, 0, INT64_MAX, 4);
    return latents.slice(3, 0, INT64_MAX, 4).clone();
  }
  StatusOr<at::Tensor> Decode(const at::Tensor& latents) const override {
    got.push_back(latents.size(0));
    return latents.repeat_interleave(4, 2)
        .repeat_interleave(4, 3)
        .permute({0, 2, 3, 1})
        .expand({-1, -1, -1, 3})
        .clone();
  }
  StatusOr<at::Tensor> EncodeTiled(const at::Tensor& pixels, const engine::VaeTiles&) const override {
    return Encode(pixels);
  }
  StatusOr<at::Tensor> DecodeTiled(const at::Tensor& latents, const engine::VaeTiles&) const override {
    return Decode(latents);
  }
  int64_t ratio() const override { return 4; }
  int64_t channels() const override { return 1; }
  mutable std::vector<int64_t> got;
};

TEST_CASE("a batch goes through the autoencoder in pieces") {
  const auto counting = std::make_shared<const Counting>();
  const Value vae = Value::Of<Vae>("VAE", Vae{counting});
  const at::Tensor pixels = at::rand({5, 8, 12, 4});
  const auto encoded =
      RunNode("VHS_VAEEncodeBatched",
              {{"pixels", {Value::Of<Image>("IMAGE", Image{pixels})}}, {"vae", {vae}}, {"per_batch", {Plain(2)}}});
  REQUIRE(encoded.ok());
  const at::Tensor latents = encoded->at(0).Get<Latent>()->samples;
  CHECK(counting->got == std::vector<int64_t>{2, 2, 1});
  CHECK(at::equal(latents, *counting->Encode(pixels.slice(3, 0, 3))));
  counting->got.clear();
  const auto decoded =
      RunNode("VHS_VAEDecodeBatched", {{"samples", {encoded->at(0)}}, {"vae", {vae}}, {"per_batch", {Plain(4)}}});
  REQUIRE(decoded.ok());
  CHECK(counting->got == std::vector<int64_t>{4, 1});
  CHECK(at::equal(decoded->at(0).Get<Image>()->pixels, *counting->Decode(latents)));
}

Value Sound(const at::Tensor& waveform) { return Value::Of<engine::Audio>("AUDIO", engine::Audio{waveform, 100}); }

TEST_CASE("sound: silence, a part, the channels, the volume") {
  const auto waveform = [](const StatusOr<std::vector<Value>>& values, size_t output = 0) {
    INFO(Message(values.status()));
    REQUIRE(values.ok());
    return values->at(output).Get<engine::Audio>()->waveform;
  };
  const auto empty =
      RunNode("EmptyAudio", {{"duration", {Plain(0.25)}}, {"sample_rate", {Plain(8000)}}, {"channels", {Plain(1)}}});
  CHECK(at::equal(waveform(empty), at::zeros({1, 1, 2000})));
  CHECK(empty->at(0).Get<engine::Audio>()->sample_rate == 8000);
  CHECK_FALSE(RunNode("EmptyAudio", {{"duration", {Plain(1e18)}}}).ok());
  CHECK_FALSE(RunNode("EmptyAudio", {{"sample_rate", {Plain(0)}}}).ok());

  const at::Tensor ramp = at::arange(2000, at::kFloat).reshape({1, 2, 1000});  // ten seconds
  const auto trim = [&](double start, double duration) {
    return RunNode("TrimAudioDuration",
                   {{"audio", {Sound(ramp)}}, {"start_index", {Plain(start)}}, {"duration", {Plain(duration)}}});
  };
  CHECK(at::equal(waveform(trim(1.5, 2)), ramp.narrow(2, 150, 200)));
  CHECK(at::equal(waveform(trim(-1, 60)), ramp.narrow(2, 900, 100)));
  CHECK(at::equal(waveform(trim(-100, 60)), ramp));
  CHECK_FALSE(trim(11, 1).ok());
  CHECK_FALSE(trim(1, 0).ok());

  const auto channels = RunNode("SplitAudioChannels", {{"audio", {Sound(ramp)}}});
  CHECK(at::equal(waveform(channels, 0), ramp.narrow(1, 0, 1)));
  CHECK(at::equal(waveform(channels, 1), ramp.narrow(1, 1, 1)));
  CHECK_FALSE(RunNode("SplitAudioChannels", {{"audio", {Sound(ramp.narrow(1, 0, 1))}}}).ok());

  const auto loud = RunNode("AudioAdjustVolume", {{"audio", {Sound(ramp)}}, {"volume", {Plain(20)}}});
  CHECK(at::allclose(waveform(loud), ramp * 10));
  CHECK(at::equal(waveform(RunNode("AudioAdjustVolume", {{"audio", {Sound(ramp)}}, {"volume", {Plain(0)}}})), ramp));
}

}  // namespace
}  // namespace atelier::nodes
