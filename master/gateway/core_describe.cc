// What the core tells: jobs, tasks, workers, logs, events.
#include <algorithm>
#include <set>

#include "common/files/models.h"
#include "master/gateway/core.h"
#include "master/gateway/unix_ms.h"

namespace atelier {
namespace {

constexpr size_t kLogSubjectsMax = 512;

void AddOutputs(const std::vector<SavedOutput>& outputs, v1::Job& job) {
  for (const SavedOutput& from : outputs) {
    v1::Output& out = *job.add_outputs();
    out.set_node(from.node);
    out.set_path(from.path);
    out.set_type(from.type);
    out.set_subfolder(from.subfolder);
    out.set_filename(from.filename);
    out.set_batch_index(from.batch_index);
  }
}

}  // namespace

v1::Task Core::DescribeTask(const Job& job, const std::string& id) {
  v1::Task out;
  auto it = job.tasks.find(id);
  if (it == job.tasks.end()) return out;
  const Task& task = it->second;
  out.set_id(id);
  out.set_state(Name(task.state));
  out.set_label(task.spec.label);
  out.set_attempts(static_cast<uint32_t>(std::max(0, task.attempts_made)));
  out.set_seconds(task.seconds);
  out.set_worker(task.done_by);
  for (const Attempt& attempt : task.attempts) {
    if (attempt.lost) continue;
    out.set_worker(attempt.worker);
    out.set_step(attempt.step);
    out.set_total(attempt.total);
  }
  return out;
}

v1::Job Core::DescribeRecord(const JobRecord& record, bool with_tasks) {
  v1::Job job;
  job.set_id(record.id);
  job.set_name(record.name);
  job.set_state(record.state);
  job.set_error(record.error);
  job.set_replicas(static_cast<uint32_t>(record.replicas));
  job.set_tiles(record.tiles);
  job.set_created_unix_ms(static_cast<uint64_t>(record.created_unix_ms));
  job.set_seconds(record.ended_unix_ms != 0 ? record.seconds
                                            : static_cast<double>(UnixMs() - record.created_unix_ms) / 1000.0);
  if (record.ended_unix_ms == 0) return job;
  auto outputs = store_->GetOutputs(record.id);
  if (outputs.ok()) AddOutputs(*outputs, job);
  auto tasks = store_->GetAcceptedTasks(record.id);
  if (!tasks.ok()) return job;
  job.set_tasks_total(static_cast<uint32_t>(tasks->size()));
  job.set_tasks_done(static_cast<uint32_t>(tasks->size()));
  if (!with_tasks) return job;
  if (auto settings = ParseJson(record.settings_json); settings.ok()) {
    job.set_trace_id(settings->value("trace", ""));
    for (const std::string& tag : settings->value("tags", Tags())) job.add_tags(tag);
  }
  for (const AcceptedTask& from : *tasks) {
    v1::Task& task = *job.add_tasks();
    task.set_id(from.task_id);
    task.set_state("done");
    task.set_worker(from.worker);
    task.set_seconds(from.seconds);
  }
  return job;
}

v1::Job Core::DescribeJob(const Job& job, bool with_tasks) {
  auto info = open_.find(job.id);
  v1::Job out = info == open_.end() ? v1::Job() : DescribeRecord(info->second.record, with_tasks);
  if (info != open_.end() && info->second.record.ended_unix_ms == 0) {
    out.set_state(Name(job.state) == std::string("saving") ? "running" : Name(job.state));
  }
  if (job.ended() && info != open_.end() && info->second.record.ended_unix_ms != 0) return out;
  out.set_tasks_total(static_cast<uint32_t>(job.tasks.size()));
  uint32_t done = 0;
  for (const auto& [id, task] : job.tasks) done += task.state == TaskState::kDone ? 1 : 0;
  out.set_tasks_done(done);
  out.set_waiting(control_->WhyWaiting(job.id));
  if (info != open_.end()) out.set_trace_id(info->second.trace);
  for (const std::string& tag : job.tags) out.add_tags(tag);
  if (!job.ended())
    for (const Control::MissingModel& lack : control_->MissingModels(job.id)) {
      v1::MissingModel& missing = *out.add_missing();
      missing.set_worker(lack.worker);
      missing.set_folder(lack.folder);
      missing.set_name(lack.name);
      missing.set_outlook(hub_->Outlook(lack.worker, {lack.folder, lack.name}, config()->models.share));
    }
  if (with_tasks)
    for (const std::string& id : job.task_order) *out.add_tasks() = DescribeTask(job, id);
  return out;
}

StatusOr<v1::Job> Core::GetJob(const std::string& id) {
  StatusOr<v1::Job> found = NotFound("no job \"", id, "\"; see `atelier jobs`");
  queue_.Run([&] {
    Commit();
    auto open = control_->jobs().find(id);
    if (open != control_->jobs().end()) {
      found = DescribeJob(open->second, true);
      return;
    }
    auto record = store_->GetJob(id);
    if (record.ok()) found = DescribeRecord(*record, true);
  });
  return found;
}

StatusOr<v1::Job> Core::CancelJob(const std::string& id) {
  queue_.Run([&] { Apply(control_->CancelJob(id, NowMs())); });
  return GetJob(id);
}

StatusOr<v1::ListJobsReply> Core::ListJobs(uint32_t limit) {
  v1::ListJobsReply reply;
  Status status;
  queue_.Run([&] {
    Commit();
    auto records = store_->ListJobs(limit == 0 ? 100 : limit);
    if (!records.ok()) {
      status = records.status();
      return;
    }
    for (const JobRecord& record : *records) {
      auto open = control_->jobs().find(record.id);
      *reply.add_jobs() =
          open != control_->jobs().end() ? DescribeJob(open->second, false) : DescribeRecord(record, false);
    }
  });
  RETURN_IF_ERROR(status);
  return reply;
}

v1::Worker Core::DescribeWorker(const std::string& name, const Worker& worker) {
  v1::Worker out;
  out.set_name(name);
  out.set_local(local_workers_.contains(name));
  out.set_state(!worker.enabled    ? "disabled"
                : worker.connected ? (worker.draining           ? "draining"
                                      : !worker.resting.empty() ? "resting"
                                                                : "connected")
                : out.local()      ? "starting"
                                   : "offline");
  out.set_device(worker.info.device);
  out.set_device_name(worker.info.device_name);
  out.set_memory_bytes(worker.info.memory_bytes);
  out.set_version(worker.info.version);
  for (const auto& [job, task] : worker.held) out.add_running(Control::WireId(job, task));
  out.set_tasks_done(worker.tasks_done);
  auto note = worker_notes_.find(name);
  if (note != worker_notes_.end())
    out.set_note(note->second);
  else if (out.state() == "resting")
    out.set_note(worker.resting);
  for (const std::string& tag : worker.tags) out.add_tags(tag);
  return out;
}

v1::ListWorkersReply Core::ListWorkers() {
  v1::ListWorkersReply reply;
  queue_.Run([&] {
    for (const auto& [name, worker] : control_->workers()) *reply.add_workers() = DescribeWorker(name, worker);
  });
  return reply;
}

StatusOr<v1::Worker> Core::ControlWorker(const std::string& name, const std::string& action) {
  if (action != "enable" && action != "disable" && action != "drain")
    return InvalidArgument("action \"", action, "\" is none of enable, disable, drain");
  StatusOr<v1::Worker> result = NotFound("no worker \"", name, "\"; see `atelier workers`");
  queue_.Run([&] {
    if (!control_->workers().contains(name)) return;
    if (action == "drain") {
      Apply(control_->DrainWorker(name, "asked for", NowMs()));
    } else {
      RememberWorker(name, action == "enable");
      StoreKnownWorkers();
      Apply(control_->SetWorkerEnabled(name, action == "enable", NowMs()));
    }
    result = DescribeWorker(name, control_->workers().at(name));
  });
  return result;
}

void Core::ForgetWorker(const std::string& name) {
  queue_.Run([&] {
    if (known_workers_.erase(name) == 0) return;
    told_tags_.erase(name);
    worker_notes_[name] = "was forgotten; it joins again with a new token";
    known_changed_ = true;
    StoreKnownWorkers();
  });
}

StatusOr<std::string> Core::CatalogJson(const std::string& type) {
  const std::shared_ptr<const Catalog> known = catalog();
  if (type.empty()) return DumpJson(known->ToJson());
  const NodeSpec* spec = known->Find(type);
  if (spec == nullptr) return NotFound("no node type \"", type, "\"; `atelier nodes` lists them");
  return DumpJson(ToJson(*spec));
}

Inventory Core::UsableInventory() {
  Inventory all = ScanModels(options_.model_roots);
  std::map<std::string, std::set<std::string>> joined;
  for (auto& [folder, names] : all.files) joined[folder].insert(names.begin(), names.end());
  std::lock_guard lock(mutex_);
  for (const auto& [worker, inventory] : inventories_)
    for (const auto& [folder, names] : inventory->files) joined[folder].insert(names.begin(), names.end());
  for (auto& [folder, names] : joined) all.files[folder].assign(names.begin(), names.end());
  return all;
}

std::string Core::InventoryJson() {
  std::map<std::string, std::map<std::string, std::set<std::string>>> table;
  for (const auto& [folder, names] : ScanModels(options_.model_roots).files)
    for (const std::string& name : names) table[folder][name].insert("master");
  {
    std::lock_guard lock(mutex_);
    for (const auto& [worker, inventory] : inventories_)
      for (const auto& [folder, names] : inventory->files)
        for (const std::string& name : names) table[folder][name].insert(worker);
  }
  Json json = Json::object();
  for (const auto& [folder, names] : table) {
    Json list = Json::array();
    for (const auto& [name, who] : names) list.push_back({{"name", name}, {"workers", who}});
    json[folder] = std::move(list);
  }
  return DumpJson(json);
}

// ---- logs and events ----

void Core::AddLog(const std::string& subject, const std::string& line) {
  std::lock_guard lock(mutex_);
  if (logs_.size() >= kLogSubjectsMax && !logs_.contains(subject)) logs_.erase(logs_.begin());
  auto& lines = logs_[subject];
  lines.push_back(line);
  while (lines.size() > static_cast<size_t>(config_->limits.log_lines_max)) lines.pop_front();
}

std::vector<std::string> Core::Logs(const std::string& subject, uint32_t lines) {
  std::lock_guard lock(mutex_);
  auto it = logs_.find(subject);
  if (it == logs_.end()) return {};
  const size_t count = lines == 0 ? it->second.size() : std::min<size_t>(lines, it->second.size());
  return {it->second.end() - static_cast<std::ptrdiff_t>(count), it->second.end()};
}

void Core::Notify(const std::string& job_id, const std::string& task, const std::string& preview,
                  const std::string& log) {
  std::vector<std::shared_ptr<Watcher>> listeners;
  {
    std::lock_guard lock(mutex_);
    std::erase_if(watchers_, [](const auto& weak) { return weak.expired(); });
    for (auto& weak : watchers_) {
      auto watcher = weak.lock();
      if (watcher != nullptr && (watcher->job().empty() || watcher->job() == job_id))
        listeners.push_back(std::move(watcher));
    }
  }
  if (listeners.empty()) return;
  v1::JobEvent event;
  auto open = control_->jobs().find(job_id);
  if (open != control_->jobs().end()) {
    *event.mutable_job() = DescribeJob(open->second, false);
    if (!task.empty()) *event.mutable_task() = DescribeTask(open->second, task);
    event.set_worker(event.task().worker());
  } else {
    auto record = store_->GetJob(job_id);
    if (record.ok()) *event.mutable_job() = DescribeRecord(*record, false);
  }
  event.set_preview(preview);
  event.set_log(log);
  const bool waits = batch_ || !batch_status_.ok();
  for (auto& watcher : listeners) {
    if (waits)
      batch_events_.emplace_back(watcher, event);
    else
      watcher->Push(event, event.has_task());
  }
}

StatusOr<std::shared_ptr<Watcher>> Core::Watch(const std::string& job) {
  auto watcher = std::make_shared<Watcher>(job);
  Status status;
  queue_.Run([&] {
    Commit();
    if (!job.empty()) {
      v1::JobEvent event;
      auto open = control_->jobs().find(job);
      if (open != control_->jobs().end()) {
        *event.mutable_job() = DescribeJob(open->second, false);
      } else {
        auto record = store_->GetJob(job);
        if (!record.ok()) {
          status = NotFound("no job \"", job, "\"; see `atelier jobs`");
          return;
        }
        *event.mutable_job() = DescribeRecord(*record, false);
      }
      watcher->Push(std::move(event), false);
    }
    std::lock_guard lock(mutex_);
    watchers_.push_back(watcher);
  });
  RETURN_IF_ERROR(status);
  return watcher;
}

}  // namespace atelier
