#include "master/control/control.h"

#include <algorithm>

#include "common/base/check.h"
#include "master/control/transitions.h"

namespace atelier {
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
  job.tags = std::move(made.tags);
  job.sequence = next_sequence_++;
  job.plan.replicas = made.plan.replicas;
  job.plan.tiles = made.plan.tiles;
  job.plan.compat = made.plan.compat;
  job.inputs = std::move(made.inputs);
  job.output_order = std::move(made.output_order);
  job.accepted_ms = now_ms;
  job.replanned = made.replanned;
  shares_.Enter(job.submitter);
  for (TaskSpec& spec : made.plan.tasks) {
    Task task;
    task.spec = std::move(spec);
    job.models.insert(task.spec.needs.models.begin(), task.spec.needs.models.end());
    task.rank = {job.task_order.size(), 0, job.task_order.size()};
    auto restored = made.restored.find(task.spec.id);
    const bool done = restored != made.restored.end();
    if (done) {
      task.results = std::move(restored->second.results);
      task.files = std::move(restored->second.files);
      made.restored.erase(restored);
    }
    AddTask(job, std::move(task), "", done, out);
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
    job.models.insert(spec.window.needs.models.begin(), spec.window.needs.models.end());
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
  Fail(it->second, "cancelled", JobState::kCancelled, out, now_ms);
  Schedule(out, now_ms);
  return out;
}

void Control::ForgetJob(const std::string& id) {
  auto it = jobs_.find(id);
  if (it == jobs_.end()) return;
  std::set<int> kinds;
  for (const auto& [task_id, task] : it->second.tasks) {
    speeds_.Release(task.kind);
    kinds.insert(task.kind);
  }
  for (const int kind : kinds) {  // the number may mean another kind from now on
    if (speeds_.InUse(kind)) continue;
    const auto of_kind = [kind](const auto& entry) { return entry.first.first == kind; };
    std::erase_if(seats_, of_kind);
    for (auto& [name, worker] : workers_) {
      std::erase_if(worker.fits, of_kind);
      worker.too_large.erase(kind);
      if (worker.cold.first == kind) worker.cold = {SpeedBook::kNone, 0};
    }
  }
  shares_.Leave(it->second.submitter);
  jobs_.erase(it);
}

void Control::AddTask(Job& job, Task task, const std::string& shape, bool done, Effects& out) {
  for (const auto& [folder, name] : task.spec.needs.models)
    task.models += Cat(task.models.empty() ? "" : ", ", folder, "/", name);
  // Of a checkpoint each kind of task loads other parts.
  if (!task.models.empty()) task.models += Cat("|", task.spec.kind);
  if (!task.spec.kind.empty()) task.kind = speeds_.Acquire(TaskKind(task.spec, shape));
  task.tags = job.tags;
  task.place = job.task_order.size();
  const std::string id = task.spec.id;
  job.task_order.push_back(id);
  Task& added = job.tasks.emplace(id, std::move(task)).first->second;
  Count(job, added, added.state, 1);
  if (done) SetState(job, added, TaskState::kDone, out);
}

// A job's sums over its tasks.
void Control::Count(Job& job, const Task& task, TaskState state, int by) {
  const bool tile = !task.stage.empty();
  const auto put = [by](auto& set, const auto& value) {
    if (by > 0)
      set.insert(value);
    else
      set.erase(value);
  };
  if (state == TaskState::kDone) job.done += static_cast<size_t>(by);
  if (state == TaskState::kReady) {
    put(job.ready, task.rank);
    NoteReady(job);
  }
  if (state == TaskState::kWaiting && !tile) put(job.waiting, task.place);
  if (state != TaskState::kReady && !(state == TaskState::kWaiting && tile)) return;
  if (tile) job.stages.at(task.stage).open += by;
  if ((job.open[task.kind] += by) == 0) job.open.erase(task.kind);
}

bool Control::SetState(Job& job, Task& task, TaskState next, Effects& out) {
  const TaskState before = task.state;
  SetDoubted(job, task, false);
  if (!Become(task.state, next, WireId(job.id, task.spec.id), out)) return false;
  Count(job, task, before, -1);
  Count(job, task, next, 1);
  return true;
}

std::string TaskKind(const TaskSpec& spec, const std::string& shape) {
  std::string key;
  for (const auto& [folder, name] : spec.needs.models) key += Cat(folder, "/", name, ";");
  return Cat(key, "|", spec.kind, "|", shape);
}

void Control::Fail(Job& job, const std::string& message, JobState state, Effects& out, int64_t now_ms) {
  if (job.ended() || !Become(job.state, state, job.id, out)) return;
  job.error = message;
  job.ready.clear();
  job.doubted.clear();
  NoteReady(job);
  for (auto& [id, task] : job.tasks) {
    for (const Attempt& attempt : task.attempts) {
      if (!attempt.lost) out.push_back(effect::SendCancel{attempt.worker, WireId(job.id, id), attempt.number, message});
      RemoveHeld(attempt.worker, job.id, id, now_ms);
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
  Fail(it->second, message, JobState::kFailed, out, now_ms);
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
  for (const std::string& id : stream->second.tasks) {
    const Task& task = job.tasks.at(id);
    if (!task.results.empty()) windows.push_back(task.results[0]);
  }
  return windows;
}

bool Control::BindingsDone(const Job& job, const std::vector<Binding>& bindings) const {
  // From the end: what was planned last is mostly done last, and a thousand replicas are asked for at each result.
  for (auto binding = bindings.rbegin(); binding != bindings.rend(); ++binding)
    for (auto source = binding->sources.rbegin(); source != binding->sources.rend(); ++source)
      if (!IsDone(job, source->task)) return false;
  return true;
}

bool Control::InputsThere(const Job& job, const Task& task) const {
  return task.stage.empty() ? BindingsDone(job, task.spec.bindings)
                            : !job.stages.at(task.stage).tiles[static_cast<size_t>(task.tile)].crops.empty();
}

void Control::SetReady(Job& job, Task& task, Effects& out) {
  // TileCut makes a tile ready. After a restart the windows that another task takes are made anew, so that it waits
  // again.
  const TaskState next = InputsThere(job, task) ? TaskState::kReady : TaskState::kWaiting;
  if (task.state != next) SetState(job, task, next, out);
}

void Control::Advance(Job& job, Effects& out, int64_t) {
  if (job.ended() || job.state == JobState::kSaving) return;
  OpenStreams(job, out);
  std::vector<Task*> ready;
  for (const size_t place : job.waiting) {
    Task& task = job.tasks.at(job.task_order[place]);
    if (BindingsDone(job, task.spec.bindings)) ready.push_back(&task);
  }
  for (Task* task : ready) SetReady(job, *task, out);
  bool all_done =
      job.done == job.tasks.size() && std::all_of(job.streams.begin(), job.streams.end(),
                                                  [](const auto& s) { return s.second.state == Stream::State::kDone; });
  for (auto& [id, stage] : job.stages) {
    all_done &= stage.state == Stage::State::kDone;
    if (stage.state != Stage::State::kWaiting || !BindingsDone(job, stage.spec.bindings) ||
        !BindingsDone(job, stage.spec.tile.bindings) || !BindingsDone(job, stage.spec.measures) ||
        !BindingsDone(job, stage.spec.pictures))
      continue;
    effect::OpenCanvas open{job.id,
                            id,
                            job.plan.tiles,
                            job.plan.compat == "documented",
                            stage.spec.split,
                            {},
                            stage.spec.tile.nodes.at(stage.spec.node).at("inputs"),
                            {},
                            PicturesOf(job, stage)};
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
}  // namespace atelier
