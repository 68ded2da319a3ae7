// Prompts with the sizes that SDXL was trained on. Source: spec engine.md 4.3 "Nodes", 4.4.
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

constexpr int64_t kSideMax = 16384;

StatusOr<Conditioning> EncodeWith(const Clip& clip, const engine::Prompts& prompts, const Json& options) {
  if (clip.encoder == nullptr)
    return InvalidArgument("the checkpoint holds no text encoder; load one from a file of its own");
  ASSIGN_OR_RETURN(Conditioning conditioning, clip.encoder->EncodeEach(prompts, clip.layer));
  for (CondEntry& entry : conditioning.entries) entry.options.update(options);
  return conditioning;
}

struct CLIPTextEncodeSDXL {
  Clip clip;
  int64_t width = 1024, height = 1024, crop_w = 0, crop_h = 0, target_width = 1024, target_height = 1024;
  std::string text_g, text_l;

  static void Describe(NodeSchema<CLIPTextEncodeSDXL>& s) {
    using N = CLIPTextEncodeSDXL;
    s.Name("CLIPTextEncodeSDXL").Category("advanced/conditioning");
    s.Description("Encodes a prompt for each of SDXL's two text encoders, with the picture sizes it was trained on.");
    s.Input<&N::clip>("clip").Tooltip("The text encoder.");
    s.Input<&N::width>("width").Default(1024).Range(0, kSideMax).Tooltip("Of the picture before cropping.");
    s.Input<&N::height>("height").Default(1024).Range(0, kSideMax).Tooltip("Of the picture before cropping.");
    s.Input<&N::crop_w>("crop_w").Default(0).Range(0, kSideMax).Tooltip("Pixels cut off at the left.");
    s.Input<&N::crop_h>("crop_h").Default(0).Range(0, kSideMax).Tooltip("Pixels cut off at the top.");
    s.Input<&N::target_width>("target_width").Default(1024).Range(0, kSideMax).Tooltip("Of the picture to be made.");
    s.Input<&N::target_height>("target_height").Default(1024).Range(0, kSideMax).Tooltip("Of the picture to be made.");
    s.Input<&N::text_g>("text_g").Multiline().DynamicPrompts().Tooltip("Prompt for the large encoder.");
    s.Input<&N::text_l>("text_l").Multiline().DynamicPrompts().Tooltip("Prompt for the small encoder.");
    s.Output<Conditioning>("CONDITIONING");
  }
  StatusOr<Conditioning> Run(NodeContext&) const {
    return EncodeWith(clip, {{"g", text_g}, {"l", text_l}},
                      {{"width", width},
                       {"height", height},
                       {"crop_w", crop_w},
                       {"crop_h", crop_h},
                       {"target_width", target_width},
                       {"target_height", target_height}});
  }
};
ATELIER_REGISTER_NODE(CLIPTextEncodeSDXL);

struct CLIPTextEncodeSDXLRefiner {
  double ascore = 6.0;
  int64_t width = 1024, height = 1024;
  std::string text;
  Clip clip;

  static void Describe(NodeSchema<CLIPTextEncodeSDXLRefiner>& s) {
    using N = CLIPTextEncodeSDXLRefiner;
    s.Name("CLIPTextEncodeSDXLRefiner").Category("advanced/conditioning");
    s.Description("Encodes a prompt for SDXL's refiner, with picture size and aesthetic score.");
    s.Input<&N::ascore>("ascore").Default(6.0).Range(0.0, 1000.0).Step(0.01).Tooltip("Aesthetic score to aim at.");
    s.Input<&N::width>("width").Default(1024).Range(0, kSideMax).Tooltip("Of the picture.");
    s.Input<&N::height>("height").Default(1024).Range(0, kSideMax).Tooltip("Of the picture.");
    s.Input<&N::text>("text").Multiline().DynamicPrompts().Tooltip("The prompt.");
    s.Input<&N::clip>("clip").Tooltip("The text encoder.");
    s.Output<Conditioning>("CONDITIONING");
  }
  StatusOr<Conditioning> Run(NodeContext&) const {
    if (clip.encoder == nullptr)
      return InvalidArgument("the checkpoint holds no text encoder; load one from a file of its own");
    engine::Prompts prompts;
    for (const std::string& key : clip.encoder->keys()) prompts.emplace(key, text);
    return EncodeWith(clip, prompts, {{"aesthetic_score", ascore}, {"width", width}, {"height", height}});
  }
};
ATELIER_REGISTER_NODE(CLIPTextEncodeSDXLRefiner);

}  // namespace
}  // namespace atelier::nodes
