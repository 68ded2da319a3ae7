// Predicted noise divided by a number just above 1, against the drift of long runs. Source: arXiv 2308.15321; spec
// engine.md 12.4 (nodes_eps).
#include "worker/nodes/support.h"
#include "worker/sampling/hooks.h"

namespace atelier::nodes {
namespace {

struct EpsilonScaling {
  Model model;
  double scaling_factor = 1.005;

  static void Describe(NodeSchema<EpsilonScaling>& s) {
    s.Category("model_patches/unet").Cheap().Description("Scales the predicted noise.");
    s.Input<&EpsilonScaling::model>("model").Tooltip("The model.");
    s.Input<&EpsilonScaling::scaling_factor>("scaling_factor")
        .Default(1.005)
        .Range(0.5, 1.5)
        .Step(0.001)
        .Tooltip("What the noise is divided by.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const {
    return engine::WithPostGuidance(model, [factor = scaling_factor](const engine::GuidanceCall& call) {
      return call.x - (call.x - call.denoised) / factor;
    });
  }
};
ATELIER_REGISTER_NODE_AS(EpsilonScaling, "Epsilon Scaling");

}  // namespace
}  // namespace atelier::nodes
