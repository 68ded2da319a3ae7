// Every (N/n)-th level of the table, from the top. Source: spec engine.md 5.2.
#include "worker/sampling/schedule.h"

namespace atelier::engine {
namespace {

at::Tensor Simple(const ModelSampling& sampling, int64_t steps) {
  const at::Tensor& table = sampling.sigmas();
  const double stride = static_cast<double>(table.size(0)) / static_cast<double>(steps);
  std::vector<int64_t> index;
  for (int64_t i = 0; i < steps; ++i) {
    const auto skipped = static_cast<int64_t>(static_cast<double>(i) * stride);
    index.push_back(table.size(0) - 1 - skipped);
  }
  return AppendZero(table.index_select(0, at::tensor(index, at::kLong)));
}
ATELIER_REGISTER_SCHEDULE(Simple, "simple", 0);

}  // namespace
}  // namespace atelier::engine
