// Vision encoders, and prompts made of what they see. Source: spec engine.md 8.3.
#include "worker/models/clip_vision.h"

#include "worker/models/loaders.h"
#include "worker/models/unet_conditioning.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

using engine::ClipVision;
using engine::StyleModel;
using engine::VisionOutput;

struct CLIPVisionLoader {
  std::string clip_name;

  static void Describe(NodeSchema<CLIPVisionLoader>& s) {
    s.Name("Load CLIP Vision").Category("loaders").Description("Loads a network that describes pictures.");
    s.Input<&CLIPVisionLoader::clip_name>("clip_name").FromFolder("clip_vision").Tooltip("The file below clip_vision.");
    s.Output<ClipVision>("CLIP_VISION");
  }
  StatusOr<ClipVision> Run(NodeContext& ctx) const {
    ASSIGN_OR_RETURN(const std::string path, ctx.ModelPath("clip_vision", clip_name));
    ASSIGN_OR_RETURN(auto encoder, models::LoadVisionEncoder(path));
    return ClipVision{std::move(encoder)};
  }
};
ATELIER_REGISTER_NODE(CLIPVisionLoader);

struct CLIPVisionEncode {
  ClipVision clip_vision;
  Image image;
  std::string crop;

  static void Describe(NodeSchema<CLIPVisionEncode>& s) {
    s.Name("CLIP Vision Encode").Category("conditioning").Description("Describes pictures by a vision encoder.");
    s.Input<&CLIPVisionEncode::clip_vision>("clip_vision").Tooltip("The vision encoder.");
    s.Input<&CLIPVisionEncode::image>("image").Tooltip("The pictures to describe.");
    s.Input<&CLIPVisionEncode::crop>("crop")
        .OneOf({"center", "none"})
        .Tooltip("Cut to a square about the centre, or squeezed into one.");
    s.Output<VisionOutput>("CLIP_VISION_OUTPUT");
  }
  StatusOr<VisionOutput> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    if (clip_vision.encoder == nullptr)
      return InvalidArgument("the checkpoint holds no vision encoder; use Load CLIP Vision");
    return clip_vision.encoder->Encode(image.pixels, crop == "center");
  }
};
ATELIER_REGISTER_NODE(CLIPVisionEncode);

struct unCLIPConditioning {
  using T = unCLIPConditioning;
  Conditioning conditioning;
  VisionOutput clip_vision_output;
  double strength = 1.0, noise_augmentation = 0.0;

  static void Describe(NodeSchema<T>& s) {
    s.Name("unCLIPConditioning").Category("conditioning").Description("Adds what pictures show to a prompt.");
    s.Input<&T::conditioning>("conditioning").Tooltip("The prompt.");
    s.Input<&T::clip_vision_output>("clip_vision_output").Tooltip("What the vision encoder sees.");
    s.Input<&T::strength>("strength").Default(1.0).Range(-10.0, 10.0).Step(0.01).Tooltip("How much it counts.");
    s.Input<&T::noise_augmentation>("noise_augmentation")
        .Default(0.0)
        .Range(0.0, 1.0)
        .Step(0.01)
        .Tooltip("How vaguely it is seen: 0 closely, 1 hardly.");
    s.Output<Conditioning>("CONDITIONING");
  }
  StatusOr<Conditioning> Run(NodeContext&) const {
    Conditioning result = conditioning;
    if (strength == 0) return result;
    if (!clip_vision_output.image_embeds.defined() || clip_vision_output.image_embeds.dim() != 2)
      return InvalidArgument("clip_vision_output describes no picture as a whole; use a CLIP vision encoder");
    for (CondEntry& entry : result.entries)
      models::AddUnclip(entry, clip_vision_output.image_embeds, strength, noise_augmentation);
    return result;
  }
};
ATELIER_REGISTER_NODE(unCLIPConditioning);

struct unCLIPCheckpointLoader {
  std::string ckpt_name;

  static void Describe(NodeSchema<unCLIPCheckpointLoader>& s) {
    s.Name("unCLIPCheckpointLoader").Category("loaders");
    s.Description("Loads a checkpoint that takes descriptions of pictures, with its vision encoder.");
    s.Input<&unCLIPCheckpointLoader::ckpt_name>("ckpt_name")
        .FromFolder("checkpoints")
        .Tooltip("The file below checkpoints.");
    s.Output<Model>("MODEL");
    s.Output<Clip>("CLIP");
    s.Output<Vae>("VAE");
    s.Output<ClipVision>("CLIP_VISION");
  }
  StatusOr<std::tuple<Model, Clip, Vae, ClipVision>> Run(NodeContext& ctx) const {
    ASSIGN_OR_RETURN(const std::string path, ctx.ModelPath("checkpoints", ckpt_name));
    ASSIGN_OR_RETURN(auto parts, models::LoadCheckpoint(path));
    ASSIGN_OR_RETURN(auto vision, models::LoadCheckpointVision(path));
    Clip clip;
    clip.encoder = parts->text_encoder;
    clip.identity = parts->identity;
    return std::tuple(parts->diffusion, std::move(clip), Vae{parts->autoencoder}, ClipVision{std::move(vision)});
  }
};
ATELIER_REGISTER_NODE(unCLIPCheckpointLoader);

struct StyleModelLoader {
  std::string style_model_name;

  static void Describe(NodeSchema<StyleModelLoader>& s) {
    s.Name("Load Style Model").Category("loaders");
    s.Description("Loads a network that makes a prompt of what a vision encoder sees.");
    s.Input<&StyleModelLoader::style_model_name>("style_model_name")
        .FromFolder("style_models")
        .Tooltip("The file below style_models.");
    s.Output<StyleModel>("STYLE_MODEL");
  }
  StatusOr<StyleModel> Run(NodeContext& ctx) const {
    ASSIGN_OR_RETURN(const std::string path, ctx.ModelPath("style_models", style_model_name));
    ASSIGN_OR_RETURN(auto network, models::LoadStyleModel(path));
    return StyleModel{std::move(network)};
  }
};
ATELIER_REGISTER_NODE(StyleModelLoader);

struct StyleModelApply {
  using T = StyleModelApply;
  Conditioning conditioning;
  StyleModel style_model;
  VisionOutput clip_vision_output;
  double strength = 1.0;
  std::string strength_type;

  static void Describe(NodeSchema<T>& s) {
    s.Name("Apply Style Model").Category("conditioning/style_model");
    s.Description("Appends what a picture shows to a prompt.");
    s.Input<&T::conditioning>("conditioning").Tooltip("The prompt.");
    s.Input<&T::style_model>("style_model").Tooltip("The style model.");
    s.Input<&T::clip_vision_output>("clip_vision_output").Tooltip("What the vision encoder sees.");
    s.Input<&T::strength>("strength").Default(1.0).Range(0.0, 10.0).Step(0.001).Tooltip("How much the picture counts.");
    s.Input<&T::strength_type>("strength_type")
        .OneOf({"multiply", "attn_bias"})
        .Tooltip("Whether the picture's tokens or the attention to them are scaled.");
    s.Output<Conditioning>("CONDITIONING");
  }
  StatusOr<Conditioning> Run(NodeContext&) const {
    ASSIGN_OR_RETURN(const at::Tensor made, style_model.network->Tokens(clip_vision_output));
    return Guard([&]() -> StatusOr<Conditioning> {
      const bool bias = strength_type == "attn_bias" && strength != 1.0;
      at::Tensor tokens = made.flatten(0, 1).unsqueeze(0);
      if (strength_type == "multiply") tokens = tokens * strength;
      Conditioning result = conditioning;
      for (CondEntry& entry : result.entries) {
        if (entry.cond.size(2) != tokens.size(2))
          return InvalidArgument("the style model makes tokens of width ", tokens.size(2), ", the prompt's have ",
                                 entry.cond.size(2), "; load the style model of this family");
        const auto mask = entry.tensors.find("attention_mask");
        if (bias || mask != entry.tensors.end()) {
          const at::Tensor before =
              mask != entry.tensors.end() ? mask->second.to(at::kFloat) : at::ones({1, entry.cond.size(1)}, at::kFloat);
          const at::Tensor weight = at::full({before.size(0), tokens.size(1)}, bias ? strength : 1.0, at::kFloat);
          entry.tensors["attention_mask"] = at::cat({before, weight}, 1);
        }
        entry.cond = at::cat({entry.cond, tokens}, 1);
      }
      return result;
    });
  }
};
ATELIER_REGISTER_NODE(StyleModelApply);

}  // namespace
}  // namespace atelier::nodes
