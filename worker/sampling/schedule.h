// Sigma schedules: which noise levels a run of n steps visits. One file each in schedules/. Source: spec engine.md 5.2.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/base/registry.h"
#include "common/base/status.h"
#include "worker/sampling/model_sampling.h"

namespace atelier::engine {

/// A registered schedule: f32 noise levels on the CPU, descending, n+1 values (some give more or fewer) ending in 0.
/// steps >= 1. Errors: INVALID_ARGUMENT for a number of steps that the schedule has no levels for.
struct ScheduleType {
  std::function<StatusOr<at::Tensor>(const ModelSampling& sampling, int64_t steps)> sigmas;
};

/// Names in the reference's order (a combo's choices). Thread: any, after main() started.
std::vector<std::string> ScheduleNames();

/// f32 levels of the named schedule; an unknown name means the first one, as in the reference. Errors: INVALID_ARGUMENT
/// when steps is not in 1..1000001, and the schedule's own. Thread: any.
StatusOr<at::Tensor> ScheduleSigmas(const ModelSampling& sampling, const std::string& name, int64_t steps);

/// `sigmas` with one 0 appended. Thread: any.
inline at::Tensor AppendZero(const at::Tensor& sigmas) { return at::cat({sigmas, at::zeros({1}, sigmas.options())}); }

#define ATELIER_REGISTER_SCHEDULE(function, name, order)                           \
  static const bool ATELIER_CONCAT_(kScheduleRegistered, __COUNTER__) =            \
      ::atelier::Registry<::atelier::engine::ScheduleType>::Get().Add(name, order, \
                                                                      ::atelier::engine::ScheduleType{function})

}  // namespace atelier::engine
