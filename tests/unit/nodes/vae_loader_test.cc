// Tiny autoencoders as choices of VAELoader.
#include <catch2/catch.hpp>

#include "common/files/models.h"
#include "common/graph/file_sets.h"
#include "common/graph/validate.h"
#include "tests/harness/node_context.h"
#include "tests/harness/taesd_files.h"
#include "worker/engine/types.h"

namespace atelier {
namespace {

using namespace test;

class RootContext final : public NodeContext {
 public:
  explicit RootContext(std::string root) : root_(std::move(root)) {}
  const std::string& node_id() const override { return root_; }
  bool cancelled() const override { return false; }
  Status Step(int64_t, int64_t, const std::function<std::string()>&) override { return OkStatus(); }
  StatusOr<std::string> ModelPath(std::string_view folder, std::string_view name) override {
    return ResolveModel({root_}, folder, name);
  }
  StatusOr<std::string> InputFile(std::string_view name) override { return NotFound(name); }
  void Emit(OutputFile) override {}
  void Warn(const std::string&) override {}

 private:
  std::string root_;
};

TEST_CASE("VAELoader offers a tiny autoencoder when both of its files are there, and loads it") {
  const c10::InferenceMode inference;
  at::manual_seed(21);
  const TinyFolder root;
  std::filesystem::create_directory(root.path + "/vae");
  std::filesystem::create_directory(root.path + "/vae_approx");
  root.Write("vae/own.safetensors", "x");
  root.Write("vae_approx/taesdxl_decoder.pth", TorchFile(DecoderFile(4)));
  root.Write("vae_approx/taesd_decoder.pth", TorchFile(DecoderFile(4)));

  const NodeType* loader = Registry<NodeType>::Get().Find("VAELoader");
  REQUIRE(loader != nullptr);
  const InputSpec& name = *loader->spec().FindInput("vae_name");
  const auto choices = [&] { return ChoicesOf(name, ScanModels({root.path})); };
  CHECK(choices() == std::vector<std::string>{"own.safetensors", "pixel_space"});
  root.Write("vae_approx/taesd_encoder.safetensors", Safetensors(EncoderFile(4)));
  CHECK(choices() == std::vector<std::string>{"own.safetensors", "taesd", "pixel_space"});
  root.Write("vae_approx/taesd3_encoder.pth", "");
  root.Write("vae_approx/taesd3_decoder.pth", "");
  root.Write("vae_approx/taef1_encoder.pth", "");
  root.Write("vae_approx/taef1_decoder.pth", "");
  root.Write("vae_approx/taesdxl_encoder.notes", "");
  CHECK(choices() == std::vector<std::string>{"own.safetensors", "taesd", "taesd3", "taef1", "pixel_space"});

  Catalog catalog;
  catalog.Add(loader->spec());
  NodeSpec sink;
  sink.type = "Sink";
  sink.output_node = true;
  sink.inputs.emplace_back();
  sink.inputs[0].name = "vae";
  sink.inputs[0].type = "VAE";
  catalog.Add(sink);
  const auto checked = [&](const char* choice) {
    return Validate(*ParseJson(Cat(R"({"1":{"class_type":"VAELoader","inputs":{"vae_name":")", choice,
                                   R"("}},"2":{"class_type":"Sink","inputs":{"vae":["1",0]}}})")),
                    catalog, ScanModels({root.path}));
  };
  CHECK_FALSE(checked("taesdxl").ok());
  const ValidationReport report = checked("taesd");
  REQUIRE(report.ok());
  InputValues inputs;
  for (const auto& [input, value] : report.graph.Find("1")->inputs.items()) inputs[input] = {Value::Literal(value)};
  RootContext ctx(root.path);
  const auto made = loader->run(inputs, ctx);
  INFO(Message(made.status()));
  REQUIRE(made.ok());
  const engine::Vae& vae = *made->at(0).Get<engine::Vae>();
  const auto latent = vae.autoencoder->Encode(at::rand({1, 32, 24, 3}));
  REQUIRE(latent.ok());
  CHECK(latent->sizes() == at::IntArrayRef({1, 4, 4, 3}));
  const auto pixels = vae.autoencoder->Decode(*latent);
  REQUIRE(pixels.ok());
  CHECK(pixels->sizes() == at::IntArrayRef({1, 32, 24, 3}));

  // A name that nobody looked up, as one that comes by a link.
  const Status bare = loader->run({{"vae_name", {Value::Literal("taesd")}}}, ctx).status();
  CHECK(bare.code() == StatusCode::kInvalidArgument);
  CHECK(Message(bare).find("taesd_encoder") != std::string::npos);
}

TEST_CASE("VAELoader's pixel_space needs no file and keeps the picture as it is") {
  const c10::InferenceMode inference;
  at::manual_seed(22);
  const TinyFolder root;
  RootContext ctx(root.path);
  const auto made =
      Registry<NodeType>::Get().Find("VAELoader")->run({{"vae_name", {Value::Literal("pixel_space")}}}, ctx);
  INFO(Message(made.status()));
  REQUIRE(made.ok());
  const engine::Autoencoder& vae = *made->at(0).Get<engine::Vae>()->autoencoder;
  CHECK(vae.channels() == 3);
  CHECK(vae.ratio() == 1);
  const at::Tensor picture = at::rand({2, 7, 5, 3});
  const auto latent = vae.Encode(picture);
  REQUIRE(latent.ok());
  CHECK(at::equal(*latent, (picture * 2.0 - 1.0).permute({0, 3, 1, 2})));
  const auto pixels = vae.Decode(*latent);
  REQUIRE(pixels.ok());
  CHECK(at::allclose(*pixels, picture, 0, 1e-6));
  const auto tiled = vae.DecodeTiled(*latent, {64, 16});
  REQUIRE(tiled.ok());
  CHECK(at::allclose(*tiled, picture, 0, 1e-6));
}

}  // namespace
}  // namespace atelier
