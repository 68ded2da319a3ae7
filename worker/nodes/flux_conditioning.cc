// What FLUX takes beside a prompt: guidance, a text for each encoder, reference latents. Source: spec engine.md 9.2.
#include "worker/nodes/conditioning_area.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

constexpr const char* kFluxCategory = "advanced/conditioning/flux";

Conditioning With(Conditioning conditioning, const char* key, const Json& value) {
  for (CondEntry& entry : conditioning.entries) entry.options[key] = value;
  return conditioning;
}

struct CLIPTextEncodeFlux {
  Clip clip;
  std::string clip_l, t5xxl;
  double guidance = 3.5;

  static void Describe(NodeSchema<CLIPTextEncodeFlux>& s) {
    using N = CLIPTextEncodeFlux;
    s.Name("CLIPTextEncodeFlux").Category(kFluxCategory);
    s.Description("Encodes a prompt for each of FLUX's two text encoders and sets the guidance.");
    s.Input<&N::clip>("clip").Tooltip("The text encoders.");
    s.Input<&N::clip_l>("clip_l").Multiline().DynamicPrompts().Tooltip("Prompt for CLIP-L.");
    s.Input<&N::t5xxl>("t5xxl").Multiline().DynamicPrompts().Tooltip("Prompt for T5-XXL.");
    s.Input<&N::guidance>("guidance")
        .Default(3.5)
        .Range(0.0, 100.0)
        .Step(0.1)
        .Tooltip("How strongly to follow the prompt; for models that were taught to take this number.");
    s.Output<Conditioning>("CONDITIONING");
  }
  StatusOr<Conditioning> Run(NodeContext&) const {
    if (clip.encoder == nullptr)
      return InvalidArgument("the checkpoint holds no text encoder; load one from a file of its own");
    ASSIGN_OR_RETURN(Conditioning conditioning,
                     clip.encoder->EncodeEach({{"l", clip_l}, {"t5xxl", t5xxl}}, clip.layer));
    return With(std::move(conditioning), "guidance", guidance);
  }
};
ATELIER_REGISTER_NODE(CLIPTextEncodeFlux);

struct FluxGuidance {
  Conditioning conditioning;
  double guidance = 3.5;

  static void Describe(NodeSchema<FluxGuidance>& s) {
    s.Name("FluxGuidance").Category(kFluxCategory).Cheap();
    s.Description("Sets the guidance of models that were taught to take it as a number.");
    s.Input<&FluxGuidance::conditioning>("conditioning").Tooltip("What to change.");
    s.Input<&FluxGuidance::guidance>("guidance")
        .Default(3.5)
        .Range(0.0, 100.0)
        .Step(0.1)
        .Tooltip("How strongly to follow the prompt.");
    s.Output<Conditioning>("CONDITIONING");
  }
  StatusOr<Conditioning> Run(NodeContext&) const { return With(conditioning, "guidance", guidance); }
};
ATELIER_REGISTER_NODE(FluxGuidance);

struct FluxDisableGuidance {
  Conditioning conditioning;

  static void Describe(NodeSchema<FluxDisableGuidance>& s) {
    s.Name("FluxDisableGuidance").Category(kFluxCategory).Cheap();
    s.Description("Keeps the guidance number from the model altogether.");
    s.Input<&FluxDisableGuidance::conditioning>("conditioning").Tooltip("What to change.");
    s.Output<Conditioning>("CONDITIONING");
  }
  StatusOr<Conditioning> Run(NodeContext&) const { return With(conditioning, "guidance", nullptr); }
};
ATELIER_REGISTER_NODE(FluxDisableGuidance);

struct ReferenceLatent {
  Conditioning conditioning;
  std::optional<Latent> latent;

  static void Describe(NodeSchema<ReferenceLatent>& s) {
    s.Name("ReferenceLatent").Category("advanced/conditioning/edit_models").Cheap().CutForTiles();
    s.Description("Shows an editing model a picture to go by; several in a chain show several.");
    s.Input<&ReferenceLatent::conditioning>("conditioning").Tooltip("What to change.");
    s.Input<&ReferenceLatent::latent>("latent").Optional().Tooltip("The encoded picture.");
    s.Output<Conditioning>("CONDITIONING");
  }
  StatusOr<Conditioning> Run(NodeContext&) const {
    if (!latent) return conditioning;
    RETURN_IF_ERROR(CheckSamples("latent", *latent));
    Conditioning result = conditioning;
    // An entry's references are tensors "reference_latents.0", ".1" and so on.
    for (CondEntry& entry : result.entries) {
      int64_t count = 0;
      while (entry.tensors.contains(Cat("reference_latents.", count))) ++count;
      entry.tensors[Cat("reference_latents.", count)] = latent->samples;
      if (latent->part) entry.options[Cat(kLatentPart, count)] = BoxJson(*latent->part);
    }
    return result;
  }
};
ATELIER_REGISTER_NODE(ReferenceLatent);

struct FluxKontextMultiReferenceLatentMethod {
  Conditioning conditioning;
  std::string reference_latents_method;

  static void Describe(NodeSchema<FluxKontextMultiReferenceLatentMethod>& s) {
    using N = FluxKontextMultiReferenceLatentMethod;
    s.Name("FluxKontextMultiReferenceLatentMethod").Category(kFluxCategory).Cheap();
    s.Description("Chooses where reference pictures lie in the model's view.");
    s.Input<&N::conditioning>("conditioning").Tooltip("What to change.");
    s.Input<&N::reference_latents_method>("reference_latents_method")
        .OneOf({"offset", "index", "uxo/uno"})
        .Tooltip("offset: side by side; index: on layers of their own; uxo/uno: diagonally after the picture.");
    s.Output<Conditioning>("CONDITIONING");
  }
  StatusOr<Conditioning> Run(NodeContext&) const {
    return With(conditioning, "reference_latents_method",
                reference_latents_method == "uxo/uno" ? "uxo" : reference_latents_method);
  }
};
ATELIER_REGISTER_NODE(FluxKontextMultiReferenceLatentMethod);

}  // namespace
}  // namespace atelier::nodes
