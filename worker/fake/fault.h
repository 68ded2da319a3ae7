// Faults of the fake worker, asked for by $ATELIER_FAULT = "kind=N[,kind=N...]", N counted from 1 over the whole
// process:
//   hang_after_steps  after so many steps the node stands still and does not even notice a cancel
//   crash_after_steps, crash_in_task, crash_executed, crash_uploaded  SIGKILL to itself after the Nth step; when the
//   Nth task
//     starts; when it was executed and nothing told; when its results are at the master and its end is not told
#pragma once

#include <string_view>

namespace atelier::fake {

/// A step was done. Thread: the executor's.
void CountStep();

/// A task reached "started", "executed" or "uploaded"; the hook of SessionOptions::on_point. Thread: any.
void CountPoint(std::string_view point);

/// Wakes waiting nodes to look at their context; the hook of SessionOptions::on_cancel. Thread: any.
void WakeWaiters();

}  // namespace atelier::fake
