// Stable Diffusion XL base and its smaller kin (SSD-1B, Vega, KOALA): CLIP-L and OpenCLIP-bigG, a conditioning vector
// of pooled text and sizes.
#include "worker/models/family.h"
#include "worker/models/unet.h"
#include "worker/models/unet_conditioning.h"
#include "worker/sampling/model_sampling.h"
#include "worker/text/clip_encoder.h"

namespace atelier::models::sdxl {
namespace {

constexpr int64_t kSizes = 6;

bool Detect(const engine::WeightSource& diffusion) {
  const UNetShape shape = ShapeOfUNet(diffusion);
  return shape.model_channels > 0 && shape.context_width > 0 && shape.linear_projection &&
         shape.vector_width > kSizes * 256 && shape.vector_width - kSizes * 256 < shape.context_width &&
         shape.vector_width != shape.context_width + int64_t{5} * 256 && shape.out_channels == 4 && !IsUnclip(shape);
}

// y: pooled text, then the sizes. Source: spec engine.md 4.4.
StatusOr<engine::ModelCallInputs> Encode(const engine::CondEntry& entry, const engine::CondRun& run) {
  const double height = OptionOr(entry, "height", static_cast<double>(run.latent.size(2) * 8));
  const double width = OptionOr(entry, "width", static_cast<double>(run.latent.size(3) * 8));
  engine::ModelCallInputs inputs;
  ASSIGN_OR_RETURN(inputs.y,
                   SizeVector(entry,
                              {height, width, OptionOr(entry, "crop_h", 0), OptionOr(entry, "crop_w", 0),
                               OptionOr(entry, "target_height", height), OptionOr(entry, "target_width", width)},
                              run.latent.device()));
  return inputs;
}

// Only keys beside the weights tell the kinds apart. Source: spec engine.md 4.2 "Prediction type".
void SetSampling(const engine::WeightSource& file, engine::Model& model) {
  using engine::ModelSampling;
  using engine::Prediction;
  const auto number = [&file](const char* key, double fallback) {
    const at::Tensor value = file.Find(key);
    return value.defined() && value.numel() == 1 ? value.to(at::kDouble).item<double>() : fallback;
  };
  if (file.Has("edm_mean") && file.Has("edm_std")) {
    model.sampling = ModelSampling::ContinuousEdm(Prediction::kEdm, 0.002, 80.0, 0.5);
    model.latent_format.scale = 0.5;
    model.latent_format.mean = {-1.6574, 1.886, -1.383, 2.5155};
    model.latent_format.deviation = {8.4927, 5.9022, 6.5498, 5.2299};
  } else if (file.Has("edm_vpred.sigma_max")) {
    model.sampling = ModelSampling::ContinuousEdm(Prediction::kV, number("edm_vpred.sigma_min", 0.002),
                                                  number("edm_vpred.sigma_max", 120.0));
  } else {
    engine::DiscreteOptions options;
    options.zero_terminal_snr = file.Has("v_pred") && file.Has("ztsnr");
    model.sampling = ModelSampling::Discrete(file.Has("v_pred") ? Prediction::kV : Prediction::kEps, options);
  }
}

StatusOr<engine::Model> Build(const engine::WeightSource& diffusion, const engine::WeightSource& file,
                              engine::Engine& engine) {
  engine::Model model;
  ASSIGN_OR_RETURN(model.network, BuildUNet(diffusion, /*attention_fp32=*/false, engine));
  ASSIGN_OR_RETURN(model.encode_cond, WithConcat(ShapeOfUNet(diffusion).in_channels, diffusion.file(), Encode));
  model.latent_format.scale = 0.13025;
  model.latent_format.colors = engine::kSdxlColors;
  SetSampling(file, model);
  return model;
}

StatusOr<std::shared_ptr<const engine::TextEncoder>> BuildText(const engine::WeightSource& file,
                                                               engine::Engine& engine) {
  if (!file.HasPrefix("conditioner.embedders.0.transformer.") || !file.HasPrefix("conditioner.embedders.1.model.")) {
    return std::shared_ptr<const engine::TextEncoder>();
  }
  text::ClipOptions l;
  l.layer = -2;
  l.final_norm = false;
  text::ClipOptions g = l;
  g.name = "clip_g";
  g.quick_gelu = false;
  g.pad = 0;
  g.project = true;
  ASSIGN_OR_RETURN(auto clip_l,
                   text::ClipEncoder::Build(file.Prefixed("conditioner.embedders.0.transformer."), l, engine));
  ASSIGN_OR_RETURN(auto clip_g, text::ClipEncoder::Build(
                                    text::OpenClipToHf(file.Prefixed("conditioner.embedders.1.model.")), g, engine));
  return text::DualClip(std::move(clip_l), std::move(clip_g));
}

ATELIER_REGISTER_FAMILY("sdxl", {Detect, Build, BuildText});

}  // namespace
}  // namespace atelier::models::sdxl
