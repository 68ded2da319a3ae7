// Stable Diffusion 3 and 3.5 (medium and large). Source: spec engine.md 9.4.
#include "worker/models/family.h"
#include "worker/models/mmdit.h"
#include "worker/models/text_files.h"
#include "worker/models/unet_conditioning.h"
#include "worker/sampling/model_sampling.h"
#include "worker/text/encoder_sets.h"

namespace atelier::models::sd3 {
namespace {

constexpr double kShift = 3.0;

bool Detect(const engine::WeightSource& diffusion) {
  return diffusion.Has("joint_blocks.0.context_block.attn.qkv.weight");
}

StatusOr<engine::ModelCallInputs> Encode(const engine::CondEntry& entry, const engine::CondRun& run) {
  engine::ModelCallInputs inputs;
  if (const at::Tensor* pooled = TensorOf(entry, "pooled_output"))
    inputs.y = pooled->to(run.latent.device(), at::kFloat);
  return inputs;
}

StatusOr<engine::Model> Build(const engine::WeightSource& diffusion, const engine::WeightSource&,
                              engine::Engine& engine) {
  engine::Model model;
  ASSIGN_OR_RETURN(model.network, BuildMmdit(diffusion, engine));
  model.sampling = engine::ModelSampling::DiscreteFlow(kShift);
  model.fixed_context = true;
  model.latent_format.channels = 16;
  model.latent_format.scale = 1.5305;
  model.latent_format.shift = 0.0609;
  model.latent_format.colors = engine::kSd3Colors;
  model.encode_cond = Encode;
  return model;
}

StatusOr<std::shared_ptr<const engine::TextEncoder>> BuildSet(const TextFiles& files, engine::Engine& engine) {
  text::ClipOptions of_l = OptionsOfL(), of_g = OptionsOfG();
  of_l.layer = of_g.layer = -2;
  of_l.final_norm = of_g.final_norm = false;
  ASSIGN_OR_RETURN(auto l, ClipOf(files, "l", of_l, engine));
  ASSIGN_OR_RETURN(auto g, ClipOf(files, "g", of_g, engine));
  ASSIGN_OR_RETURN(auto t5, T5Of(files, {}, engine));
  if (l == nullptr && g == nullptr && t5 == nullptr)
    return InvalidArgument("SD3 takes CLIP-L, CLIP-G and T5-XXL text encoders, the chosen files hold none of them");
  return text::Sd3Set(std::move(l), std::move(g), std::move(t5));
}

StatusOr<std::shared_ptr<const engine::TextEncoder>> BuildText(const engine::WeightSource& file,
                                                               engine::Engine& engine) {
  const TextFiles files = TextFilesOfCheckpoint(file);
  if (files.empty()) return std::shared_ptr<const engine::TextEncoder>();
  return BuildSet(files, engine);
}

ATELIER_REGISTER_FAMILY("sd3", {Detect, Build, BuildText});
ATELIER_REGISTER_TEXT_SET("sd3", {{}, BuildSet});

}  // namespace
}  // namespace atelier::models::sd3
