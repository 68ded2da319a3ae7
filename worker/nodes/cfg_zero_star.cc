// Guidance with corrected lengths: CFG-Zero* and CFGNorm. Source: arXiv 2503.18886; spec engine.md 8.1.
#include "worker/nodes/support.h"
#include "worker/sampling/hooks.h"

namespace atelier::nodes {
namespace {

// The factor that brings `negative` nearest to `positive`, one an item.
at::Tensor BestScale(const at::Tensor& positive, const at::Tensor& negative) {
  const at::Tensor p = positive.reshape({positive.size(0), -1}), n = negative.reshape({negative.size(0), -1});
  std::vector<int64_t> shape(static_cast<size_t>(positive.dim()), 1);
  shape[0] = positive.size(0);
  return ((p * n).sum(1, true) / (n.square().sum(1, true) + 1e-8)).view(shape);
}

struct CFGZeroStar {
  Model model;

  static void Describe(NodeSchema<CFGZeroStar>& s) {
    s.Category("advanced/guidance").Cheap().Description("Scales the negative prediction to fit the positive one.");
    s.Input<&CFGZeroStar::model>("model").Tooltip("The model.");
    s.Output<Model>("patched_model");
  }
  StatusOr<Model> Run(NodeContext&) const {
    return engine::WithPostGuidance(model, [](const engine::GuidanceCall& call) {
      const at::Tensor alpha = BestScale(call.x - call.positive, call.x - call.negative);
      return call.denoised + call.negative * (alpha - 1.0) + call.negative * (1.0 - alpha) * call.cfg;
    });
  }
};
ATELIER_REGISTER_NODE(CFGZeroStar);

struct CFGNorm {
  Model model;
  double strength = 1.0;

  static void Describe(NodeSchema<CFGNorm>& s) {
    s.Category("advanced/guidance")
        .Cheap()
        .Description("Keeps guided predictions from growing beyond the positive one.");
    s.Input<&CFGNorm::model>("model").Tooltip("The model.");
    s.Input<&CFGNorm::strength>("strength").Default(1.0).Range(0.0, 100.0).Step(0.01).Tooltip("Factor on the result.");
    s.Output<Model>("patched_model");
  }
  StatusOr<Model> Run(NodeContext&) const {
    return engine::WithPostGuidance(model, [factor = strength](const engine::GuidanceCall& call) {
      const at::Tensor scale =
          (call.positive.norm(2, {1}, true) / (call.denoised.norm(2, {1}, true) + 1e-8)).clamp(0.0, 1.0);
      return call.denoised * scale * factor;
    });
  }
};
ATELIER_REGISTER_NODE(CFGNorm);

}  // namespace
}  // namespace atelier::nodes
