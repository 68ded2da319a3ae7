#include "master/control/control.h"

#include <algorithm>

#include "common/base/check.h"
#include "master/control/transitions.h"

namespace atelier {
namespace {

constexpr int kFailuresInRowMax = 3;  // of a worker, in tasks that others complete

Attempt* FindAttempt(Task& task, const std::string& worker, uint64_t number) {
  for (Attempt& attempt : task.attempts)
    if (attempt.number == number && attempt.worker == worker) return &attempt;
  return nullptr;
}

// Tasks of a kind take alike: the steps of one canvas, the windows of one stream.
const std::string& KindOf(const Task& task) {
  return !task.stage.empty() ? task.stage : !task.stream.empty() ? task.stream : task.spec.id;
}

void EraseAttempt(Task& task, uint64_t number) {
  std::erase_if(task.attempts, [number](const Attempt& a) { return a.number == number; });
}

}  // namespace

const char* Name(TaskState state) {
  switch (state) {
    case TaskState::kWaiting:
      return "waiting";
    case TaskState::kReady:
      return "ready";
    case TaskState::kLeased:
      return "leased";
    case TaskState::kDone:
      return "done";
    case TaskState::kFailed:
      return "failed";
  }
  return "?";
}

const char* Name(JobState state) {
  switch (state) {
    case JobState::kQueued:
      return "queued";
    case JobState::kRunning:
      return "running";
    case JobState::kSaving:
      return "saving";
    case JobState::kDone:
      return "done";
    case JobState::kFailed:
      return "failed";
    case JobState::kCancelled:
      return "cancelled";
  }
  return "?";
}

// ---- jobs ----

Effects Control::AddJob(NewJob made, int64_t now_ms) {
  Effects out;
  auto [it, added] = jobs_.emplace(made.id, Job{});
  ATELIER_CHECK(added);
  Job& job = it->second;
  job.id = made.id;
  job.submitter = std::move(made.submitter);
  job.priority = made.priority;
  job.sequence = next_sequence_++;
  job.plan.replicas = made.plan.replicas;
  job.plan.tiles = made.plan.tiles;
  job.plan.compat = made.plan.compat;
  job.inputs = std::move(made.inputs);
  job.output_order = std::move(made.output_order);
  job.accepted_ms = now_ms;
  job.replanned = made.replanned;
  for (TaskSpec& spec : made.plan.tasks) {
    Task task;
    const std::string id = spec.id;
    task.spec = std::move(spec);
    job.models.insert(task.spec.needs.models.begin(), task.spec.needs.models.end());
    task.place = job.task_order.size();
    auto restored = made.restored.find(id);
    if (restored != made.restored.end()) {
      Become(task.state, TaskState::kDone, WireId(job.id, id), out);
      task.results = std::move(restored->second.results);
      task.files = std::move(restored->second.files);
      made.restored.erase(restored);
    }
    job.task_order.push_back(id);
    job.tasks.emplace(id, std::move(task));
  }
  for (StageSpec& spec : made.plan.stages) {
    Stage stage;
    const std::string id = spec.id;
    stage.spec = std::move(spec);
    job.models.insert(stage.spec.tile.needs.models.begin(), stage.spec.tile.needs.models.end());
    auto restored = made.restored.find(id);
    if (restored != made.restored.end() && restored->second.results.size() == 1) {
      Become(stage.state, Stage::State::kDone, WireId(job.id, id), out);
      stage.result = restored->second.results[0];
      made.restored.erase(restored);
    }
    job.stages.emplace(id, std::move(stage));
  }
  for (StreamSpec& spec : made.plan.streams) {
    const std::string id = spec.id;
    job.streams[id].spec = std::move(spec);
  }
  for (auto& [id, restored] : made.restored)
    job.restored[id] = {std::move(restored.results), std::move(restored.files)};
  Advance(job, out, now_ms);
  out.push_back(effect::Changed{job.id, ""});
  Schedule(out, now_ms);
  return out;
}

Effects Control::CancelJob(const std::string& id, int64_t now_ms) {
  Effects out;
  auto it = jobs_.find(id);
  if (it == jobs_.end() || it->second.ended() || it->second.state == JobState::kSaving) return out;
  Fail(it->second, "cancelled", JobState::kCancelled, out);
  Schedule(out, now_ms);
  return out;
}

void Control::ForgetJob(const std::string& id) {
  jobs_.erase(id);
  std::erase_if(step_ms_,
                [key = Cat("|", id, "|")](const auto& entry) { return entry.first.find(key) != std::string::npos; });
}

void Control::Fail(Job& job, const std::string& message, JobState state, Effects& out) {
  if (job.ended() || !Become(job.state, state, job.id, out)) return;
  job.error = message;
  job.ready.clear();
  for (auto& [id, task] : job.tasks) {
    for (const Attempt& attempt : task.attempts) {
      if (!attempt.lost) out.push_back(effect::SendCancel{attempt.worker, WireId(job.id, id), attempt.number, message});
      RemoveHeld(attempt.worker, job.id, id);
    }
    task.attempts.clear();
  }
  for (auto& [id, stage] : job.stages)
    if (stage.state == Stage::State::kOpening || stage.state == Stage::State::kRunning)
      out.push_back(effect::CloseCanvas{job.id, id, false});
  out.push_back(effect::EndJob{job.id, Name(state), message});
  out.push_back(effect::Changed{job.id, ""});
}

Effects Control::JobBroke(const std::string& id, const std::string& message, int64_t now_ms) {
  Effects out;
  auto it = jobs_.find(id);
  if (it == jobs_.end() || it->second.ended()) return out;
  Fail(it->second, message, JobState::kFailed, out);
  Schedule(out, now_ms);
  return out;
}

Effects Control::JobSaved(const std::string& id, int64_t) {
  Effects out;
  auto it = jobs_.find(id);
  if (it == jobs_.end() || it->second.state != JobState::kSaving) return out;
  Become(it->second.state, JobState::kDone, id, out);
  out.push_back(effect::Changed{id, ""});
  return out;
}

// ---- results and dependencies ----

Control::Found Control::Find(const std::string& wire_id) {
  const size_t slash = wire_id.find('/');
  if (slash == std::string::npos) return {};
  auto job = jobs_.find(wire_id.substr(0, slash));
  if (job == jobs_.end()) return {};
  const std::string id = wire_id.substr(slash + 1);
  auto task = job->second.tasks.find(id);
  if (task == job->second.tasks.end()) return {};
  return {&job->second, &task->second, id};
}

bool Control::IsDone(const Job& job, const std::string& source) const {
  auto stage = job.stages.find(source);
  if (stage != job.stages.end()) return stage->second.state == Stage::State::kDone;
  auto stream = job.streams.find(source);
  if (stream != job.streams.end()) return stream->second.state == Stream::State::kDone;
  auto task = job.tasks.find(source);
  return task != job.tasks.end() && task->second.state == TaskState::kDone;
}

Blob Control::ResultOf(const Job& job, const Source& source) const {
  auto stage = job.stages.find(source.task);
  if (stage != job.stages.end()) return stage->second.result;
  const Task& task = job.tasks.at(source.task);
  return source.output < task.results.size() ? task.results[source.output] : Blob{};
}

std::vector<Blob> Control::ResultsOf(const Job& job, const Source& source) const {
  const auto stream = job.streams.find(source.task);
  if (stream == job.streams.end()) return {ResultOf(job, source)};
  std::vector<Blob> windows;
  windows.reserve(stream->second.tasks.size());
  for (const std::string& task : stream->second.tasks) windows.push_back(job.tasks.at(task).results.at(0));
  return windows;
}

bool Control::BindingsDone(const Job& job, const std::vector<Binding>& bindings) const {
  for (const Binding& binding : bindings)
    for (const Source& source : binding.sources)
      if (!IsDone(job, source.task)) return false;
  return true;
}

void Control::SetReady(Job& job, Task& task, Effects& out) {
  const bool uncut =
      !task.stage.empty() && job.stages.at(task.stage).tiles[static_cast<size_t>(task.tile)].crops.empty();
  const TaskState next = uncut ? TaskState::kWaiting : TaskState::kReady;  // TileCut makes it ready
  if (task.state != next && !Become(task.state, next, WireId(job.id, task.spec.id), out)) return;
  if (!uncut) job.ready.insert(task.place);
}

void Control::Advance(Job& job, Effects& out, int64_t) {
  if (job.ended() || job.state == JobState::kSaving) return;
  OpenStreams(job, out);
  bool all_done = std::all_of(job.streams.begin(), job.streams.end(),
                              [](const auto& s) { return s.second.state == Stream::State::kDone; });
  for (const std::string& id : job.task_order) {
    Task& task = job.tasks.at(id);
    if (task.state == TaskState::kWaiting && task.stage.empty() && BindingsDone(job, task.spec.bindings))
      SetReady(job, task, out);
    all_done &= task.state == TaskState::kDone;
  }
  for (auto& [id, stage] : job.stages) {
    all_done &= stage.state == Stage::State::kDone;
    if (stage.state != Stage::State::kWaiting || !BindingsDone(job, stage.spec.bindings) ||
        !BindingsDone(job, stage.spec.tile.bindings) || !BindingsDone(job, stage.spec.measures))
      continue;
    effect::OpenCanvas open{job.id,
                            id,
                            job.plan.tiles,
                            job.plan.compat == "documented",
                            stage.spec.split,
                            {},
                            stage.spec.tile.nodes.at(stage.spec.node).at("inputs"),
                            {}};
    for (const Binding& binding : stage.spec.bindings) {
      if (binding.input == stage.spec.split.image_input)
        open.image = ResultOf(job, binding.sources[0]);
      else
        open.linked.emplace_back(binding.input, ResultOf(job, binding.sources[0]));
    }
    for (const Binding& binding : stage.spec.measures)
      open.linked.emplace_back(binding.input, ResultOf(job, binding.sources[0]));
    Become(stage.state, Stage::State::kOpening, WireId(job.id, id), out);
    out.push_back(std::move(open));
  }
  if (!all_done) return;
  if (!Become(job.state, JobState::kSaving, job.id, out)) return;
  effect::SaveOutputs save{job.id, {}};
  for (const std::string& node : job.output_order)
    for (const std::string& id : job.task_order)
      for (const MadeFile& file : job.tasks.at(id).files)
        if (file.node == node) save.files.push_back(file);
  out.push_back(std::move(save));
  out.push_back(effect::Changed{job.id, ""});
}

// ---- tiles ----

// The tiles of the longest chain, each to be cut after the one before it, that begins with each tile.
static std::vector<int> Urgency(const StageGraph& graph) {
  std::vector<int> urgency(graph.tiles.size(), 1), waiting(graph.tiles.size(), 0), open;
  for (const StageGraph::Tile& tile : graph.tiles)
    for (int earlier : tile.cut_after) ++waiting[static_cast<size_t>(earlier)];
  for (size_t t = 0; t < waiting.size(); ++t)
    if (waiting[t] == 0) open.push_back(static_cast<int>(t));
  while (!open.empty()) {
    const auto t = static_cast<size_t>(open.back());
    open.pop_back();
    for (int e : graph.tiles[t].cut_after) {
      const auto earlier = static_cast<size_t>(e);
      urgency[earlier] = std::max(urgency[earlier], urgency[t] + 1);
      if (--waiting[earlier] == 0) open.push_back(e);
    }
  }
  return urgency;
}

Effects Control::CanvasOpened(const std::string& job_id, const std::string& stage_id, StageGraph graph,
                              int64_t now_ms) {
  Effects out;
  auto it = jobs_.find(job_id);
  if (it == jobs_.end() || it->second.ended()) return out;
  Job& job = it->second;
  Stage& stage = job.stages.at(stage_id);
  if (stage.state != Stage::State::kOpening) return out;
  Become(stage.state, Stage::State::kRunning, WireId(job.id, stage_id), out);
  stage.graph = std::move(graph);
  stage.urgency = Urgency(stage.graph);
  const size_t count = stage.graph.tiles.size();
  stage.tiles.resize(count);
  stage.waits.resize(count);
  std::deque<int> all;
  for (size_t t = 0; t < count; ++t) {
    const StageGraph::Tile& tile = stage.graph.tiles[t];
    for (const auto* earlier : {&tile.cut_after, &tile.paste_after_cut, &tile.paste_after})
      for (int e : *earlier) stage.waits[static_cast<size_t>(e)].push_back(static_cast<int>(t));
    Task task;
    const std::string id = Cat(stage_id, ".", t);
    task.spec = stage.spec.tile;
    task.spec.id = id;
    task.spec.label = Cat("tile ", t + 1, "/", count, " of node ", stage.spec.node);
    for (const auto& [name, value] : tile.hidden.items()) task.spec.nodes[stage.spec.node]["inputs"][name] = value;
    for (const Binding& binding : stage.spec.bindings)
      if (binding.input != stage.spec.split.image_input && !tile.hidden.contains(binding.input))
        task.spec.bindings.push_back(binding);
    task.stage = stage_id;
    task.tile = static_cast<int>(t);
    task.place = job.task_order.size();
    auto restored = job.restored.find(id);
    if (restored != job.restored.end()) {
      Become(task.state, TaskState::kDone, WireId(job.id, id), out);
      task.results = std::move(restored->second.first);
      stage.tiles[t].cut_asked = true;
      job.restored.erase(restored);
    }
    stage.tiles[t].task = id;
    job.task_order.push_back(id);
    job.tasks.emplace(id, std::move(task));
    all.push_back(static_cast<int>(t));
  }
  CheckTiles(job, stage, std::move(all), out);
  out.push_back(effect::Changed{job.id, ""});
  Schedule(out, now_ms);
  return out;
}

// Asks for every cut that is due, then for every paste that is due, until nothing more follows. The canvas's one thread
// works in the order of asking, so "asked" is as good as "done" for what is asked later.
void Control::CheckTiles(Job& job, Stage& stage, std::deque<int> check, Effects& out) {
  if (stage.state != Stage::State::kRunning) return;
  auto cut = [&](int e) { return stage.tiles[static_cast<size_t>(e)].cut_asked; };
  auto pasted = [&](int e) { return stage.tiles[static_cast<size_t>(e)].paste_asked; };
  while (!check.empty()) {
    std::deque<int> next;
    auto wake = [&](size_t t) { next.insert(next.end(), stage.waits[t].begin(), stage.waits[t].end()); };
    for (int n : check) {
      const size_t t = static_cast<size_t>(n);
      const StageGraph::Tile& tile = stage.graph.tiles[t];
      if (stage.tiles[t].cut_asked || !std::all_of(tile.cut_after.begin(), tile.cut_after.end(), pasted)) continue;
      stage.tiles[t].cut_asked = true;
      out.push_back(effect::CutTile{job.id, stage.spec.id, n});
      wake(t);
    }
    for (int n : check) {
      const size_t t = static_cast<size_t>(n);
      const StageGraph::Tile& tile = stage.graph.tiles[t];
      const Task& task = job.tasks.at(stage.tiles[t].task);
      if (stage.tiles[t].paste_asked || task.state != TaskState::kDone ||
          !std::all_of(tile.paste_after_cut.begin(), tile.paste_after_cut.end(), cut) ||
          !std::all_of(tile.paste_after.begin(), tile.paste_after.end(), pasted))
        continue;
      stage.tiles[t].paste_asked = true;
      ++stage.pasted;
      out.push_back(effect::PasteTile{job.id, stage.spec.id, n, task.results.at(0)});
      wake(t);
    }
    check = std::move(next);
  }
  if (stage.pasted == stage.tiles.size()) {
    Become(stage.state, Stage::State::kClosing, WireId(job.id, stage.spec.id), out);
    out.push_back(effect::CloseCanvas{job.id, stage.spec.id, true});
  }
}

Effects Control::TileCut(const std::string& job_id, const std::string& stage_id, int tile, std::vector<Blob> crops,
                         int64_t now_ms) {
  Effects out;
  auto it = jobs_.find(job_id);
  if (it == jobs_.end() || it->second.ended()) return out;
  Stage& stage = it->second.stages.at(stage_id);
  Stage::Tile& cut = stage.tiles.at(static_cast<size_t>(tile));
  cut.crops = std::move(crops);
  Task& task = it->second.tasks.at(cut.task);
  if (task.state == TaskState::kWaiting) SetReady(it->second, task, out);
  Schedule(out, now_ms);
  return out;
}

Effects Control::CanvasClosed(const std::string& job_id, const std::string& stage_id, Blob result, int64_t now_ms) {
  Effects out;
  auto it = jobs_.find(job_id);
  if (it == jobs_.end() || it->second.ended()) return out;
  Job& job = it->second;
  Stage& stage = job.stages.at(stage_id);
  if (stage.state != Stage::State::kClosing) return out;
  Become(stage.state, Stage::State::kDone, WireId(job.id, stage_id), out);
  stage.result = result;
  out.push_back(effect::RecordAccepted{job.id, stage_id, "", 0, 0, {result}, {}});
  Advance(job, out, now_ms);
  Schedule(out, now_ms);
  return out;
}

// ---- workers ----

void Control::RemoveHeld(const std::string& worker, const std::string& job, const std::string& task) {
  auto it = workers_.find(worker);
  if (it != workers_.end()) std::erase(it->second.held, std::pair(job, task));
}

Effects Control::WorkerAttached(WorkerInfo info, const std::vector<Held>& held, int64_t now_ms) {
  Effects out;
  const std::string name = info.name;
  Worker& worker = workers_[name];
  const auto before = std::move(worker.held);  // of an earlier stream of the same process
  worker.info = std::move(info);
  worker.connected = true;
  worker.draining = false;
  worker.credit = 0;
  worker.held.clear();
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
      known->started_ms = now_ms;
    }
    known->lost = false;
    known->running = one.running || one.finished;
    known->progress_ms = now_ms;
    found.task->killed.erase(name);
    if (found.task->state == TaskState::kReady || found.task->state == TaskState::kWaiting) {
      found.job->ready.erase(found.task->place);
      Become(found.task->state, TaskState::kLeased, one.task, out);
    }
    if (found.job->state == JobState::kQueued) Become(found.job->state, JobState::kRunning, found.job->id, out);
    worker.held.insert(known->running ? worker.held.begin() : worker.held.end(), std::pair(found.job->id, found.id));
  }
  for (const auto& [job_id, task_id] : before) {
    auto job = jobs_.find(job_id);
    if (job == jobs_.end() ||
        std::find(worker.held.begin(), worker.held.end(), std::pair(job_id, task_id)) != worker.held.end())
      continue;
    Task& task = job->second.tasks.at(task_id);
    std::erase_if(task.attempts, [&](const Attempt& a) { return a.worker == name; });
    Requeue(job->second, task, out);
  }
  Schedule(out, now_ms);
  return out;
}

Effects Control::WorkerLost(const std::string& name, const std::string& instance, int64_t now_ms) {
  Effects out;
  auto it = workers_.find(name);
  if (it == workers_.end() || !it->second.connected || it->second.info.instance != instance) return out;
  Worker& worker = it->second;
  worker.connected = false;
  worker.credit = 0;
  const auto held = std::move(worker.held);
  worker.held.clear();
  for (const auto& [job_id, task_id] : held) {
    auto job = jobs_.find(job_id);
    if (job == jobs_.end() || job->second.ended()) continue;
    Task& task = job->second.tasks.at(task_id);
    for (Attempt& attempt : task.attempts) {
      if (attempt.worker != name || attempt.lost) continue;
      attempt.lost = true;
      if (attempt.running && !worker.draining) task.killed.insert(name);
    }
    task.last_error = Cat("worker \"", name, "\" was lost while it worked on it");
    Requeue(job->second, task, out);
    out.push_back(effect::Changed{job_id, task_id});
  }
  Schedule(out, now_ms);
  return out;
}

Effects Control::WorkerPulls(const std::string& name, uint32_t count, int64_t now_ms) {
  Effects out;
  auto it = workers_.find(name);
  if (it == workers_.end() || !it->second.connected) return out;
  it->second.credit += std::min<uint32_t>(count, 64);
  Schedule(out, now_ms);
  return out;
}

Effects Control::WorkerInventory(const std::string& name, std::shared_ptr<const Inventory> inventory, int64_t now_ms) {
  Effects out;
  auto it = workers_.find(name);
  if (it == workers_.end()) return out;
  it->second.info.inventory = std::move(inventory);
  Schedule(out, now_ms);
  return out;
}

Effects Control::WorkerCatalog(const std::string& name, std::shared_ptr<const Catalog> catalog, int64_t now_ms) {
  Effects out;
  auto it = workers_.find(name);
  if (it == workers_.end()) return out;
  it->second.info.catalog = std::move(catalog);
  Schedule(out, now_ms);
  return out;
}

Effects Control::SetWorkerEnabled(const std::string& name, bool enabled, int64_t now_ms) {
  Effects out;
  workers_[name].info.name = name;
  workers_[name].enabled = enabled;
  if (enabled) workers_[name].failures_in_row = 0;
  Schedule(out, now_ms);
  return out;
}

Effects Control::DrainWorker(const std::string& name, const std::string& reason, int64_t) {
  Effects out;
  auto it = workers_.find(name);
  if (it == workers_.end() || !it->second.connected) return out;
  it->second.draining = true;
  out.push_back(effect::SendDrain{name, reason});
  return out;
}

// ---- attempts ----

Effects Control::TaskProgress(const std::string& worker, const std::string& wire_id, uint64_t number, uint32_t step,
                              uint32_t total, int64_t now_ms) {
  Effects out;
  Found found = Find(wire_id);
  Attempt* attempt = found.task == nullptr ? nullptr : FindAttempt(*found.task, worker, number);
  if (attempt == nullptr) {
    out.push_back(effect::SendCancel{worker, wire_id, number, "the lease had ended"});
    return out;
  }
  if (attempt->running && step > 0) {
    const std::string kind =
        Cat(worker, "|", found.job->id, "|", KindOf(*found.task));
    int64_t& longest = step_ms_[kind];
    longest = std::max(longest, now_ms - attempt->progress_ms);
  }
  attempt->running = true;
  attempt->progress_ms = now_ms;
  attempt->step = step;
  attempt->total = total;
  out.push_back(effect::Changed{found.job->id, found.id});
  return out;
}

Effects Control::TaskDone(const std::string& worker, const std::string& wire_id, uint64_t number,
                          std::vector<Blob> results, std::vector<MadeFile> files, double seconds, int64_t now_ms) {
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
  if (FindAttempt(task, worker, number) == nullptr) {
    out.push_back(effect::SendAck{worker, wire_id, number, false, "the lease had ended"});
    return out;
  }
  if (results.size() != task.spec.wanted.size()) {
    out.push_back(effect::SendAck{worker, wire_id, number, false, "wrong number of results"});
    EraseAttempt(task, number);
    RemoveHeld(worker, found.job->id, found.id);
    task.failed_on.insert(worker);
    task.last_error =
        Cat("worker \"", worker, "\" sent ", results.size(), " results, expected ", task.spec.wanted.size());
    Requeue(*found.job, task, out);
    Schedule(out, now_ms);
    return out;
  }
  if (!Become(task.state, TaskState::kDone, wire_id, out)) return out;
  found.job->ready.erase(task.place);
  task.results = std::move(results);
  task.files = std::move(files);
  task.done_by = worker;
  task.seconds = seconds;
  RemoveHeld(worker, found.job->id, found.id);
  auto it = workers_.find(worker);
  if (it != workers_.end()) {
    ++it->second.tasks_done;
    it->second.failures_in_row = 0;
  }
  for (const std::string& name : task.failed_on) {  // what fails everywhere blames no worker
    auto failed = workers_.find(name);
    if (failed == workers_.end() || name == worker) continue;
    if (++failed->second.failures_in_row < kFailuresInRowMax || failed->second.draining) continue;
    failed->second.draining = true;
    out.push_back(effect::SendDrain{name, Cat(kFailuresInRowMax, " tasks in a row failed here that other workers ",
                                              "completed; the last: ", task.last_error)});
  }
  out.push_back(effect::RecordAccepted{found.job->id, found.id, worker, number, seconds, task.results, task.files});
  out.push_back(effect::SendAck{worker, wire_id, number, true, ""});
  for (const Attempt& other : task.attempts) {
    if (other.number == number) continue;
    if (!other.lost)
      out.push_back(effect::SendCancel{other.worker, wire_id, other.number, "another attempt was first"});
    RemoveHeld(other.worker, found.job->id, found.id);
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
                            const std::string& message, bool retry_elsewhere, int64_t now_ms) {
  Effects out;
  out.push_back(effect::SendAck{worker, wire_id, number, false, "noted"});
  Found found = Find(wire_id);
  if (found.task == nullptr || FindAttempt(*found.task, worker, number) == nullptr) return out;
  Task& task = *found.task;
  EraseAttempt(task, number);
  RemoveHeld(worker, found.job->id, found.id);
  task.last_error = message;
  if (!retry_elsewhere) {
    Become(task.state, TaskState::kFailed, wire_id, out);
    Fail(*found.job, message, JobState::kFailed, out);
  } else {
    task.failed_on.insert(worker);
    Requeue(*found.job, task, out);
  }
  Schedule(out, now_ms);
  return out;
}

Effects Control::TaskReturned(const std::string& worker, const std::string& wire_id, uint64_t number, int64_t now_ms) {
  Effects out;
  out.push_back(effect::SendAck{worker, wire_id, number, false, "taken back"});
  Found found = Find(wire_id);
  if (found.task == nullptr || FindAttempt(*found.task, worker, number) == nullptr) return out;
  EraseAttempt(*found.task, number);
  RemoveHeld(worker, found.job->id, found.id);
  --found.task->attempts_made;
  Requeue(*found.job, *found.task, out);
  Schedule(out, now_ms);
  return out;
}

void Control::Requeue(Job& job, Task& task, Effects& out) {
  if (job.ended() || task.state == TaskState::kDone || HasLive(task)) return;
  SetReady(job, task, out);
  if (static_cast<int>(task.killed.size()) >= options_.poison_workers)
    Fail(job,
         Cat(task.spec.label, ": ", task.killed.size(), " workers died over it (the last: ", *task.killed.rbegin(),
             "); see their logs, then submit again"),
         JobState::kFailed, out);
  else if (task.attempts_made >= options_.attempts_max)
    Fail(job, Cat(task.spec.label, ": given up after ", task.attempts_made, " attempts: ", task.last_error),
         JobState::kFailed, out);
  else if (NobodyCan(task))
    Fail(job, Cat(task.spec.label, ": ", task.last_error), JobState::kFailed, out);
}

// True when somebody failed at it and nobody connected is left to try.
bool Control::NobodyCan(const Task& task) const {
  if (task.failed_on.empty()) return false;
  return std::none_of(workers_.begin(), workers_.end(), [&](const auto& entry) {
    return entry.second.connected && entry.second.enabled && !task.failed_on.contains(entry.first);
  });
}

Effects Control::Tick(int64_t now_ms) {
  Effects out;
  for (const auto& [name, worker] : workers_) {  // what waited behind another task runs now
    if (!worker.connected || worker.held.empty()) continue;
    Task& first = jobs_.at(worker.held[0].first).tasks.at(worker.held[0].second);
    for (Attempt& attempt : first.attempts) {
      if (attempt.worker != name || attempt.running) continue;
      attempt.running = true;
      attempt.progress_ms = now_ms;
    }
  }
  for (auto& [job_id, job] : jobs_) {
    if (job.ended()) continue;
    for (auto& [task_id, task] : job.tasks) {
      if (task.state != TaskState::kLeased) continue;
      for (size_t i = 0; i < task.attempts.size();) {
        const Attempt attempt = task.attempts[i];
        // What was learned holds between steps alone: loading, decoding and uploading report none.
        const bool stepping = attempt.step > 0 && attempt.step < attempt.total;
        auto learned = step_ms_.find(Cat(attempt.worker, "|", job_id, "|", KindOf(task)));
        const int64_t limit =
            !stepping || learned == step_ms_.end()
                ? options_.first_step_ms_max
                : std::max(options_.hung_ms_min,
                           static_cast<int64_t>(options_.hung_factor * static_cast<double>(learned->second)));
        if (attempt.lost || !attempt.running || now_ms - attempt.progress_ms <= limit) {
          ++i;
          continue;
        }
        task.last_error =
            Cat("worker \"", attempt.worker, "\" made no progress for ", (now_ms - attempt.progress_ms) / 1000, " s");
        task.failed_on.insert(attempt.worker);
        out.push_back(effect::SendCancel{attempt.worker, WireId(job_id, task_id), attempt.number, "no progress"});
        EraseAttempt(task, attempt.number);
        RemoveHeld(attempt.worker, job_id, task_id);
        Worker& stuck = workers_[attempt.worker];
        if (!stuck.draining) {
          stuck.draining = true;
          out.push_back(effect::SendDrain{attempt.worker, "a task there makes no progress"});
        }
      }
      Requeue(job, task, out);
      if (job.ended()) break;
    }
  }
  Schedule(out, now_ms);
  return out;
}

}  // namespace atelier
