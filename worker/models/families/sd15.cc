// Stable Diffusion 1.x: one CLIP-L, 1x1 convolutions around the transformers, 8 heads, no conditioning vector.
#include "worker/models/family.h"
#include "worker/models/unet.h"
#include "worker/models/unet_conditioning.h"
#include "worker/sampling/model_sampling.h"
#include "worker/text/clip_encoder.h"

namespace atelier::models::sd15 {
namespace {

bool Detect(const engine::WeightSource& diffusion) {
  const UNetShape shape = ShapeOfUNet(diffusion);
  return shape.model_channels > 0 && shape.context_width > 0 && !shape.linear_projection && shape.vector_width == 0 &&
         shape.out_channels == 4;
}

StatusOr<engine::Model> Build(const engine::WeightSource& diffusion, const engine::WeightSource&,
                              engine::Engine& engine) {
  engine::Model model;
  ASSIGN_OR_RETURN(model.network, BuildUNet(diffusion, /*attention_fp32=*/false, engine));
  ASSIGN_OR_RETURN(model.encode_cond, WithConcat(ShapeOfUNet(diffusion).in_channels, diffusion.file(), nullptr));
  model.sampling = engine::ModelSampling::Discrete(engine::Prediction::kEps);
  return model;
}

StatusOr<std::shared_ptr<const engine::TextEncoder>> BuildText(const engine::WeightSource& file,
                                                               engine::Engine& engine) {
  const engine::WeightSource stage = file.Prefixed("cond_stage_model.transformer.");
  if (stage.tensors().empty()) return std::shared_ptr<const engine::TextEncoder>();
  engine::WeightSource weights = stage;
  if (!stage.HasPrefix("text_model.")) {
    // Some files leave this level out.
    engine::WeightSource::Tensors renamed;
    for (const auto& [name, tensor] : stage.tensors()) renamed.emplace("text_model." + name, tensor);
    weights = engine::WeightSource(stage.file(), std::move(renamed));
  }
  ASSIGN_OR_RETURN(auto clip, text::ClipEncoder::Build(weights, {}, engine));
  return text::SingleClip(std::move(clip));
}

ATELIER_REGISTER_FAMILY("sd15", {Detect, Build, BuildText});

}  // namespace
}  // namespace atelier::models::sd15
