// Mahiro: guidance that leans to the positive prediction where both point the same way. Source: spec engine.md 8.1; the
// golden data.
#include "worker/nodes/support.h"
#include "worker/sampling/hooks.h"

namespace atelier::nodes {
namespace {

struct Mahiro {
  Model model;

  static void Describe(NodeSchema<Mahiro>& s) {
    s.Name("Mahiro is so cute that she deserves a better guidance function!! (。・ω・。)")
        .Category("_for_testing")
        .Cheap()
        .Description("Follows the positive prompt more than the difference of both.");
    s.Input<&Mahiro::model>("model").Tooltip("The model.");
    s.Output<Model>("patched_model");
  }
  StatusOr<Model> Run(NodeContext&) const {
    return engine::WithPostGuidance(model, [](const engine::GuidanceCall& call) {
      const at::Tensor leap = call.positive * call.cfg, back = call.negative * call.cfg;
      const at::Tensor merged = (leap + call.denoised) / 2;
      const auto root = [](const at::Tensor& t) { return t.abs().sqrt() * t.sign(); };
      const at::Tensor likeness = at::cosine_similarity(root(back), root(merged)).mean();
      const at::Tensor weight = (likeness + 1) * 2;
      return (weight * call.denoised + (4 - weight) * leap) / 4;
    });
  }
};
ATELIER_REGISTER_NODE(Mahiro);

}  // namespace
}  // namespace atelier::nodes
