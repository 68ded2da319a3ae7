// Guidance in velocities, its deviation brought back towards the positive prediction's. Source: spec engine.md 4.6.
#include "worker/nodes/support.h"
#include "worker/sampling/hooks.h"

namespace atelier::nodes {
namespace {

struct RescaleCFG {
  Model model;
  double multiplier = 0.7;

  static void Describe(NodeSchema<RescaleCFG>& s) {
    s.Name("RescaleCFG")
        .Category("advanced/model")
        .Cheap()
        .Description("Keeps strong guidance from overexposing; for models that predict velocity.");
    s.Input<&RescaleCFG::model>("model").Tooltip("The model.");
    s.Input<&RescaleCFG::multiplier>("multiplier")
        .Default(0.7)
        .Range(0.0, 1.0)
        .Step(0.01)
        .Tooltip("How much of the rescaled result; 0 is plain guidance.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const {
    return engine::WithGuidance(model, [part = multiplier](const engine::GuidanceCall& call) {
      // In the reference predictions pass as x - D; at high levels that rounding shows.
      const at::Tensor sigma = at::scalar_tensor(call.sigma, call.x.options());
      const at::Tensor root = (sigma * sigma + 1.0).sqrt();
      const at::Tensor x = call.x / (sigma * sigma + 1.0);
      const auto velocity = [&](const at::Tensor& denoised) {
        return (x - (call.x - (call.x - denoised))) * root / sigma;
      };
      const at::Tensor positive = velocity(call.positive), negative = velocity(call.negative);
      const at::Tensor guided = negative + (positive - negative) * call.cfg;
      std::vector<int64_t> dims;
      for (int64_t i = 1; i < x.dim(); ++i) dims.push_back(i);
      const at::Tensor rescaled =
          guided * (at::std(positive, dims, /*unbiased=*/true, true) / at::std(guided, dims, true, true));
      const at::Tensor mixed = rescaled * part + guided * (1.0 - part);
      return call.x - (call.x - (x - mixed * sigma / root));
    });
  }
};
ATELIER_REGISTER_NODE(RescaleCFG);

}  // namespace
}  // namespace atelier::nodes
