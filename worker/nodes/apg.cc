// Adaptive projected guidance: the part of guidance along the prediction is damped, its length limited, and it may have
// momentum over the steps. Source: arXiv 2410.02416; spec engine.md 8.1.
#include <memory>

#include "worker/nodes/support.h"
#include "worker/sampling/hooks.h"

namespace atelier::nodes {
namespace {

struct APG {
  Model model;
  double eta = 1.0, norm_threshold = 5.0, momentum = 0.0;

  static void Describe(NodeSchema<APG>& s) {
    s.Name("Adaptive Projected Guidance")
        .Category("sampling/custom_sampling")
        .Cheap()
        .Description("Strong guidance without oversaturated colours.");
    s.Input<&APG::model>("model").Tooltip("The model.");
    s.Input<&APG::eta>("eta")
        .Default(1.0)
        .Range(-10.0, 10.0)
        .Step(0.01)
        .Tooltip("Factor on the part along the prediction; 1 keeps it.");
    s.Input<&APG::norm_threshold>("norm_threshold")
        .Default(5.0)
        .Range(0.0, 50.0)
        .Step(0.1)
        .Tooltip("Longest guidance; 0 is no limit.");
    s.Input<&APG::momentum>("momentum")
        .Default(0.0)
        .Range(-5.0, 1.0)
        .Step(0.01)
        .Tooltip("Share of the earlier steps' guidance; 0 is none.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const {
    return engine::WithHook(model, [along = eta, limit = norm_threshold, share = momentum](const engine::HookRun&,
                                                                                           engine::RunHooks& hooks) {
      const auto average = std::make_shared<at::Tensor>();
      hooks.before.push_back([=](engine::GuidanceCall& call) {
        const std::vector<int64_t> dims = {-1, -2, -3};
        at::Tensor guidance = call.positive - call.negative;
        const at::Tensor plain = guidance;
        if (share != 0) {
          *average = average->defined() ? *average * share + guidance : guidance;
          guidance = *average;
        }
        if (limit > 0) {
          const at::Tensor length = guidance.norm(2, dims, true);
          guidance = guidance * (limit / length).clamp_max(1.0);
        }
        const at::Tensor unit = call.positive / call.positive.norm(2, dims, true).clamp_min(1e-12);
        const at::Tensor parallel = (guidance * unit).sum(dims, true) * unit;
        const at::Tensor changed = (guidance - parallel) + parallel * along;
        // Guidance multiplies the difference by cfg afterwards: the result is the positive prediction plus cfg times
        // the changed guidance.
        call.positive = call.negative + changed + plain / call.cfg;
      });
      return OkStatus();
    });
  }
};
ATELIER_REGISTER_NODE(APG);

}  // namespace
}  // namespace atelier::nodes
