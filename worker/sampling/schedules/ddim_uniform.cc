// Every (N div n)-th level of the table, from the bottom: may give more than n steps. Source: spec engine.md 5.2.
#include <algorithm>
#include <cmath>

#include "worker/sampling/schedule.h"

namespace atelier::engine {
namespace {

at::Tensor DdimUniform(const ModelSampling& sampling, int64_t steps) {
  const at::Tensor& table = sampling.sigmas();
  const int64_t size = table.size(0);
  const bool starts_at_zero = std::fabs(table[1].item<float>()) < 1e-5f;
  if (starts_at_zero) ++steps;
  const int64_t stride = std::max<int64_t>(size / steps, 1);
  std::vector<int64_t> index;
  for (int64_t i = 1; i < size; i += stride) index.push_back(i);
  std::reverse(index.begin(), index.end());
  const at::Tensor sigmas = table.index_select(0, at::tensor(index, at::kLong));
  return starts_at_zero ? sigmas : AppendZero(sigmas);
}
ATELIER_REGISTER_SCHEDULE(DdimUniform, "ddim_uniform", 4);

}  // namespace
}  // namespace atelier::engine
