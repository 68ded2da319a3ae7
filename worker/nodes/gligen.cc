// Prompts bound to boxes of the picture. Source: spec engine.md 4.10, 12.3.
#include "worker/models/gligen.h"

#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

using models::Gligen;

constexpr int64_t kBoxSideMax = 16384;

struct GLIGENLoader {
  std::string gligen_name;

  static void Describe(NodeSchema<GLIGENLoader>& s) {
    s.Name("GLIGENLoader").Category("loaders").Description("Loads layers that bind prompts to places.");
    s.Input<&GLIGENLoader::gligen_name>("gligen_name").FromFolder("gligen").Tooltip("The file below gligen.");
    s.Output<Gligen>("GLIGEN");
  }
  StatusOr<Gligen> Run(NodeContext& ctx) const {
    ASSIGN_OR_RETURN(const std::string path, ctx.ModelPath("gligen", gligen_name));
    ASSIGN_OR_RETURN(auto network, models::LoadGligen(path));
    return Gligen{std::move(network)};
  }
};
ATELIER_REGISTER_NODE(GLIGENLoader);

struct GLIGENTextBoxApply {
  using T = GLIGENTextBoxApply;
  Conditioning conditioning_to;
  Clip clip;
  Gligen gligen_textbox_model;
  std::string text;
  int64_t width = 64, height = 64, x = 0, y = 0;

  static void Describe(NodeSchema<T>& s) {
    s.Name("GLIGENTextBoxApply").Category("conditioning/gligen").KeepsHandles();
    s.Description("Says what is to be seen in a box of the picture.");
    s.Input<&T::conditioning_to>("conditioning_to").Tooltip("The prompt of the whole picture.");
    s.Input<&T::clip>("clip").Tooltip("The text encoder.");
    s.Input<&T::gligen_textbox_model>("gligen_textbox_model").Tooltip("The layers that bind prompts to places.");
    s.Input<&T::text>("text").Multiline().DynamicPrompts().Tooltip("What the box shows.");
    s.Input<&T::width>("width").Default(64).Range(8, kBoxSideMax).Step(8).Tooltip("Of the box in pixels.");
    s.Input<&T::height>("height").Default(64).Range(8, kBoxSideMax).Step(8).Tooltip("Of the box in pixels.");
    s.Input<&T::x>("x").Default(0).Range(0, kBoxSideMax).Step(8).Tooltip("The box's left side in pixels.");
    s.Input<&T::y>("y").Default(0).Range(0, kBoxSideMax).Step(8).Tooltip("The box's upper side in pixels.");
    s.Output<Conditioning>("CONDITIONING");
  }
  StatusOr<Conditioning> Run(NodeContext&) const {
    if (clip.encoder == nullptr)
      return InvalidArgument("clip holds no text encoder; use the CLIP output of a checkpoint that has one");
    if (gligen_textbox_model.network == nullptr) return Internal("a GLIGEN handle without a network");
    ASSIGN_OR_RETURN(const Conditioning encoded, clip.encoder->Encode(text, clip.layer));
    const auto pooled = encoded.entries.empty() ? std::map<std::string, at::Tensor>::const_iterator{}
                                                : encoded.entries[0].tensors.find("pooled_output");
    if (encoded.entries.empty() || pooled == encoded.entries[0].tensors.end())
      return InvalidArgument("the text encoder gives no pooled output, which boxes are described by");
    Conditioning result;
    for (const CondEntry& entry : conditioning_to.entries) {
      models::GroundedBox box;
      box.description = pooled->second.to(at::kFloat);
      box.height = height / kPixelsPerLatent;
      box.width = width / kPixelsPerLatent;
      box.y = y / kPixelsPerLatent;
      box.x = x / kPixelsPerLatent;
      ASSIGN_OR_RETURN(result.entries.emplace_back(), models::WithBox(entry, gligen_textbox_model, std::move(box)));
    }
    return result;
  }
};
ATELIER_REGISTER_NODE(GLIGENTextBoxApply);

}  // namespace
}  // namespace atelier::nodes
