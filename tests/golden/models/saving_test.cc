// A checkpoint that is saved and read again is the same one, with the changes that nodes made to its weights.
#include "worker/models/saving.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/golden/golden_data.h"
#include "worker/engine/tensor_blob.h"
#include "worker/models/adapter.h"
#include "worker/models/loaders.h"
#include "worker/sampling/model_sampling.h"

namespace atelier {
namespace {

// A folder that goes away with the test.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "saving_XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string Write(const std::string& name, const models::SavedTensors& tensors) const {
    auto bytes = engine::WriteTensors(tensors);
    REQUIRE(bytes.ok());
    const std::string path = path_ / name;
    std::ofstream(path, std::ios::binary) << *bytes;
    return path;
  }

 private:
  std::filesystem::path path_;
};

template <typename T>
T Must(StatusOr<T> value) {
  INFO(Message(value.status()));
  REQUIRE(value.ok());
  return *std::move(value);
}

at::Tensor Encoded(const engine::TextEncoder& encoder) {
  return Must(encoder.Encode("a (red:1.2) house", 0)).entries[0].cond;
}

TEST_CASE("a checkpoint of each layout comes back from its file") {
  const c10::InferenceMode inference;
  const Folder folder;
  engine::Engine engine({});
  for (const std::string name : {"tiny_sd15", "tiny_sd21_v", "tiny_sdxl"}) {
    INFO(name);
    const auto parts =
        Must(models::LoadCheckpoint(Cat(golden::Models(), "/checkpoints/", name, ".safetensors"), engine));
    const engine::Clip clip{parts->text_encoder, 0, {}, ""};
    const auto tensors = Must(models::CheckpointTensors(parts->diffusion, clip, {parts->autoencoder}));
    const auto again = Must(models::LoadCheckpoint(folder.Write(name + ".safetensors", tensors), engine));
    CHECK(again->diffusion.family == parts->diffusion.family);
    CHECK(again->diffusion.sampling->prediction() == parts->diffusion.sampling->prediction());
    REQUIRE(again->text_encoder != nullptr);
    CHECK(at::equal(Encoded(*again->text_encoder), Encoded(*parts->text_encoder)));
    const at::Tensor latent = at::randn({1, 4, 8, 8});
    CHECK(at::equal(Must(again->autoencoder->Decode(latent)), Must(parts->autoencoder->Decode(latent))));
    const auto& before = parts->diffusion.weights.tensors();
    REQUIRE(again->diffusion.weights.tensors().size() == before.size());
    for (const auto& [weight, tensor] : before) CHECK(at::equal(again->diffusion.weights.Find(weight), tensor));
  }
}

TEST_CASE("changed weights are saved as they are used") {
  const c10::InferenceMode inference;
  const Folder folder;
  engine::Engine engine({});
  const auto parts = Must(models::LoadCheckpoint(golden::Models() + "/checkpoints/tiny_sd15.safetensors", engine));
  const std::string weight = "out.2.weight";
  const auto doubled = [](const at::Tensor& w) { return w * 2; };
  const engine::Model changed = Must(models::WithPatches(parts->diffusion, {{weight, {doubled}}}, "doubled"));
  const auto tensors = Must(models::DiffusionTensors(changed));
  const engine::Model again = Must(models::LoadDiffusion(folder.Write("model.safetensors", tensors), engine));
  const at::Tensor was = parts->diffusion.weights.Find(weight);
  CHECK(again.weights.Find(weight).scalar_type() == was.scalar_type());
  CHECK(at::equal(again.weights.Find(weight), (was.to(at::kFloat) * 2).to(was.scalar_type())));
  CHECK(at::equal(again.weights.Find("out.0.weight"), parts->diffusion.weights.Find("out.0.weight")));
}

}  // namespace
}  // namespace atelier
