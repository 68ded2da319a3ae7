// Tangential damping: the negative prediction keeps only what lies along the direction that both share. Source: arXiv
// 2503.18137; spec engine.md 8.1.
#include "worker/nodes/support.h"
#include "worker/sampling/hooks.h"

namespace atelier::nodes {
namespace {

// `negative` projected on the first principal direction of both, item by item.
at::Tensor Damped(const at::Tensor& positive, const at::Tensor& negative) {
  const int64_t batch = positive.size(0);
  const at::Tensor p = positive.reshape({batch, 1, -1}).to(at::kFloat),
                   n = negative.reshape({batch, 1, -1}).to(at::kFloat);
  const at::Tensor directions = std::get<2>(at::linalg_svd(at::cat({p, n}, 1), /*full_matrices=*/false));
  const at::Tensor first = directions.narrow(1, 0, 1);
  return (at::matmul(n, first.transpose(-2, -1)) * first).reshape(positive.sizes());
}

struct TCFG {
  Model model;

  static void Describe(NodeSchema<TCFG>& s) {
    s.Name("Tangential Damping CFG")
        .Category("advanced/guidance")
        .Cheap()
        .Description("Drops what of the negative prediction leads away from the picture.");
    s.Input<&TCFG::model>("model").Tooltip("The model.");
    s.Output<Model>("patched_model");
  }
  StatusOr<Model> Run(NodeContext&) const {
    return engine::WithPreGuidance(model, [](engine::GuidanceCall& call) {
      if (!call.has_negative) return;
      call.negative = Damped(call.positive - call.x, call.negative - call.x) + call.x;
    });
  }
};
ATELIER_REGISTER_NODE(TCFG);

}  // namespace
}  // namespace atelier::nodes
