// Who gets what: the part of the reducer that leases ready tasks.
#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

#include "master/control/control.h"
#include "master/control/transitions.h"

namespace atelier {

bool HasLive(const Task& task) {
  return std::any_of(task.attempts.begin(), task.attempts.end(), [](const Attempt& a) { return !a.lost; });
}

std::string Control::Unfit(const Worker& worker, const Task& task) const {
  if (!worker.connected) return "is not connected";
  if (!worker.enabled) return "is disabled";
  if (worker.draining) return "is draining";
  if (task.failed_on.contains(worker.info.name)) return Cat("failed at it: ", task.last_error);
  if (worker.info.catalog == nullptr) return "has not told its node types yet";
  for (const std::string& type : task.spec.needs.node_types)
    if (worker.info.catalog->Find(type) == nullptr) return Cat("does not offer the node type \"", type, "\"");
  for (const auto& [folder, name] : task.spec.needs.models) {
    if (worker.info.inventory == nullptr) return "has not told its models yet";
    auto files = worker.info.inventory->files.find(folder);
    if (files == worker.info.inventory->files.end() ||
        !std::binary_search(files->second.begin(), files->second.end(), name))
      return Cat("has no file \"", name, "\" in its folder ", folder);
  }
  return "";
}

std::vector<Job*> Control::JobsByPriority() {
  std::vector<Job*> order;
  for (auto& [id, job] : jobs_)
    if (!job.ready.empty() && !job.ended()) order.push_back(&job);
  std::sort(order.begin(), order.end(), [](const Job* a, const Job* b) {
    return std::pair(-a->priority, a->sequence) < std::pair(-b->priority, b->sequence);
  });
  return order;
}

// The ready places in leasing order: a canvas stands where its first tile stands, and of its tiles those go first that
// the longest chain of others waits for. In the order of tiles alone two workers would leave such a chain for last.
static std::vector<size_t> ReadyInOrder(const Job& job) {
  std::vector<size_t> places(job.ready.begin(), job.ready.end());
  if (job.stages.empty()) return places;
  std::vector<std::tuple<size_t, int, size_t>> order;
  order.reserve(places.size());
  for (size_t place : places) {
    const Task& task = job.tasks.at(job.task_order[place]);
    if (task.stage.empty()) {
      order.emplace_back(place, 0, place);
    } else {
      const auto tile = static_cast<size_t>(task.tile);
      order.emplace_back(place - tile, -job.stages.at(task.stage).urgency[tile], place);
    }
  }
  std::sort(order.begin(), order.end());
  for (size_t i = 0; i < order.size(); ++i) places[i] = std::get<2>(order[i]);
  return places;
}

void Control::Schedule(Effects& out, int64_t now_ms) {
  bool credit = std::any_of(workers_.begin(), workers_.end(),
                            [](const auto& w) { return w.second.connected && w.second.credit > 0; });
  for (Job* job : JobsByPriority()) {
    if (!credit) return;
    for (size_t place : ReadyInOrder(*job)) {
      const std::string& id = job->task_order[place];
      Task& task = job->tasks.at(id);
      Worker* best = nullptr;
      credit = false;
      for (auto& [name, worker] : workers_) {
        if (!worker.connected || worker.credit == 0) continue;
        credit = true;
        if ((best == nullptr || worker.held.size() < best->held.size()) && Unfit(worker, task).empty()) best = &worker;
      }
      if (!credit) return;
      if (best != nullptr) Lease(*job, task, id, *best, out, now_ms);
    }
  }
  if (!options_.steal_queued) return;
  for (auto& [name, worker] : workers_)
    if (worker.connected && worker.credit > 0 && worker.held.empty()) StealFor(worker, out, now_ms);
}

void Control::Lease(Job& job, Task& task, const std::string& id, Worker& worker, Effects& out, int64_t now_ms) {
  job.ready.erase(task.place);
  if (task.state != TaskState::kLeased) Become(task.state, TaskState::kLeased, WireId(job.id, id), out);
  if (job.state == JobState::kQueued) Become(job.state, JobState::kRunning, job.id, out);
  Attempt attempt;
  attempt.number = (options_.epoch << kEpochShift) + next_attempt_++;
  attempt.worker = worker.info.name;
  attempt.started_ms = attempt.progress_ms = now_ms;
  attempt.running = worker.held.empty();
  ++task.attempts_made;
  effect::SendLease lease{worker.info.name, job.id, WireId(job.id, id), attempt.number, &task.spec, {}, {}};
  task.attempts.push_back(std::move(attempt));
  --worker.credit;
  worker.held.emplace_back(job.id, id);
  for (const Binding& binding : task.spec.bindings) {
    ResolvedBinding resolved{binding.node, binding.input, {}, binding.gather};
    for (const Source& source : binding.sources)
      for (Blob& blob : ResultsOf(job, source)) resolved.blobs.push_back(std::move(blob));
    lease.bindings.push_back(std::move(resolved));
  }
  if (!task.stage.empty()) {
    const Stage& stage = job.stages.at(task.stage);
    const std::vector<Blob>& crops = stage.tiles[static_cast<size_t>(task.tile)].crops;
    lease.bindings.push_back({stage.spec.node, stage.spec.crop_input, crops, crops.size() > 1});
  }
  if (!task.stream.empty()) {
    const Stream& stream = job.streams.at(task.stream);
    if (!stream.crops.empty())
      lease.bindings.push_back(
          {stream.spec.node, "image", {stream.crops[static_cast<size_t>(task.tile)]}, false});
  }
  for (const std::string& name : task.spec.input_files) {
    auto input = job.inputs.find(name);
    if (input != job.inputs.end()) lease.inputs.emplace_back(name, input->second);
  }
  out.push_back(std::move(lease));
  out.push_back(effect::Changed{job.id, id});
}

// Takes a task that waits behind another on a busy worker.
bool Control::StealFor(Worker& idle, Effects& out, int64_t now_ms) {
  for (auto& [name, busy] : workers_) {
    for (size_t i = busy.held.size(); i-- > 1;) {
      const auto [job_id, task_id] = busy.held[i];
      Job& job = jobs_.at(job_id);
      Task& task = job.tasks.at(task_id);
      if (job.ended() || task.attempts.size() != 1 || task.attempts[0].running || !Unfit(idle, task).empty()) continue;
      out.push_back(
          effect::SendCancel{name, WireId(job_id, task_id), task.attempts[0].number, "an idle worker takes it"});
      task.attempts.clear();
      --task.attempts_made;
      RemoveHeld(name, job_id, task_id);
      Lease(job, task, task_id, idle, out, now_ms);
      return true;
    }
  }
  return false;
}

std::string Control::WhyWaiting(const std::string& id) const {
  auto it = jobs_.find(id);
  if (it == jobs_.end() || it->second.ended()) return "";
  const Job& job = it->second;
  for (const auto& [task_id, task] : job.tasks)
    if (HasLive(task)) return "";
  if (job.state == JobState::kSaving) return "";
  if (job.ready.empty()) return "";
  const Task& task = job.tasks.at(job.task_order[*job.ready.begin()]);
  if (workers_.empty()) return "no worker has ever attached: start one with `atelier-worker --master HOST:PORT`";
  std::string why;
  for (const auto& [name, worker] : workers_) {
    std::string unfit = Unfit(worker, task);
    if (unfit.empty())
      unfit = worker.held.empty() ? "is about to take it"
                                  : Cat("is busy with ", worker.held.size(), " tasks of other jobs");
    why += Cat(why.empty() ? "" : "; ", "worker \"", name, "\" ", unfit);
  }
  return why;
}

}  // namespace atelier
