// Finding attempts among those of a task.
#pragma once

#include <string>

#include "master/control/control.h"

namespace atelier {

/// Null when the task has no such attempt. Thread: any.
inline Attempt* FindAttempt(Task& task, const std::string& worker, uint64_t number) {
  for (Attempt& attempt : task.attempts)
    if (attempt.number == number && attempt.worker == worker) return &attempt;
  return nullptr;
}

inline void EraseAttempt(Task& task, uint64_t number) {
  std::erase_if(task.attempts, [number](const Attempt& a) { return a.number == number; });
}

}  // namespace atelier
