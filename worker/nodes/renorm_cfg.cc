// Guidance whose result is no longer than the positive prediction, off above a noise level. Source: spec engine.md
// 12.4 (nodes_lumina2).
#include "worker/nodes/support.h"
#include "worker/sampling/hooks.h"

namespace atelier::nodes {
namespace {

struct RenormCFG {
  Model model;
  double cfg_trunc = 100, renorm_cfg = 1.0;

  static void Describe(NodeSchema<RenormCFG>& s) {
    s.Category("advanced/model").Cheap().Description("Limits the length of guided predictions.");
    s.Input<&RenormCFG::model>("model").Tooltip("The model.");
    s.Input<&RenormCFG::cfg_trunc>("cfg_trunc")
        .Default(100.0)
        .Range(0.0, 100.0)
        .Step(0.01)
        .Tooltip("Guidance is used below this noise level.");
    s.Input<&RenormCFG::renorm_cfg>("renorm_cfg")
        .Default(1.0)
        .Range(0.0, 100.0)
        .Step(0.01)
        .Tooltip("Longest result relative to the positive prediction; 0 is no limit.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const {
    return engine::WithGuidance(model, [below = cfg_trunc, limit = renorm_cfg](const engine::GuidanceCall& call) {
      if (call.sigma >= below) return call.positive;
      at::Tensor guided = call.negative + (call.positive - call.negative) * call.cfg;
      if (limit > 0) {
        std::vector<int64_t> dims;
        for (int64_t i = 1; i < guided.dim(); ++i) dims.push_back(i);
        const at::Tensor most = call.positive.norm(2, dims, true) * limit, length = guided.norm(2, dims, true);
        guided = at::where(length >= most, guided * (most / length), guided);
      }
      return guided;
    });
  }
};
ATELIER_REGISTER_NODE(RenormCFG);

}  // namespace
}  // namespace atelier::nodes
