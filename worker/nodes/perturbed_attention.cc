// Perturbed attention guidance: away from what the network says when its middle self-attention does nothing. Source:
// arXiv 2403.17377; spec engine.md 8.1.
#include "worker/nodes/support.h"
#include "worker/sampling/hooks.h"

namespace atelier::nodes {
namespace {

using engine::BlockCall;

struct PerturbedAttentionGuidance {
  Model model;
  double scale = 3.0;

  static void Describe(NodeSchema<PerturbedAttentionGuidance>& s) {
    s.Category("model_patches/unet").Cheap().Description("Guides away from a prediction without structure.");
    s.Input<&PerturbedAttentionGuidance::model>("model").Tooltip("The model.");
    s.Input<&PerturbedAttentionGuidance::scale>("scale")
        .Default(3.0)
        .Range(0.0, 100.0)
        .Step(0.01)
        .Tooltip("How strongly; costs one more network call a step.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const {
    return engine::WithPostGuidance(model, [strength = scale](const engine::GuidanceCall& call) {
      if (strength == 0) return call.denoised;
      engine::NetworkHooks hooks = call.network();
      hooks.self_replace.push_back([](const at::Tensor&, const at::Tensor&, const at::Tensor& value,
                                      const BlockCall& at) -> std::optional<at::Tensor> {
        if (at.part != BlockCall::Part::kMiddle) return std::nullopt;
        return value;
      });
      const at::Tensor plain = call.Again(*call.positive_list, engine::CondKind::kPositive, call.x, hooks);
      return call.denoised + (call.positive - plain) * strength;
    });
  }
};
ATELIER_REGISTER_NODE(PerturbedAttentionGuidance);

}  // namespace
}  // namespace atelier::nodes
