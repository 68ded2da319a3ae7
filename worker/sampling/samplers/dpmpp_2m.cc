// DPM-Solver++(2M), multistep, deterministic. Source: spec engine.md 5.5.
#include <cmath>

#include "worker/sampling/sampler.h"

namespace atelier::engine {
namespace {

struct Dpmpp2m {
  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    at::Tensor old;
    for (size_t i = 0; i < run.steps(); ++i) {
      const float sigma = run.sigmas[i], next = run.sigmas[i + 1];
      ASSIGN_OR_RETURN(const at::Tensor denoised, run.DenoiseStep(i));
      const float t = -std::log(sigma), t_next = -std::log(next);
      const float h = t_next - t;
      const float ratio = std::exp(-t_next) / std::exp(-t);
      if (!old.defined() || next == 0) {
        run.x = ratio * run.x - std::expm1(-h) * denoised;
      } else {
        const float h_last = t + std::log(run.sigmas[i - 1]);
        const float r = h_last / h;
        const at::Tensor mixed = (1 + 1 / (2 * r)) * denoised - (1 / (2 * r)) * old;
        run.x = ratio * run.x - std::expm1(-h) * mixed;
      }
      old = denoised;
    }
    return run.x;
  }
};
ATELIER_REGISTER_SAMPLER("dpmpp_2m", 15, Dpmpp2m{});

}  // namespace
}  // namespace atelier::engine
