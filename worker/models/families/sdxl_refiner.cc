// Stable Diffusion XL refiner: OpenCLIP-bigG alone, a conditioning vector of pooled text, sizes and an aesthetic score.
#include "worker/models/family.h"
#include "worker/models/unet.h"
#include "worker/models/unet_conditioning.h"
#include "worker/sampling/model_sampling.h"
#include "worker/text/clip_encoder.h"

namespace atelier::models::sdxl_refiner {
namespace {

bool Detect(const engine::WeightSource& diffusion) {
  const UNetShape shape = ShapeOfUNet(diffusion);
  return shape.model_channels > 0 && shape.context_width > 0 && shape.linear_projection && shape.out_channels == 4 &&
         shape.vector_width == shape.context_width + int64_t{5} * 256;
}

// Source: spec engine.md 4.4.
StatusOr<engine::ModelCallInputs> Encode(const engine::CondEntry& entry, const engine::CondRun& run) {
  const double score = run.kind == engine::CondKind::kNegative ? 2.5 : 6.0;
  engine::ModelCallInputs inputs;
  ASSIGN_OR_RETURN(inputs.y, SizeVector(entry,
                                        {OptionOr(entry, "height", static_cast<double>(run.latent.size(2) * 8)),
                                         OptionOr(entry, "width", static_cast<double>(run.latent.size(3) * 8)),
                                         OptionOr(entry, "crop_h", 0), OptionOr(entry, "crop_w", 0),
                                         OptionOr(entry, "aesthetic_score", score)},
                                        run.latent.device()));
  return inputs;
}

StatusOr<engine::Model> Build(const engine::WeightSource& diffusion, const engine::WeightSource&,
                              engine::Engine& engine) {
  engine::Model model;
  ASSIGN_OR_RETURN(model.network, BuildUNet(diffusion, /*attention_fp32=*/false, engine));
  ASSIGN_OR_RETURN(model.encode_cond, WithConcat(ShapeOfUNet(diffusion).in_channels, diffusion.file(), Encode));
  model.latent_format.scale = 0.13025;
  model.latent_format.colors = engine::kSdxlColors;
  model.sampling = engine::ModelSampling::Discrete(engine::Prediction::kEps);
  return model;
}

StatusOr<std::shared_ptr<const engine::TextEncoder>> BuildText(const engine::WeightSource& file,
                                                               engine::Engine& engine) {
  constexpr std::string_view kPrefix = "conditioner.embedders.0.model.";
  if (!file.HasPrefix(kPrefix)) return std::shared_ptr<const engine::TextEncoder>();
  text::ClipOptions g;
  g.name = "clip_g";
  g.layer = -2;
  g.final_norm = false;
  g.quick_gelu = false;
  g.pad = 0;
  g.project = true;
  ASSIGN_OR_RETURN(auto clip, text::ClipEncoder::Build(text::OpenClipToHf(file.Prefixed(kPrefix)), g, engine));
  return text::SingleClip(std::move(clip));
}

ATELIER_REGISTER_FAMILY("sdxl_refiner", {Detect, Build, BuildText});

}  // namespace
}  // namespace atelier::models::sdxl_refiner
