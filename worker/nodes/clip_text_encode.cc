// Encodes a prompt. Source: spec engine.md 4.3.
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct CLIPTextEncode {
  std::string text;
  Clip clip;

  static void Describe(NodeSchema<CLIPTextEncode>& s) {
    s.Name("CLIP Text Encode (Prompt)").Category("conditioning");
    s.Description("Turns a prompt into the conditioning that guides the model.");
    s.Input<&CLIPTextEncode::text>("text").Multiline().DynamicPrompts().Tooltip("The prompt; (words:1.2) weigh more.");
    s.Input<&CLIPTextEncode::clip>("clip").Tooltip("The text encoder.");
    s.Output<Conditioning>("CONDITIONING");
  }
  StatusOr<Conditioning> Run(NodeContext&) const {
    if (clip.encoder == nullptr)
      return InvalidArgument("the checkpoint holds no text encoder; load one from a file of its own");
    return clip.encoder->Encode(text, clip.layer);
  }
};
ATELIER_REGISTER_NODE(CLIPTextEncode);

}  // namespace
}  // namespace atelier::nodes
