// Stable Diffusion 2.x: one OpenCLIP-H (last but one layer), linear layers around the transformers, heads of 64.
#include "worker/models/family.h"
#include "worker/models/unet.h"
#include "worker/models/unet_conditioning.h"
#include "worker/sampling/model_sampling.h"
#include "worker/text/clip_encoder.h"

namespace atelier::models::sd2 {
namespace {

bool Detect(const engine::WeightSource& diffusion) {
  const UNetShape shape = ShapeOfUNet(diffusion);
  return shape.model_channels > 0 && shape.context_width > 0 && shape.linear_projection &&
         (shape.vector_width == 0 || IsUnclip(shape)) && shape.out_channels == 4;
}

// The vector of an unCLIP model: half description of pictures, half their noise level; zeros without pictures.
engine::CondEncoder UnclipEncoder(const engine::WeightSource& file, int64_t width) {
  UnclipNoise noise;
  noise.level_width = width / 2;
  const at::Tensor mean = file.Find("noise_augmentor.data_mean"), deviation = file.Find("noise_augmentor.data_std");
  if (mean.defined() && deviation.defined()) {
    noise.mean = mean.to(at::kFloat).flatten();
    noise.deviation = deviation.to(at::kFloat).flatten();
  }
  return
      [noise, width](const engine::CondEntry& entry, const engine::CondRun& run) -> StatusOr<engine::ModelCallInputs> {
        engine::ModelCallInputs inputs;
        ASSIGN_OR_RETURN(inputs.y, UnclipVector(entry, noise));
        if (!inputs.y.defined()) inputs.y = at::zeros({1, width});
        if (inputs.y.size(1) != width)
          return InvalidArgument("the picture's description has ", inputs.y.size(1) - noise.level_width,
                                 " numbers, the model takes ", width - noise.level_width,
                                 "; use the vision encoder of the checkpoint");
        inputs.y = inputs.y.to(run.latent.device());
        return inputs;
      };
}

StatusOr<engine::Model> Build(const engine::WeightSource& diffusion, const engine::WeightSource& file,
                              engine::Engine& engine) {
  engine::Model model;
  ASSIGN_OR_RETURN(model.network, BuildUNet(diffusion, /*attention_fp32=*/true, engine));
  const int64_t in_channels = ShapeOfUNet(diffusion).in_channels;
  engine::CondEncoder inner;
  if (const int64_t width = ShapeOfUNet(diffusion).vector_width; width > 0) inner = UnclipEncoder(file, width);
  ASSIGN_OR_RETURN(model.encode_cond, WithConcat(in_channels, diffusion.file(), std::move(inner)));
  // Only the trained weights tell the two kinds apart. Source: spec engine.md 4.2 "Prediction type".
  const at::Tensor bias = diffusion.Find("output_blocks.11.1.transformer_blocks.0.norm1.bias");
  const bool v =
      in_channels == 4 && bias.defined() && bias.to(at::kFloat).std(/*unbiased=*/false).item<double>() > 0.09;
  model.sampling = engine::ModelSampling::Discrete(v ? engine::Prediction::kV : engine::Prediction::kEps);
  return model;
}

StatusOr<std::shared_ptr<const engine::TextEncoder>> BuildText(const engine::WeightSource& file,
                                                               engine::Engine& engine) {
  for (const char* prefix : {"cond_stage_model.model.", "conditioner.embedders.0.model."}) {
    if (!file.HasPrefix(prefix)) continue;
    text::ClipOptions options;
    options.name = "clip_h";
    options.quick_gelu = false;
    options.pad = 0;
    options.layer = -2;
    options.project = true;
    ASSIGN_OR_RETURN(auto clip, text::ClipEncoder::Build(text::OpenClipToHf(file.Prefixed(prefix)), options, engine));
    return text::SingleClip(std::move(clip));
  }
  return std::shared_ptr<const engine::TextEncoder>();
}

ATELIER_REGISTER_FAMILY("sd2", {Detect, Build, BuildText});

}  // namespace
}  // namespace atelier::models::sd2
