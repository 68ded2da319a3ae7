// Euler steps of CFG++ in two forms. Source: spec engine.md 4.12, 5.5.
#include "worker/nodes/support.h"
#include "worker/sampling/sampler.h"

namespace atelier::nodes {
namespace {

using engine::SamplerType;
using engine::SampleRun;

// The slope at a point moved from the guided to the negative prediction.
struct Alternative {
  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    for (size_t i = 0; i < run.steps(); ++i) {
      const float sigma = run.sigmas[i], next = run.sigmas[i + 1];
      ASSIGN_OR_RETURN(const at::Tensor denoised, run.Denoise(run.x, sigma));
      const at::Tensor d = engine::Slope(run.x - denoised + run.negative(), sigma, denoised);
      RETURN_IF_ERROR(run.Report(i, denoised));
      run.x = run.x + d * (next - sigma);
    }
    return run.x;
  }
};

struct SamplerEulerCFGpp {
  std::string version = "regular";

  static void Describe(NodeSchema<SamplerEulerCFGpp>& s) {
    s.Name("SamplerEulerCFG++").Category("_for_testing").Description("Euler steps of CFG++ in one of two forms.");
    s.Input<&SamplerEulerCFGpp::version>("version").OneOf({"regular", "alternative"}).Tooltip("The form of the step.");
    s.Output<SamplerType>("SAMPLER");
  }
  StatusOr<SamplerType> Run(NodeContext&) const {
    if (version == "regular") return engine::FindSampler("euler_cfg_pp");
    return engine::MakeSampler(Alternative{}, engine::SamplerTraits{.needs_negative = true});
  }
};
ATELIER_REGISTER_NODE(SamplerEulerCFGpp);

}  // namespace
}  // namespace atelier::nodes
