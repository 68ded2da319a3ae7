#include "worker/sampling/schedules/timesteps.h"

#include <cmath>

namespace atelier::engine {

at::Tensor TimestepSigmas(const ModelSampling& sampling, int64_t steps, bool open) {
  const at::Tensor start = sampling.Timestep(sampling.sigmas()[-1]);
  const at::Tensor end = sampling.Timestep(sampling.sigmas()[0]);
  bool append_zero = true;
  int64_t points = open ? steps + 1 : steps;
  if (!open && std::fabs(sampling.Sigma(end).item<float>()) < 1e-5f) {  // the last level is already 0
    ++points;
    append_zero = false;
  }
  at::Tensor timesteps = at::linspace(start.item<float>(), end.item<float>(), points, at::kFloat);
  if (open) timesteps = timesteps.slice(0, 0, -1);
  const at::Tensor sigmas = sampling.Sigma(timesteps);
  return append_zero ? AppendZero(sigmas) : sigmas;
}

}  // namespace atelier::engine
