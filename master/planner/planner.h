// Prompt to plan: a pure function of the prompt, the catalogue and the options, never of who is online.
#pragma once

#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/graph/schema.h"
#include "master/state/plan.h"

namespace atelier {

struct PlanOptions {
  int replicas = 1;                  // >= 1
  std::string tiles = "exact";       // or "independent", or "by-image": whole pictures of a batch, each by itself
  std::string compat = "reference";  // or "documented": settings that the reference ignores have their effect
  std::string frames = "auto";       // or "windows", "whole" (frame_streams.h)
  int64_t window_frames = 0;         // frames of a window; 0: by their size
};

/// Cuts a validated prompt (API form, defaults filled in or not) into tasks. `outputs`: the output nodes to run, in the
/// order in which their files are to be listed. Errors: INVALID_ARGUMENT for a cycle, an unknown type or an option out
/// of range. Source: docs/architecture.md "Plan"; spec distributed.md 1, 2. Thread: any.
StatusOr<Plan> MakePlan(const Json& prompt, const std::vector<std::string>& outputs, const Catalog& catalog,
                        const PlanOptions& options);

/// Text for people: tasks, what each runs and waits for. Thread: any.
std::string ExplainPlan(const Plan& plan);

}  // namespace atelier
