// Workers that come, go and ask for work.
#include <algorithm>

#include "master/control/attempts.h"
#include "master/control/control.h"
#include "master/control/transitions.h"

namespace atelier {

void Control::RemoveHeld(const std::string& worker, const std::string& job, const std::string& task, int64_t now_ms) {
  auto it = workers_.find(worker);
  if (it == workers_.end() || std::erase(it->second.held, std::pair(job, task)) == 0) return;
  Worker& from = it->second;
  if (const size_t running = RunningOf(from); running < from.held.size()) {  // what waited behind it runs now
    const auto& [next_job, next_task] = from.held[running];
    for (Attempt& attempt : jobs_.at(next_job).tasks.at(next_task).attempts) {
      if (attempt.worker != worker || attempt.running) continue;
      attempt.begun_ms = attempt.progress_ms = now_ms;
    }
  }
  Expect(from, static_cast<double>(now_ms) / 1000);
}

void Control::FleetChanged(Worker& worker) {
  ++fleet_version_;
  seats_.clear();
  worker.fits.clear();
  for (auto& [name, other] : workers_) other.fits.clear();  // what one has room for, another need not stream
}

void Control::SetCredit(Worker& worker, uint32_t credit) {
  worker.credit = credit;
  if (credit > 0 && worker.connected)
    hungry_[worker.info.name] = &worker;
  else
    hungry_.erase(worker.info.name);
}

Effects Control::WorkerAttached(WorkerInfo info, const std::vector<Held>& held, int64_t now_ms) {
  Effects out;
  const std::string name = info.name;
  Worker& worker = workers_[name];
  const auto before = std::move(worker.held);  // of an earlier stream of the same process
  const auto process = [](const std::string& instance) { return instance.substr(0, instance.find('#')); };
  if (process(worker.info.instance) != process(info.instance)) {
    worker.loaded.clear();  // another process
    worker.blobs.clear();
    worker.blob_order.clear();
    worker.blob_bytes = 0;
  }
  worker.info = std::move(info);
  worker.connected = true;
  worker.draining = false;
  worker.speed = speeds_.Worker(name, Cat(worker.info.device, " ", worker.info.device_name));
  SetCredit(worker, 0);
  FleetChanged(worker);
  worker.held.clear();
  std::ptrdiff_t finished = 0, running = 0;
  for (const Held& one : held) {
    Found found = Find(one.task);
    if (found.task == nullptr || found.job->ended() || found.task->state == TaskState::kDone) {
      if (!one.finished) out.push_back(effect::SendCancel{name, one.task, one.attempt, "no longer needed"});
      continue;
    }
    Attempt* known = FindAttempt(*found.task, name, one.attempt);
    const bool earlier_epoch = !found.job->replanned && (one.attempt >> kEpochShift) < options_.epoch;
    if (known == nullptr && !earlier_epoch) {
      if (!one.finished) out.push_back(effect::SendCancel{name, one.task, one.attempt, "the lease had ended"});
      continue;
    }
    if (known == nullptr) {
      found.task->attempts.push_back({});
      known = &found.task->attempts.back();
      known->number = one.attempt;
      known->worker = name;
      known->started_ms = known->begun_ms = now_ms;
    }
    known->lost = false;
    known->running = one.running || one.finished;
    known->progress_ms = now_ms;
    found.task->killed.erase(name);
    if (found.task->state == TaskState::kReady || found.task->state == TaskState::kWaiting)
      SetState(*found.job, *found.task, TaskState::kLeased, out);
    if (found.job->state == JobState::kQueued) Become(found.job->state, JobState::kRunning, found.job->id, out);
    const std::pair entry(found.job->id, found.id);  // first those that upload, then what runs, then what waits
    if (one.finished)
      worker.held.insert(worker.held.begin() + finished++, entry);
    else if (one.running)
      worker.held.insert(worker.held.begin() + finished + running++, entry);
    else
      worker.held.push_back(entry);
  }
  for (const auto& [job_id, task_id] : before) {
    auto job = jobs_.find(job_id);
    if (job == jobs_.end() ||
        std::find(worker.held.begin(), worker.held.end(), std::pair(job_id, task_id)) != worker.held.end())
      continue;
    Task& task = job->second.tasks.at(task_id);
    std::erase_if(task.attempts, [&](const Attempt& a) { return a.worker == name; });
    Requeue(job->second, task, out, now_ms);
  }
  Expect(worker, static_cast<double>(now_ms) / 1000);
  Schedule(out, now_ms);
  return out;
}

Effects Control::WorkerLost(const std::string& name, const std::string& instance, int64_t now_ms, bool died) {
  Effects out;
  auto it = workers_.find(name);
  if (it == workers_.end() || !it->second.connected || it->second.info.instance != instance) return out;
  Worker& worker = it->second;
  worker.connected = false;
  SetCredit(worker, 0);
  FleetChanged(worker);
  const auto held = std::move(worker.held);
  worker.held.clear();
  for (const auto& [job_id, task_id] : held) {
    auto job = jobs_.find(job_id);
    if (job == jobs_.end() || job->second.ended()) continue;
    Task& task = job->second.tasks.at(task_id);
    for (Attempt& attempt : task.attempts) {
      if (attempt.worker != name || attempt.lost) continue;
      attempt.lost = true;
      // A copy is no second witness: one broken line takes both.
      if (attempt.running && !attempt.copy && died && !worker.draining) task.killed.insert(name);
    }
    task.last_error = Cat("worker \"", name, "\" was lost while it worked on it");
    Requeue(job->second, task, out, now_ms);
    out.push_back(effect::Changed{job_id, task_id});
  }
  Schedule(out, now_ms);
  return out;
}

Effects Control::WorkerPulls(const std::string& name, uint32_t count, int64_t now_ms) {
  Effects out;
  auto it = workers_.find(name);
  if (it == workers_.end() || !it->second.connected) return out;
  SetCredit(it->second, it->second.credit + std::min<uint32_t>(count, 64));
  Expect(it->second, static_cast<double>(now_ms) / 1000);
  Schedule(out, now_ms);
  return out;
}

Effects Control::WorkerInventory(const std::string& name, std::shared_ptr<const Inventory> inventory, int64_t now_ms) {
  Effects out;
  auto it = workers_.find(name);
  if (it == workers_.end()) return out;
  it->second.info.inventory = std::move(inventory);
  FleetChanged(it->second);
  Schedule(out, now_ms);
  return out;
}

Effects Control::WorkerCatalog(const std::string& name, std::shared_ptr<const Catalog> catalog, int64_t now_ms) {
  Effects out;
  auto it = workers_.find(name);
  if (it == workers_.end()) return out;
  it->second.info.catalog = std::move(catalog);
  FleetChanged(it->second);
  Schedule(out, now_ms);
  return out;
}

Effects Control::SetWorkerEnabled(const std::string& name, bool enabled, int64_t now_ms) {
  Effects out;
  workers_[name].info.name = name;
  workers_[name].enabled = enabled;
  FleetChanged(workers_[name]);
  if (enabled) workers_[name].failures_in_row = 0;
  Schedule(out, now_ms);
  return out;
}

Effects Control::SetWorkerTags(const std::string& name, Tags tags, int64_t now_ms) {
  Effects out;
  const auto before = workers_.find(name);
  if (before == workers_.end() ? tags.empty() : before->second.tags == tags) return out;
  Worker& worker = workers_[name];
  worker.info.name = name;
  worker.tags = std::move(tags);
  FleetChanged(worker);
  Schedule(out, now_ms);
  return out;
}

Effects Control::SetWorkerResting(const std::string& name, const std::string& why, int64_t now_ms) {
  Effects out;
  auto it = workers_.find(name);
  if (it == workers_.end() || it->second.resting == why) return out;
  it->second.resting = why;
  FleetChanged(it->second);
  Schedule(out, now_ms);
  return out;
}

Effects Control::DrainWorker(const std::string& name, const std::string& reason, int64_t) {
  Effects out;
  auto it = workers_.find(name);
  if (it == workers_.end() || !it->second.connected) return out;
  it->second.draining = true;
  FleetChanged(it->second);
  out.push_back(effect::SendDrain{name, reason});
  return out;
}
}  // namespace atelier
