#include "worker/sampling/schedule.h"

namespace atelier::engine {
namespace {
constexpr int64_t kStepsMax = 1'000'001;  // 10000 steps at denoise 0.01 and the level that is dropped
}

std::vector<std::string> ScheduleNames() { return Registry<ScheduleType>::Get().Names(); }

StatusOr<at::Tensor> ScheduleSigmas(const ModelSampling& sampling, const std::string& name, int64_t steps) {
  if (steps < 1 || steps > kStepsMax) return InvalidArgument("steps is ", steps, ", expected 1..", kStepsMax);
  const auto& registry = Registry<ScheduleType>::Get();
  const ScheduleType* schedule = registry.Find(name);
  if (schedule == nullptr) {
    const std::vector<std::string> names = registry.Names();
    if (names.empty()) return Internal("no schedule is linked into this program");
    schedule = registry.Find(names.front());
  }
  return schedule->sigmas(sampling, steps);
}

}  // namespace atelier::engine
