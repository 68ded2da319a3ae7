// FLUX.1: dev (told the guidance), schnell, fill and the control models (pictures on further channels), Kontext
// (reference latents). Source: spec engine.md 9.2.
#include "worker/models/flux.h"

#include "worker/models/family.h"
#include "worker/models/text_files.h"
#include "worker/models/unet_conditioning.h"
#include "worker/sampling/model_sampling.h"
#include "worker/text/encoder_sets.h"

namespace atelier::models::flux {
namespace {

constexpr int64_t kChannels = 16;
constexpr int64_t kMaskChannels = 64;  // 8x8 pixels of a mask in one latent pixel
constexpr double kGuidance = 3.5;
constexpr double kMu = 1.15;
constexpr int64_t kTokensMin = 256;

bool Detect(const engine::WeightSource& diffusion) {
  return diffusion.Has("double_blocks.0.img_attn.norm.key_norm.scale") && diffusion.Has("img_in.weight") &&
         diffusion.Has("vector_in.in_layer.weight") && !diffusion.HasPrefix("distilled_guidance_layer.") &&
         !diffusion.HasPrefix("txt_in.individual_token_refiner.");
}

// The picture, and for a fill model the mask at pixel size with each 8x8 pixels as channels.
at::Tensor Concat(const engine::CondEntry& entry, const engine::CondRun& run, int64_t extra) {
  const at::Tensor& latent = run.latent;
  at::Tensor picture = at::zeros_like(latent);
  if (const at::Tensor* given = TensorOf(entry, "concat_latent_image"))
    picture = FitLatent(run.latent_format.ProcessIn(given->to(latent.options())), latent);
  if (extra == kChannels) return picture;
  const int64_t items = latent.size(0), height = latent.size(2), width = latent.size(3);
  at::Tensor mask = at::ones({items, 1, height * 8, width * 8}, latent.options());
  const at::Tensor* given = TensorOf(entry, "concat_mask");
  if (given == nullptr && run.denoise_mask.defined()) given = &run.denoise_mask;
  if (given != nullptr) {
    at::Tensor m = given->to(latent.options());
    while (m.dim() < 4) m = m.unsqueeze(m.dim() == 3 ? 1 : 0);
    mask = FitLatent(m.mean(1, true), mask);
  }
  mask = mask.view({items, height, 8, width, 8}).permute({0, 2, 4, 1, 3}).reshape({items, 64, height, width});
  return at::cat({picture, mask}, 1);
}

engine::CondEncoder Encoder(const FluxShape& shape) {
  return [shape](const engine::CondEntry& entry, const engine::CondRun& run) -> StatusOr<engine::ModelCallInputs> {
    engine::ModelCallInputs inputs;
    const auto device = run.latent.device();
    if (const at::Tensor* pooled = TensorOf(entry, "pooled_output")) {
      if (pooled->dim() != 2 || pooled->size(1) < shape.vector_width)
        return InvalidArgument("the conditioning's pooled output is no vector of width ", shape.vector_width,
                               "; use FLUX's own text encoders");
      inputs.y = pooled->to(device, at::kFloat);
    }
    // null switches the guidance off.
    const auto guidance = entry.options.find("guidance");
    if (guidance == entry.options.end() || !guidance->is_null())
      inputs.guidance = at::full({1}, OptionOr(entry, "guidance", kGuidance), run.latent.options());
    if (const at::Tensor* mask = TensorOf(entry, "attention_mask")) {
      if (mask->dim() != 2 || mask->size(1) != entry.cond.size(1))
        return InvalidArgument("the conditioning's attention mask is not one of its ", entry.cond.size(1), " tokens");
      inputs.attention_mask = mask->to(device, at::kFloat);
    }
    const int64_t channels = run.input_channels > 0 ? run.input_channels : shape.channels;
    if (channels > kChannels) inputs.c_concat = Concat(entry, run, channels - kChannels);
    for (int64_t i = 0;; ++i) {
      const at::Tensor* reference = TensorOf(entry, Cat("reference_latents.", i).c_str());
      if (reference == nullptr) break;
      if (reference->dim() != 4 || reference->size(1) != kChannels)
        return InvalidArgument("a reference latent of the conditioning is not of the form [batch, 16, height, width]");
      inputs.ref_latents.push_back(run.latent_format.ProcessIn(reference->to(run.latent.options())));
    }
    const auto method = entry.options.find("reference_latents_method");
    if (method != entry.options.end() && method->is_string()) inputs.ref_latents_method = method->get<std::string>();
    return inputs;
  };
}

StatusOr<engine::Model> Build(const engine::WeightSource& diffusion, const engine::WeightSource&,
                              engine::Engine& engine) {
  const FluxShape shape = ShapeOfFlux(diffusion);
  const int64_t extra = shape.channels - kChannels;
  if (extra != 0 && extra != kChannels && extra != kChannels + kMaskChannels)
    return InvalidArgument("file \"", diffusion.file(), "\" is a FLUX model of ", shape.channels,
                           " input channels, expected 16, 32 (control) or 96 (fill); choose another file");
  engine::Model model;
  ASSIGN_OR_RETURN(model.network, BuildFlux(diffusion, engine));
  model.sampling = shape.guidance ? engine::ModelSampling::Flux(kMu) : engine::ModelSampling::DiscreteFlow(1.0, 1.0);
  model.fixed_context = true;
  model.latent_format.channels = kChannels;
  model.latent_format.scale = 0.3611;
  model.latent_format.shift = 0.1159;
  model.latent_format.colors = engine::kFluxColors;
  model.encode_cond = Encoder(shape);
  return model;
}

StatusOr<std::shared_ptr<const engine::TextEncoder>> BuildSet(const TextFiles& files, engine::Engine& engine) {
  ASSIGN_OR_RETURN(auto l, ClipOf(files, "l", OptionsOfL(), engine));
  text::T5Options options;
  options.length_min = kTokensMin;
  ASSIGN_OR_RETURN(auto t5, T5Of(files, options, engine));
  return text::FluxSet(std::move(l), std::move(t5));
}

StatusOr<std::shared_ptr<const engine::TextEncoder>> BuildText(const engine::WeightSource& file,
                                                               engine::Engine& engine) {
  const TextFiles files = TextFilesOfCheckpoint(file);
  if (!files.contains("l") || !files.contains("t5")) return std::shared_ptr<const engine::TextEncoder>();
  return BuildSet(files, engine);
}

ATELIER_REGISTER_FAMILY("flux", {Detect, Build, BuildText});
ATELIER_REGISTER_TEXT_SET("flux", {{"l", "t5"}, BuildSet});

}  // namespace
}  // namespace atelier::models::flux
