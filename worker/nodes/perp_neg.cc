// Perp-Neg: only what of the negative prompt is not in the positive one counts against. Source: arXiv 2304.04968; spec
// engine.md 12.4.
#include "worker/nodes/support.h"
#include "worker/sampling/hooks.h"

namespace atelier::nodes {
namespace {

struct PerpNeg {
  Model model;
  Conditioning empty_conditioning;
  double neg_scale = 1.0;

  static void Describe(NodeSchema<PerpNeg>& s) {
    s.Name("Perp-Neg (DEPRECATED by PerpNegGuider)")
        .Category("_for_testing")
        .Cheap()
        .Description("A negative prompt that cannot work against the positive one.");
    s.Input<&PerpNeg::model>("model").Tooltip("The model.");
    s.Input<&PerpNeg::empty_conditioning>("empty_conditioning").Tooltip("The empty prompt.");
    s.Input<&PerpNeg::neg_scale>("neg_scale")
        .Default(1.0)
        .Range(0.0, 100.0)
        .Step(0.01)
        .Tooltip("Strength of the negative prompt.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const {
    return engine::WithHook(
        model,
        [empty = empty_conditioning, scale = neg_scale](const engine::HookRun& run, engine::RunHooks& hooks) -> Status {
          ASSIGN_OR_RETURN(const std::shared_ptr<const engine::CondList> list,
                           run.prepare(empty, engine::CondKind::kOther));
          hooks.guide = [list, scale](const engine::GuidanceCall& call) {
            const at::Tensor nothing = call.Again(*list, engine::CondKind::kPositive, call.x, call.network());
            const at::Tensor positive = call.positive - nothing, negative = call.negative - nothing;
            const at::Tensor across = negative - (negative * positive).sum() / positive.norm().square() * positive;
            return nothing + (positive - across * scale) * call.cfg;
          };
          return OkStatus();
        });
  }
};
ATELIER_REGISTER_NODE(PerpNeg);

}  // namespace
}  // namespace atelier::nodes
