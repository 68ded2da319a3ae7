#include "worker/models/vae_names.h"

#include <catch2/catch.hpp>

#include "tests/golden/golden_data.h"
#include "worker/models/vae.h"

namespace atelier {
namespace {

void Replace(std::string& name, const std::string& from, const std::string& to) {
  if (const size_t at = name.find(from); at != std::string::npos) name.replace(at, from.size(), to);
}

// A tensor's name as the diffusers library has it.
std::string Diffusers(std::string name, int64_t levels, bool old) {
  for (int64_t i = 0; i < levels; ++i) {
    const std::string from = Cat("decoder.up.", i, ".");
    if (name.starts_with(from)) {
      name = Cat("decoder.up_blocks.", levels - 1 - i, ".", name.substr(from.size()));
      break;
    }
  }
  Replace(name, "encoder.down.", "encoder.down_blocks.");
  Replace(name, ".mid.block_1.", ".mid_block.resnets.0.");
  Replace(name, ".mid.block_2.", ".mid_block.resnets.1.");
  Replace(name, ".mid.attn_1.norm.", ".mid_block.attentions.0.group_norm.");
  Replace(name, ".mid.attn_1.q.", old ? ".mid_block.attentions.0.query." : ".mid_block.attentions.0.to_q.");
  Replace(name, ".mid.attn_1.k.", old ? ".mid_block.attentions.0.key." : ".mid_block.attentions.0.to_k.");
  Replace(name, ".mid.attn_1.v.", old ? ".mid_block.attentions.0.value." : ".mid_block.attentions.0.to_v.");
  Replace(name, ".mid.attn_1.proj_out.",
          old ? ".mid_block.attentions.0.proj_attn." : ".mid_block.attentions.0.to_out.0.");
  Replace(name, ".block.", ".resnets.");
  Replace(name, ".downsample.", ".downsamplers.0.");
  Replace(name, ".upsample.", ".upsamplers.0.");
  Replace(name, ".nin_shortcut.", ".conv_shortcut.");
  Replace(name, ".norm_out.", ".conv_norm_out.");
  return name;
}

TEST_CASE("an autoencoder with the names of diffusers gives the same picture") {
  const c10::InferenceMode inference;
  engine::Engine engine({});
  auto file = engine::WeightSource::Open(golden::Models() + "/vae/tiny_sd21_vae.safetensors");
  REQUIRE(file.ok());
  const engine::WeightSource original =
      file->HasPrefix("first_stage_model.") ? file->Prefixed("first_stage_model.") : *file;
  const int64_t levels = original.CountBlocks("decoder.up.");
  REQUIRE(levels > 1);
  auto want = models::BuildVae(original, engine);
  REQUIRE(want.ok());
  at::manual_seed(1);
  const at::Tensor latent = at::randn({1, original.Dim("decoder.conv_in.weight", 1), 4, 6});
  const at::Tensor picture = *(*want)->Decode(latent);
  for (const bool old : {false, true}) {
    engine::WeightSource::Tensors tensors;
    for (const auto& [name, tensor] : original.tensors()) {
      const std::string other = Diffusers(name, levels, old);
      const bool attention = name.find(".attn_1.") != std::string::npos && tensor.dim() == 4;
      REQUIRE(tensors.emplace(other, attention ? tensor.flatten(1) : tensor).second);
    }
    REQUIRE(tensors.count("decoder.up_blocks.0.resnets.0.norm1.weight") == 1);
    auto got = models::BuildVae(models::OriginalVaeNames(engine::WeightSource("x", tensors)), engine);
    INFO(got.status().ToString());
    REQUIRE(got.ok());
    CHECK(at::equal(*(*got)->Decode(latent), picture));
    const at::Tensor pixels = at::rand({1, 32, 32, 3});
    CHECK(at::equal(*(*got)->Encode(pixels), *(*want)->Encode(pixels)));
  }
}

}  // namespace
}  // namespace atelier
