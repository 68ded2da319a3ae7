// Stable Diffusion XL base: CLIP-L and OpenCLIP-bigG, a conditioning vector of pooled text and sizes.
#include "worker/models/family.h"
#include "worker/models/unet.h"
#include "worker/text/clip_encoder.h"

namespace atelier::models {
namespace {

bool Detect(const engine::WeightSource& diffusion) {
  const UNetShape shape = ShapeOfUNet(diffusion);
  return shape.model_channels > 0 && shape.context_width > 0 && shape.linear_projection && shape.vector_width > 1536 &&
         shape.out_channels == 4;
}

StatusOr<DiffusionParts> Build(const engine::WeightSource& diffusion, const engine::WeightSource& file,
                               engine::Engine& engine) {
  if (file.Has("edm_mean") || file.Has("edm_vpred.sigma_max")) {
    return InvalidArgument("file \"", file.file(),
                           "\" is an SDXL model with continuous noise levels, which is not supported");
  }
  DiffusionParts parts;
  ASSIGN_OR_RETURN(parts.network, BuildUNet(diffusion, /*attention_fp32=*/false, engine));
  const UNetShape shape = ShapeOfUNet(diffusion);
  parts.in_channels = shape.in_channels;
  parts.vector_width = shape.vector_width;
  parts.latent_format.scale = 0.13025;
  if (file.Has("v_pred")) {
    parts.prediction = "v_prediction";
    parts.zero_terminal_snr = file.Has("ztsnr");
  }
  return parts;
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
}  // namespace atelier::models
