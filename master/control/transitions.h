// The state machines of jobs, tasks and stages: the one table of what may follow what. Control changes a state through
// Become() alone, which refuses everything else. docs/reliability.md shows the same table (a test compares them).
#pragma once

#include <string>
#include <vector>

#include "master/control/control.h"

namespace atelier {

template <typename State>
struct Transition {
  State from, to;
  const char* when;
};

const std::vector<Transition<JobState>>& TransitionsOf(JobState);
const std::vector<Transition<TaskState>>& TransitionsOf(TaskState);
const std::vector<Transition<Stage::State>>& TransitionsOf(Stage::State);
const std::vector<Transition<Stream::State>>& TransitionsOf(Stream::State);
const char* Name(Stage::State state);
const char* Name(Stream::State state);

/// Whether `to` may follow `from`. A state never follows itself.
template <typename State>
bool MayFollow(State from, State to) {
  for (const Transition<State>& one : TransitionsOf(from))
    if (one.from == from && one.to == to) return true;
  return false;
}

/// Sets `state` to `to` when the table has it; else leaves it, adds effect::Refused about `what` and returns false.
template <typename State>
bool Become(State& state, State to, const std::string& what, Effects& out) {
  if (!MayFollow(state, to)) {
    out.push_back(effect::Refused{Cat(what, " may not go from ", Name(state), " to ", Name(to))});
    return false;
  }
  state = to;
  return true;
}

}  // namespace atelier
