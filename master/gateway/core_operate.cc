// What an administrator sees and changes while the core runs: settings, health, figures.
#include <sys/statvfs.h>

#include <algorithm>
#include <future>

#include "common/rpc/protocol.h"
#include "master/gateway/core.h"

namespace atelier {
namespace {

constexpr int64_t kAnswerMsMax = 2'000;   // a probe waits no longer for the control thread
constexpr int64_t kSilentMsMax = 30'000;  // a control thread that has not ticked for so long hangs

int64_t FreeBytes(const std::string& folder) {
  struct statvfs disk {};
  if (statvfs(folder.c_str(), &disk) != 0) return -1;
  return static_cast<int64_t>(disk.f_bavail) * static_cast<int64_t>(disk.f_frsize);
}

// States of jobs, tasks and workers as they are counted.
struct Counts {
  std::map<std::string, uint64_t> jobs, tasks, workers;
  uint64_t leases = 0, ready = 0;
};

}  // namespace

std::shared_ptr<const ClusterConfig> Core::config() {
  std::lock_guard lock(mutex_);
  return config_;
}

ControlOptions Core::ControlOptionsOf(const ClusterConfig& config) const {
  ControlOptions control;
  const ClusterConfig::Scheduling& scheduling = config.scheduling;
  control.attempts_max = static_cast<int>(scheduling.attempts_max);
  control.poison_workers = static_cast<int>(scheduling.poison_workers);
  control.hung_factor = scheduling.hung_factor;
  control.shares = ParseShares(scheduling.shares).value_or(std::map<std::string, double>());
  control.hung_ms_min = static_cast<int64_t>(scheduling.hung_seconds_min * 1000);
  return control;
}

void Core::Reconfigure(const ClusterConfig& config) {
  queue_.Run([&] {
    {
      std::lock_guard lock(mutex_);
      config_ = std::make_shared<const ClusterConfig>(config);
    }
    control_->SetOptions(ControlOptionsOf(config));
    hub_->SetRate(static_cast<uint64_t>(config.models.bytes_per_second));
    KeepTags();
    KeepSchedules();
    for (const auto& [name, worker] : control_->workers())
      if (worker.connected) KeepSettings(name);
  });
}

void Core::SetConfiguredWorkers(std::vector<std::string> enabled, std::vector<std::string> disabled) {
  queue_.Run([&] {
    std::map<std::string, bool> now;
    for (const std::string& name : enabled) now[name] = true;
    for (const std::string& name : disabled) now[name] = false;
    // What the file did not change stays as `atelier workers` left it.
    for (const auto& [name, on] : now) {
      auto before = configured_.find(name);
      if (before != configured_.end() && before->second == on) continue;
      RememberWorker(name, on);
      Apply(control_->SetWorkerEnabled(name, on, NowMs()));
    }
    for (const auto& [name, on] : configured_) {
      if (now.contains(name)) continue;
      Apply(control_->DrainWorker(name, "it was taken out of the configuration", NowMs()));
      Apply(control_->SetWorkerEnabled(name, false, NowMs()));
      RememberWorker(name, false);
      worker_notes_[name] = "taken out of the configuration";
      local_workers_.erase(name);
    }
    configured_ = std::move(now);
    KeepTags();
    StoreKnownWorkers();
  });
}

LogFields Core::About(const std::string& job, const std::string& task, uint64_t attempt, const std::string& worker) {
  auto open = open_.find(job);
  return {job, task, attempt, worker, open == open_.end() ? "" : open->second.trace};
}

void Core::Carry(const effect::Refused& refused) {
  ++figures_.refused_transitions;
  LogError("a change of state was refused: ", refused.what, "; please report this line");
}

void Core::CountEnd(const JobRecord& record) {
  ++(record.state == "done"     ? figures_.jobs_done
     : record.state == "failed" ? figures_.jobs_failed
                                : figures_.jobs_cancelled);
  figures_.job_seconds.Observe(record.seconds);
}

Core::Health Core::CheckHealth() {
  Health health;
  const int64_t silent_ms = NowMs() - last_tick_ms_;
  health.alive = silent_ms < kSilentMsMax;
  health.ready = health.alive;
  const auto fault = [&](const std::string& line) {
    health.ready = false;
    health.text += line + "\n";
  };
  if (!health.alive) fault(Cat("the control thread has not answered for ", silent_ms / 1000, " s"));
  if (draining_) fault("the master is ending");
  const int64_t free = FreeBytes(options_.state_dir), least = config()->limits.disk_free_bytes_min;
  if (free >= 0 && free < least)
    fault(Cat("the disk of the state folder has ", free >> 20, " MiB free, limits.disk_free_bytes_min is ", least >> 20,
              " MiB"));
  if (health.text.empty()) health.text = "ok\n";
  return health;
}

std::string Core::MetricsPage() {
  // The control thread may be busy: the answer waits a little, its work may come later and must own what it writes.
  auto promise = std::make_shared<std::promise<Counts>>();
  std::future<Counts> future = promise->get_future();
  const bool posted = queue_.Post([this, promise] {
    Counts counts;
    for (const char* state : {"queued", "running", "saving"}) counts.jobs[state] = 0;
    for (const char* state : {"waiting", "ready", "leased", "done"}) counts.tasks[state] = 0;
    for (const char* state : {"connected", "draining", "resting", "starting", "offline", "disabled"})
      counts.workers[state] = 0;
    for (const auto& [id, job] : control_->jobs()) {
      if (job.ended()) continue;
      ++counts.jobs[Name(job.state)];
      counts.ready += job.ready.size();
      for (const auto& [task_id, task] : job.tasks) {
        ++counts.tasks[Name(task.state)];
        for (const Attempt& attempt : task.attempts) counts.leases += attempt.lost ? 0 : 1;
      }
    }
    for (const auto& [name, worker] : control_->workers()) ++counts.workers[DescribeWorker(name, worker).state()];
    promise->set_value(std::move(counts));
  });
  MetricsText out;
  out.Gauge("atelier_build_info", "Always 1; the labels tell the version.", 1,
            {{"version", kProgramVersion}, {"protocol", std::to_string(kProtocolVersion)}});
  const Health health = CheckHealth();
  out.Gauge("atelier_ready", "1 when jobs are accepted.", health.ready ? 1 : 0);
  if (posted && future.wait_for(std::chrono::milliseconds(kAnswerMsMax)) == std::future_status::ready) {
    const Counts counts = future.get();
    for (const auto& [state, count] : counts.jobs)
      out.Gauge("atelier_jobs", "Jobs that have not ended, by state.", static_cast<double>(count), {{"state", state}});
    for (const auto& [state, count] : counts.tasks)
      out.Gauge("atelier_tasks", "Tasks of those jobs, by state.", static_cast<double>(count), {{"state", state}});
    for (const auto& [state, count] : counts.workers)
      out.Gauge("atelier_workers", "Workers, by state.", static_cast<double>(count), {{"state", state}});
    out.Gauge("atelier_leases", "Attempts that workers hold.", static_cast<double>(counts.leases));
    out.Gauge("atelier_queue_depth", "Tasks that wait for a worker.", static_cast<double>(counts.ready));
  }
  const auto counter = [&](const char* name, const char* help, const std::atomic<uint64_t>& value,
                           const MetricsText::Labels& labels = {}) {
    out.Counter(name, help, static_cast<double>(value.load()), labels);
  };
  CoreFigures& f = figures_;
  counter("atelier_jobs_accepted_total", "Jobs accepted since the start.", f.jobs_accepted);
  for (const auto& [state, value] : {std::pair<const char*, const std::atomic<uint64_t>*>("done", &f.jobs_done),
                                     {"failed", &f.jobs_failed},
                                     {"cancelled", &f.jobs_cancelled}})
    counter("atelier_jobs_ended_total", "Jobs ended since the start, by state.", *value, {{"state", state}});
  counter("atelier_leases_total", "Attempts given out.", f.leases);
  counter("atelier_results_total", "Results accepted.", f.results);
  counter("atelier_task_failures_total", "Attempts that a worker reported as failed.", f.failures);
  counter("atelier_task_returns_total", "Attempts that a worker handed back.", f.returned);
  counter("atelier_other_bytes_total", "Late results that differed from the accepted one.", f.other_bytes);
  counter("atelier_workers_lost_total", "Streams of workers that ended.", f.workers_lost);
  counter("atelier_refused_transitions_total", "Changes of state that the table forbids; any is a bug.",
          f.refused_transitions);
  counter("atelier_jobs_forgotten_total", "Ended jobs removed by retention.", f.jobs_forgotten);
  counter("atelier_blobs_removed_total", "Blobs removed because nothing needed them.", f.blobs_removed);
  for (const auto& [result, value] : {std::pair<const char*, const std::atomic<uint64_t>*>("taken", &f.reloads_taken),
                                      {"refused", &f.reloads_refused}})
    counter("atelier_config_reloads_total", "Readings of a changed configuration.", *value, {{"result", result}});
  out.Counter("atelier_model_bytes_sent_total", "Bytes of model files that the master gave to workers.",
              static_cast<double>(hub_->sent()));
  out.Counter("atelier_model_chunks_relayed_total", "Chunks that came from a worker through the master.",
              static_cast<double>(hub_->chunks_relayed()));
  out.Histogram("atelier_job_seconds", "Acceptance to end of a job.", f.job_seconds.Read());
  out.Histogram("atelier_task_seconds", "Execution of an accepted task.", f.task_seconds.Read());
  out.Histogram("atelier_commit_seconds", "Making accepted results durable.", f.commit_seconds.Read());
  out.Gauge("atelier_blobs", "Blobs on disk, as of the last look (once a minute).", static_cast<double>(f.blobs));
  out.Gauge("atelier_blobs_bytes", "Their bytes.", static_cast<double>(f.blobs_bytes));
  out.Gauge("atelier_disk_free_bytes", "Free space of the state folder's disk.",
            static_cast<double>(std::max<int64_t>(0, FreeBytes(options_.state_dir))));
  out.Process();
  return out.Take();
}

}  // namespace atelier
