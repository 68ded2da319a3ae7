// SD3's prompts and empty latents. Source: spec engine.md 9.4.
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct CLIPTextEncodeSD3 {
  Clip clip;
  std::string clip_l, clip_g, t5xxl, empty_padding;

  static void Describe(NodeSchema<CLIPTextEncodeSD3>& s) {
    using N = CLIPTextEncodeSD3;
    s.Name("CLIPTextEncodeSD3").Category("advanced/conditioning");
    s.Description("Encodes a prompt for each of SD3's three text encoders.");
    s.Input<&N::clip>("clip").Tooltip("The text encoders.");
    s.Input<&N::clip_l>("clip_l").Multiline().DynamicPrompts().Tooltip("Prompt for CLIP-L.");
    s.Input<&N::clip_g>("clip_g").Multiline().DynamicPrompts().Tooltip("Prompt for CLIP-G.");
    s.Input<&N::t5xxl>("t5xxl").Multiline().DynamicPrompts().Tooltip("Prompt for T5-XXL.");
    s.Input<&N::empty_padding>("empty_padding")
        .OneOf({"none", "empty_prompt"})
        .Tooltip("none: an encoder without text gives nothing; empty_prompt: it encodes the empty prompt.");
    s.Output<Conditioning>("CONDITIONING");
  }
  StatusOr<Conditioning> Run(NodeContext&) const {
    if (clip.encoder == nullptr)
      return InvalidArgument("the checkpoint holds no text encoder; load one from a file of its own");
    engine::Prompts prompts{{"l", clip_l}, {"g", clip_g}, {"t5xxl", t5xxl}};
    if (empty_padding == "none") std::erase_if(prompts, [](const auto& prompt) { return prompt.second.empty(); });
    return clip.encoder->EncodeEach(prompts, clip.layer);
  }
};
ATELIER_REGISTER_NODE(CLIPTextEncodeSD3);

struct EmptySD3LatentImage {
  int64_t width = 1024, height = 1024, batch_size = 1;

  static void Describe(NodeSchema<EmptySD3LatentImage>& s) {
    using N = EmptySD3LatentImage;
    s.Name("EmptySD3LatentImage").Category("latent/sd3").Cheap();
    s.Description("The empty start of a picture for models with latents of 16 channels (SD3, FLUX).");
    s.Input<&N::width>("width").Default(1024).Range(16, 16384).Step(16).Tooltip("Pixels.");
    s.Input<&N::height>("height").Default(1024).Range(16, 16384).Step(16).Tooltip("Pixels.");
    s.Input<&N::batch_size>("batch_size").Default(1).Range(1, 4096).Tooltip("Pictures in the batch.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckTensorSize("empty latent", {batch_size, 16, height / 8, width / 8}));
    return Guard([&] { return Latent{at::zeros({batch_size, 16, height / 8, width / 8}, at::kFloat), {}, {}}; });
  }
};
ATELIER_REGISTER_NODE(EmptySD3LatentImage);

}  // namespace
}  // namespace atelier::nodes
