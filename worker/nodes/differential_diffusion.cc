// Masks that open step by step. Source: spec engine.md 4.9 "Noise mask".
#include <algorithm>

#include "worker/nodes/support.h"
#include "worker/sampling/hooks.h"
#include "worker/sampling/model_sampling.h"

namespace atelier::nodes {
namespace {

struct DifferentialDiffusion {
  Model model;
  double strength = 1.0;

  static void Describe(NodeSchema<DifferentialDiffusion>& s) {
    s.Name("Differential Diffusion")
        .Category("_for_testing")
        .Cheap()
        .Description("Grey parts of a noise mask change later in the run: the lighter, the earlier.");
    s.Input<&DifferentialDiffusion::model>("model").Tooltip("The model.");
    s.Input<&DifferentialDiffusion::strength>("strength")
        .Optional()
        .Default(1.0)
        .Range(0.0, 1.0)
        .Step(0.01)
        .Tooltip("1 opens each part at once; below, part of the grey mask stays mixed in.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const {
    return engine::WithHook(model, [part = strength](const engine::HookRun& run, engine::RunHooks& hooks) -> Status {
      if (run.sigmas.empty()) return OkStatus();
      const auto sampling = run.model.sampling;
      const auto timestep = [sampling](double sigma) {
        return sampling->Timestep(at::full({1}, sigma, at::kFloat)).item<double>();
      };
      const double from = timestep(run.sigmas.front());
      const double to = timestep(std::max(sampling->sigma_min(), run.sigmas.back()));
      hooks.mask = [=](const at::Tensor& mask, double sigma) {
        const double threshold = (timestep(sigma) - to) / (from - to);
        const at::Tensor open = (mask >= threshold).to(mask.scalar_type());
        return part < 1.0 ? open * part + mask * (1.0 - part) : open;
      };
      return OkStatus();
    });
  }
};
ATELIER_REGISTER_NODE(DifferentialDiffusion);

}  // namespace
}  // namespace atelier::nodes
