// What workers tell of their attempts, and attempts that tell nothing.
#include <algorithm>

#include "master/control/attempts.h"
#include "master/control/control.h"
#include "master/control/transitions.h"

namespace atelier {
namespace {

constexpr int kFailuresInRowMax = 3;         // of a worker, in tasks that others complete
constexpr uint64_t kTellingBytes = 1 << 20;  // a transfer of less says nothing about the line

}  // namespace

Effects Control::TaskProgress(const std::string& worker, const std::string& wire_id, uint64_t number, uint32_t step,
                              uint32_t total, int64_t now_ms) {
  Effects out;
  Found found = Find(wire_id);
  Attempt* attempt = found.task == nullptr ? nullptr : FindAttempt(*found.task, worker, number);
  if (attempt == nullptr) {
    out.push_back(effect::SendCancel{worker, wire_id, number, "the lease had ended"});
    return out;
  }
  auto it = workers_.find(worker);
  if (it == workers_.end()) return out;
  Worker& from = it->second;
  const Task& task = *found.task;
  const bool next = attempt->running && step > attempt->step && total == attempt->total;
  if (next && attempt->step > 0)  // between steps alone: loading, decoding and uploading report none
    speeds_.ObserveGap(from.speed, task.kind,
                       static_cast<double>(now_ms - attempt->progress_ms) / 1000 / (step - attempt->step));
  if (!attempt->told) {
    const bool lazily = std::any_of(task.spec.bindings.begin(), task.spec.bindings.end(), [&](const Binding& binding) {
      return found.job->streams.contains(binding.sources[0].task);  // windows are fetched as they are taken
    });
    if (attempt->alone && !lazily && attempt->fetched > kTellingBytes)
      speeds_.ObserveTransfer(from.speed, attempt->fetched, static_cast<double>(now_ms - attempt->started_ms) / 1000);
    attempt->begun_ms = now_ms;
    attempt->told = true;
  }
  if (step > 0 && !(next && attempt->step > 0)) {
    attempt->first_step = step;
    attempt->first_step_ms = now_ms;
  }
  attempt->running = true;
  attempt->progress_ms = now_ms;
  attempt->step = step;
  attempt->total = total;
  const bool tested = speeds_.Tested(from.speed, task.kind), measured = speeds_.Measured(from.speed, task.kind);
  if (step > attempt->first_step && total > 0 && (!attempt->copy || attempt->probe) && !measured) {
    const double each = static_cast<double>(now_ms - attempt->first_step_ms) / 1000 / (step - attempt->first_step);
    speeds_.Observe(from.speed, task.kind, each * total, true);  // the best there is until it ends
  }
  const double now = static_cast<double>(now_ms) / 1000;
  Expect(from, now);
  out.push_back(effect::Changed{found.job->id, found.id});
  // Of a worker that is known, Tick sees it soon enough.
  const bool doubts = !measured && Doubt(from, JobsByTurn(), now);
  if (doubts || tested != speeds_.Tested(from.speed, task.kind)) Schedule(out, now_ms);
  return out;
}

Effects Control::TaskDone(const std::string& worker, const std::string& wire_id, uint64_t number,
                          std::vector<Blob> results, std::vector<MadeFile> files, double seconds, int64_t now_ms,
                          double load_seconds) {
  Effects out;
  Found found = Find(wire_id);
  if (found.task == nullptr || found.job->ended()) {
    out.push_back(effect::SendAck{worker, wire_id, number, false, "the job has ended"});
    return out;
  }
  Task& task = *found.task;
  if (task.state == TaskState::kDone) {
    const bool same = std::equal(results.begin(), results.end(), task.results.begin(), task.results.end());
    out.push_back(
        effect::SendAck{worker, wire_id, number, false,
                        same ? "another attempt was first" : "another attempt was first and gave other bytes"});
    return out;
  }
  const Attempt* const attempt = FindAttempt(task, worker, number);
  if (attempt == nullptr) {
    out.push_back(effect::SendAck{worker, wire_id, number, false, "the lease had ended"});
    return out;
  }
  if (results.size() != task.spec.wanted.size()) {
    out.push_back(effect::SendAck{worker, wire_id, number, false, "wrong number of results"});
    EraseAttempt(task, number);
    RemoveHeld(worker, found.job->id, found.id, now_ms);
    task.failed_on.insert(worker);
    task.last_error =
        Cat("worker \"", worker, "\" sent ", results.size(), " results, expected ", task.spec.wanted.size());
    Requeue(*found.job, task, out, now_ms);
    Schedule(out, now_ms);
    return out;
  }
  if (!SetState(*found.job, task, TaskState::kDone, out)) return out;
  Learn(task, *attempt, seconds, load_seconds);
  task.results = std::move(results);
  task.files = std::move(files);
  task.done_by = worker;
  task.seconds = seconds;
  RemoveHeld(worker, found.job->id, found.id, now_ms);
  auto it = workers_.find(worker);
  if (it != workers_.end()) {
    ++it->second.tasks_done;
    it->second.failures_in_row = 0;
    for (const Blob& blob : task.results) Remember(it->second, blob);
  }
  for (const std::string& name : task.failed_on) {  // what fails everywhere blames no worker
    auto failed = workers_.find(name);
    if (failed == workers_.end() || name == worker) continue;
    if (++failed->second.failures_in_row < kFailuresInRowMax || failed->second.draining) continue;
    failed->second.draining = true;
    FleetChanged(failed->second);
    out.push_back(effect::SendDrain{name, Cat(kFailuresInRowMax, " tasks in a row failed here that other workers ",
                                              "completed; the last: ", task.last_error)});
  }
  out.push_back(effect::RecordAccepted{found.job->id, found.id, worker, number, seconds, task.results, task.files});
  out.push_back(effect::SendAck{worker, wire_id, number, true, ""});
  for (const Attempt& other : task.attempts) {
    if (other.number == number) continue;
    if (!other.lost)
      out.push_back(effect::SendCancel{other.worker, wire_id, other.number, "another attempt was first"});
    RemoveHeld(other.worker, found.job->id, found.id, now_ms);
  }
  task.attempts.clear();
  out.push_back(effect::Changed{found.job->id, found.id});
  if (!task.stream.empty()) --found.job->streams.at(task.stream).left;
  if (!task.stage.empty()) CheckTiles(*found.job, found.job->stages.at(task.stage), {task.tile}, out);
  Advance(*found.job, out, now_ms);
  Schedule(out, now_ms);
  return out;
}

Effects Control::TaskFailed(const std::string& worker, const std::string& wire_id, uint64_t number,
                            const std::string& message, bool retry_elsewhere, int64_t now_ms, bool out_of_memory) {
  Effects out;
  out.push_back(effect::SendAck{worker, wire_id, number, false, "noted"});
  Found found = Find(wire_id);
  if (found.task == nullptr || FindAttempt(*found.task, worker, number) == nullptr) return out;
  Task& task = *found.task;
  EraseAttempt(task, number);
  RemoveHeld(worker, found.job->id, found.id, now_ms);
  task.last_error = message;
  if (!retry_elsewhere) {
    SetState(*found.job, task, TaskState::kFailed, out);
    Fail(*found.job, message, JobState::kFailed, out, now_ms);
  } else {
    task.failed_on.insert(worker);
    auto it = workers_.find(worker);
    if (out_of_memory && it != workers_.end() && task.kind != SpeedBook::kNone) {
      FleetChanged(it->second);
      it->second.too_large.insert(task.kind);
      // What is too large for all was no matter of this worker.
      const bool everywhere = std::all_of(workers_.begin(), workers_.end(), [&](const auto& one) {
        return !one.second.connected || !one.second.enabled || one.second.too_large.contains(task.kind);
      });
      for (auto& [name, one] : workers_) {
        if (!everywhere || one.too_large.erase(task.kind) == 0) continue;
        FleetChanged(one);
      }
    }
    Requeue(*found.job, task, out, now_ms);
  }
  Schedule(out, now_ms);
  return out;
}

Effects Control::TaskReturned(const std::string& worker, const std::string& wire_id, uint64_t number, int64_t now_ms) {
  Effects out;
  out.push_back(effect::SendAck{worker, wire_id, number, false, "taken back"});
  Found found = Find(wire_id);
  if (found.task == nullptr || FindAttempt(*found.task, worker, number) == nullptr) return out;
  if (!FindAttempt(*found.task, worker, number)->copy) --found.task->attempts_made;
  EraseAttempt(*found.task, number);
  RemoveHeld(worker, found.job->id, found.id, now_ms);
  Requeue(*found.job, *found.task, out, now_ms);
  Schedule(out, now_ms);
  return out;
}

void Control::Requeue(Job& job, Task& task, Effects& out, int64_t now_ms) {
  if (job.ended() || task.state == TaskState::kDone || HasLive(task)) return;
  SetReady(job, task, out);
  if (static_cast<int>(task.killed.size()) >= options_.poison_workers)
    Fail(job,
         Cat(task.spec.label, ": ", task.killed.size(), " workers died over it (the last: ", *task.killed.rbegin(),
             "); see their logs, then submit again"),
         JobState::kFailed, out, now_ms);
  else if (task.attempts_made >= options_.attempts_max)
    Fail(job, Cat(task.spec.label, ": given up after ", task.attempts_made, " attempts: ", task.last_error),
         JobState::kFailed, out, now_ms);
  else if (NobodyCan(task))
    Fail(job, Cat(task.spec.label, ": ", task.last_error), JobState::kFailed, out, now_ms);
}

// True when somebody failed at it and nobody connected is left to try.
bool Control::NobodyCan(const Task& task) const {
  if (task.failed_on.empty()) return false;
  return std::none_of(workers_.begin(), workers_.end(), [&](const auto& entry) {
    return entry.second.connected && entry.second.enabled && HasTags(entry.second.tags, task.tags) &&
           !task.failed_on.contains(entry.first);
  });
}

// What an accepted attempt says about its worker.
void Control::Learn(const Task& task, const Attempt& attempt, double seconds, double load_seconds) {
  auto it = workers_.find(attempt.worker);
  if (it == workers_.end() || task.kind == SpeedBook::kNone) return;
  Worker& worker = it->second;
  const double work = std::max(0.0, seconds - load_seconds);
  if (!task.models.empty()) Loaded(worker, task.models);
  if (attempt.cold) {
    // Weights are also brought in while the task runs: load_seconds is the least of it.
    if (speeds_.Measured(worker.speed, task.kind))
      speeds_.ObserveLoad(worker.speed, task.models,
                          std::max(0.0, seconds - *speeds_.Seconds(worker.speed, task.kind)));
    else
      speeds_.ObserveLoad(worker.speed, task.models, load_seconds);
    worker.cold = {task.kind, seconds};
    speeds_.Observe(worker.speed, task.kind, work, true);
    return;
  }
  speeds_.Observe(worker.speed, task.kind, work, false);
  if (worker.cold.first == task.kind && task.kind != SpeedBook::kNone) {
    speeds_.ObserveLoad(worker.speed, task.models, std::max(0.0, worker.cold.second - work));
    worker.cold = {SpeedBook::kNone, 0};
  }
}

Effects Control::Tick(int64_t now_ms) {
  Effects out;
  const std::vector<Job*> jobs = JobsByTurn();
  for (auto& [name, worker] : workers_) {
    if (!worker.connected || worker.held.empty()) continue;
    const size_t running = RunningOf(worker);
    if (running == worker.held.size()) continue;
    const auto& [job_id, task_id] = worker.held[running];
    Task& first = jobs_.at(job_id).tasks.at(task_id);
    for (Attempt& attempt : first.attempts) {  // what waited behind another task runs now
      if (attempt.worker != name || attempt.running) continue;
      attempt.running = true;
      attempt.begun_ms = attempt.progress_ms = now_ms;
    }
    Expect(worker, static_cast<double>(now_ms) / 1000);
    Doubt(worker, jobs, static_cast<double>(now_ms) / 1000);
  }
  std::vector<std::pair<std::string, std::string>> held;
  for (const auto& [name, worker] : workers_) held.insert(held.end(), worker.held.begin(), worker.held.end());
  for (const auto& [job_id, task_id] : held) {
    Job& job = jobs_.at(job_id);
    if (!job.ended()) FindHung(job, task_id, job.tasks.at(task_id), out, now_ms);
  }
  Schedule(out, now_ms);
  return out;
}

void Control::FindHung(Job& job, const std::string& task_id, Task& task, Effects& out, int64_t now_ms) {
  for (size_t i = 0; i < task.attempts.size();) {
    const Attempt attempt = task.attempts[i];
    Worker& worker = workers_[attempt.worker];
    const bool stepping = attempt.step > 0 && attempt.step < attempt.total;
    // Between steps alone: before and after them weights may be loading, which nobody can foresee.
    const std::optional<double> learned = stepping ? speeds_.Gap(worker.speed, task.kind) : std::nullopt;
    int64_t limit = options_.first_step_ms_max;
    if (learned) limit = std::min(limit, policy::HungAfterMs(*learned, options_.hung_factor, options_.hung_ms_min));
    if (attempt.lost || !attempt.running || now_ms - attempt.progress_ms <= limit) {
      ++i;
      continue;
    }
    task.last_error =
        Cat("worker \"", attempt.worker, "\" made no progress for ", (now_ms - attempt.progress_ms) / 1000, " s");
    task.failed_on.insert(attempt.worker);
    out.push_back(effect::SendCancel{attempt.worker, WireId(job.id, task_id), attempt.number, "no progress"});
    EraseAttempt(task, attempt.number);
    RemoveHeld(attempt.worker, job.id, task_id, now_ms);
    if (worker.draining) continue;
    worker.draining = true;
    FleetChanged(worker);
    out.push_back(effect::SendDrain{attempt.worker, "a task there makes no progress"});
  }
  Requeue(job, task, out, now_ms);
}

}  // namespace atelier
