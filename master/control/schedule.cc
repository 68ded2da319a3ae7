// Who gets what: the part of the reducer that leases ready tasks. The rules are in master/policy.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <tuple>
#include <utility>
#include <vector>

#include "common/graph/input_folder.h"
#include "master/control/control.h"
#include "master/control/transitions.h"

namespace atelier {
namespace {

constexpr int kLookedAtMax = 256;          // ready tasks of one job, for one worker
constexpr int kNothingRefused = -2;        // no kind
constexpr size_t kWorkerSlots = 2;         // that a worker has (docs/protocol.md)
constexpr double kUnknownSeconds = 10;     // of a task whose kind nobody has done
constexpr double kSeatsOldSeconds = 0.25;  // of a large fleet: how old its order by speed may be
constexpr size_t kLargeFleet = 64;
constexpr size_t kSeatsMax = 1000;              // kinds with tags that are remembered
constexpr uint64_t kBlobBytesKept = 512 << 20;  // half of what a worker keeps, so that what is counted on is there
constexpr size_t kLoadedKept = 8;
constexpr int kJobsOfOneMax = 8;        // jobs of one submitter and priority that are looked at
constexpr double kFetchMatters = 0.02;  // of a task's seconds

}  // namespace

bool HasLive(const Task& task) {
  return std::any_of(task.attempts.begin(), task.attempts.end(), [](const Attempt& a) { return !a.lost; });
}

std::string Control::Unfit(const Worker& worker, const Task& task) const {
  if (!worker.connected) return "is not connected";
  if (!worker.enabled) return "is disabled";
  if (worker.draining) return "is draining";
  if (!worker.resting.empty()) return worker.resting;
  if (task.failed_on.contains(worker.info.name)) return Cat("failed at it: ", task.last_error);
  return UnfitKind(worker, task);
}

uint64_t ModelRoom(const WorkerInfo& worker) {
  constexpr uint64_t kAny = std::numeric_limits<uint64_t>::max();
  return std::min(worker.memory_bytes == 0 ? kAny : worker.memory_bytes,
                  worker.models_bytes_max == 0 ? kAny : worker.models_bytes_max);
}

std::string Control::UnfitKind(const Worker& worker, const Task& task) const {
  if (!HasTags(worker.tags, task.tags)) return Cat("does not have ", TagsText(task.tags));
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
  const auto gib = [](uint64_t bytes) {
    char text[32];
    std::snprintf(text, sizeof text, "%.1f GiB", static_cast<double>(bytes) / (1 << 30));
    return std::string(text);
  };
  // A model larger than the room for it is streamed, which is slow: only where nobody has the room.
  const uint64_t needed = task.spec.needs.model_bytes;
  if (needed > ModelRoom(worker.info) && std::any_of(workers_.begin(), workers_.end(), [&](const auto& entry) {
        const Worker& other = entry.second;
        return other.Serves() && HasTags(other.tags, task.tags) && ModelRoom(other.info) >= needed;
      }))
    return Cat("has ", gib(ModelRoom(worker.info)), " of memory for models, the largest here needs about ", gib(needed),
               ", which another worker has");
  if (task.kind != SpeedBook::kNone && worker.too_large.contains(task.kind))
    return "ran out of memory over a task of the same size";
  return "";
}

bool Control::Fits(Worker& worker, const Task& task) {
  return (task.failed_on.empty() || !task.failed_on.contains(worker.info.name)) && FitsKind(worker, task);
}

bool Control::FitsKind(Worker& worker, const Task& task) {
  if (!worker.Serves()) return false;
  if (task.kind == SpeedBook::kNone) return UnfitKind(worker, task).empty();
  if (worker.fits.size() >= kSeatsMax) worker.fits.clear();
  const auto [it, added] = worker.fits.emplace(std::pair(task.kind, task.tags), false);
  if (added) it->second = UnfitKind(worker, task).empty();
  return it->second;
}

// ---- estimates ----

// A worker asks for the next task when a node has ended, before its result is here: what it holds beyond its slots is
// on its way.
size_t Control::RunningOf(const Worker& worker) const {
  size_t running = 0;
  for (size_t i = 0; i < worker.held.size(); ++i) {
    const Task& task = jobs_.at(worker.held[i].first).tasks.at(worker.held[i].second);
    for (const Attempt& attempt : task.attempts)
      if (attempt.worker == worker.info.name && attempt.running) running = i;
  }
  const size_t taken = worker.held.size() + worker.credit;
  return std::max(running, taken > kWorkerSlots ? std::min(taken - kWorkerSlots, worker.held.size()) : 0);
}

void Control::Expect(Worker& worker, double now) {
  worker.run_ends = worker.free_at = now;
  if (worker.held.empty()) return;
  const size_t running = RunningOf(worker);
  for (size_t i = running; i < worker.held.size(); ++i) {
    const Task& task = jobs_.at(worker.held[i].first).tasks.at(worker.held[i].second);
    const auto attempt = std::find_if(task.attempts.begin(), task.attempts.end(),
                                      [&](const Attempt& a) { return a.worker == worker.info.name; });
    if (attempt == task.attempts.end()) continue;
    if (i > running) {
      worker.free_at += attempt->expected >= 0 ? attempt->expected : kUnknownSeconds;
      continue;
    }
    double ends =
        static_cast<double>(attempt->begun_ms) / 1000 + (attempt->expected >= 0 ? attempt->expected : kUnknownSeconds);
    if (attempt->step > attempt->first_step && attempt->step <= attempt->total) {
      const double each = static_cast<double>(attempt->progress_ms - attempt->first_step_ms) / 1000 /
                          (attempt->step - attempt->first_step);
      const double by_steps =
          static_cast<double>(attempt->progress_ms) / 1000 + each * (attempt->total - attempt->step);
      ends = attempt->expected >= 0 ? std::max(ends, by_steps) : by_steps;
    }
    worker.run_ends = worker.free_at = policy::StillExpected(ends, now);
  }
}

double Control::LoadSeconds(const Worker& worker, const Task& task) const {
  if (task.models.empty() || std::find(worker.loaded.begin(), worker.loaded.end(), task.models) != worker.loaded.end())
    return 0;
  return speeds_.Load(worker.speed, task.models);
}

template <typename Visit>
void Control::VisitInputs(const Job& job, const Task& task, bool crops, Visit visit) const {
  for (const Binding& binding : task.spec.bindings)
    for (const Source& source : binding.sources)
      for (const Blob& blob : ResultsOf(job, source)) visit(blob);
  if (crops && !task.stage.empty()) {
    const Stage::Tile& cut = job.stages.at(task.stage).tiles[static_cast<size_t>(task.tile)];
    for (const auto* blobs : {&cut.crops, &cut.parts})
      for (const Blob& blob : *blobs) visit(blob);
  }
  if (crops && !task.stream.empty() && !job.streams.at(task.stream).crops.empty())
    visit(job.streams.at(task.stream).crops[static_cast<size_t>(task.tile)]);
  for (const std::string& name : task.spec.input_files) {
    if (name.ends_with('/')) VisitFolder(job.inputs, name, [&](const auto& input) { visit(input.second); });
    auto input = job.inputs.find(name);
    if (input != job.inputs.end()) visit(input->second);
  }
}

uint64_t Control::MissingBytes(const Job& job, const Task& task, const Worker& worker, bool crops) const {
  uint64_t bytes = 0;
  VisitInputs(job, task, crops, [&](const Blob& blob) { bytes += worker.blobs.contains(blob.hash) ? 0 : blob.size; });
  return bytes;
}

void Control::Remember(Worker& worker, const Blob& blob) {
  if (!worker.blobs.insert(blob.hash).second) return;
  worker.blob_order.emplace_back(blob.hash, blob.size);
  worker.blob_bytes += blob.size;
  while (worker.blob_bytes > kBlobBytesKept || worker.blob_order.size() > 4096) {
    worker.blob_bytes -= worker.blob_order.front().second;
    worker.blobs.erase(worker.blob_order.front().first);
    worker.blob_order.pop_front();
  }
}

void Control::Loaded(Worker& worker, const std::string& models) {
  if (!worker.loaded.empty() && worker.loaded.front() == models) return;
  const auto it = std::find(worker.loaded.begin(), worker.loaded.end(), models);
  if (it != worker.loaded.end())
    worker.loaded.erase(it);
  else
    ++fleet_version_;
  worker.loaded.push_front(models);
  if (worker.loaded.size() > kLoadedKept) worker.loaded.pop_back();
}

std::optional<double> Control::EndsAt(const Job& job, const Task& task, const Worker& worker, double now) const {
  const std::optional<double> seconds = speeds_.Seconds(worker.speed, task.kind);
  if (!seconds) return std::nullopt;
  const double fetched = now + speeds_.Transfer(worker.speed, MissingBytes(job, task, worker, true));
  return std::max(std::max(worker.free_at, now), fetched) + LoadSeconds(worker, task) + *seconds;
}

const Control::Seats& Control::SeatsOf(const Task& task, double now) {
  std::pair key(task.kind, task.tags);
  if (seats_.size() >= kSeatsMax && !seats_.contains(key)) seats_.clear();  // submitters choose the tags
  Seats& kept = seats_[std::move(key)];
  const bool fresh =
      kept.fleet == fleet_version_ &&
      (kept.speeds == speeds_.version() || (kept.seats.size() > kLargeFleet && now - kept.made < kSeatsOldSeconds));
  if (fresh) return kept;
  kept = {fleet_version_, speeds_.version(), now, {}, false};
  for (auto& [name, worker] : workers_) {
    const auto seconds = speeds_.Seconds(worker.speed, task.kind);
    if (!seconds || !FitsKind(worker, task)) continue;
    kept.seats.push_back({&worker.free_at, std::max(*seconds, 1e-6), LoadSeconds(worker, task), &worker});
    kept.tested = kept.tested || speeds_.Tested(worker.speed, task.kind);
  }
  std::stable_sort(kept.seats.begin(), kept.seats.end(),
                   [](const policy::Seat& a, const policy::Seat& b) { return a.seconds < b.seconds; });
  return kept;
}

// ---- whose turn it is ----

void Control::NoteReady(Job& job) {
  const std::pair<int, std::string> key(-job.priority, job.submitter);
  if (!job.ready.empty() || !job.doubted.empty()) {
    ready_jobs_[key][job.sequence] = &job;
    return;
  }
  auto it = ready_jobs_.find(key);
  if (it == ready_jobs_.end()) return;
  it->second.erase(job.sequence);
  if (it->second.empty()) ready_jobs_.erase(it);
}

// Of each submitter the first few: who has many jobs does not make the others' turns slow.
std::vector<Job*> Control::JobsByTurn() {
  std::vector<std::tuple<int, double, uint64_t, Job*>> order;
  for (const auto& [key, jobs] : ready_jobs_) {
    int taken = 0;
    for (auto it = jobs.begin(); it != jobs.end() && taken < kJobsOfOneMax; ++it, ++taken)
      order.emplace_back(key.first, shares_.Turn(key.second), it->first, it->second);
  }
  std::sort(order.begin(), order.end());
  std::vector<Job*> jobs;
  for (const auto& entry : order) jobs.push_back(std::get<3>(entry));
  return jobs;
}

// Tasks that nobody has, of these jobs, counted in tasks as long as this one.
int64_t Control::Left(const std::vector<Job*>& jobs, const Task& task) const {
  double left = 0;
  const double base = speeds_.Base(task.kind);
  for (const Job* job : jobs)
    for (const auto& [kind, count] : job->open)
      left += static_cast<double>(count) * (kind == task.kind ? 1.0 : speeds_.Base(kind) / base);
  return static_cast<int64_t>(std::ceil(std::min(left, 1e9)));
}

bool Control::MayTake(Job& job, const Task& task, int64_t rank, Worker& worker, const std::vector<Job*>* others,
                      double now) {
  const std::optional<double> seconds = speeds_.Seconds(worker.speed, task.kind);
  if (!seconds) return true;  // nobody knows: whoever comes first
  if (Untried(task, worker, now)) return false;
  if (task.doubted) {
    if (std::any_of(task.attempts.begin(), task.attempts.end(),
                    [&](const Attempt& a) { return a.worker == worker.info.name; }))
      return false;
    const double ends = std::max(worker.free_at, now) + LoadSeconds(worker, task) + *seconds;
    if (!policy::WorthCopying(now, ends, SoonestEnd(task, now).at)) return false;
  }
  // The crop is missing everywhere; of what tasks share, the others may have more than this one, or less.
  const double fetch = speeds_.Transfer(worker.speed, MissingBytes(job, task, worker, false));
  std::optional<std::vector<policy::Seat>> with_fetching;
  if (fetch > kFetchMatters * *seconds && workers_.size() <= kLargeFleet) {
    with_fetching = SeatsOf(task, now).seats;
    for (policy::Seat& seat : *with_fetching) {
      const Worker& other = *static_cast<const Worker*>(seat.who);
      seat.load += speeds_.Transfer(other.speed, MissingBytes(job, task, other, false));
    }
  }
  const std::vector<policy::Seat>& seats = with_fetching ? *with_fetching : SeatsOf(task, now).seats;
  // By the figures by which the others are judged, which may be a little old: else each could wait for another.
  const auto own = std::find_if(seats.begin(), seats.end(), [&](const policy::Seat& s) { return s.who == &worker; });
  if (own == seats.end()) return false;
  const double ends = std::max(worker.free_at, now) + own->load + own->seconds;
  if (!policy::Takes(seats, &worker, now, ends, Left(others != nullptr ? *others : std::vector<Job*>{&job}, task)))
    return false;
  if (task.stage.empty() || !job.stages.at(task.stage).chained) return true;
  // Others wait for it: either nobody ends it sooner, or it can wait.
  if (policy::Takes(seats, &worker, now, ends, rank)) return true;
  const Stage& stage = job.stages.at(task.stage);
  const double fastest = seats.front().seconds;
  const auto urgency = [&](const Task& one) { return stage.urgency[static_cast<size_t>(one.tile)]; };
  const auto& front = job.doubted.empty() || (!job.ready.empty() && *job.ready.begin() < *job.doubted.begin())
                          ? *job.ready.begin()
                          : *job.doubted.begin();
  const Task& first = job.tasks.at(job.task_order[std::get<2>(front)]);
  const int longest = first.stage == task.stage ? urgency(first) : urgency(task);
  const double horizon =
      std::max(policy::SharedEnd(seats, now, static_cast<double>(stage.open)), now + longest * fastest);
  return policy::LeavesTimeForChain(ends, urgency(task), fastest, horizon);
}

// The task of a job that this worker should take. `others`: jobs whose tasks are counted as well, as they keep the
// other workers busy; null: this job alone.
Task* Control::Pick(Job& job, Worker& worker, const std::vector<Job*>* others, double now) {
  if (Task* probe = worker.held.empty() ? PickProbe(job, worker, now) : nullptr) return probe;
  int64_t rank = 0, looked = 0;
  std::pair<int, int> refused{kNothingRefused, 0};  // kind and urgency: what comes with the same is refused as well
  const bool one_kind = job.open.size() == 1;
  auto fresh = job.ready.begin();
  auto doubted = job.doubted.begin();
  while ((fresh != job.ready.end() || doubted != job.doubted.end()) && ++rank <= kLookedAtMax) {
    // What somebody does already comes after what nobody does, but for more urgent tiles of the same canvas.
    const bool again =
        fresh == job.ready.end() || (doubted != job.doubted.end() && std::get<0>(*doubted) == std::get<0>(*fresh) &&
                                     std::get<1>(*doubted) < std::get<1>(*fresh));
    const auto& entry = again ? *doubted++ : *fresh++;
    looked += again ? 0 : 1;
    if (one_kind && !again && refused.first != kNothingRefused && refused.second == std::get<1>(entry)) continue;
    Task& task = job.tasks.at(job.task_order[std::get<2>(entry)]);
    const std::pair<int, int> alike{task.kind, std::get<1>(entry)};
    if (one_kind && task.kind != SpeedBook::kNone && !FitsKind(worker, task)) return nullptr;
    if ((alike == refused && !again) || !Fits(worker, task)) continue;
    if (MayTake(job, task, rank, worker, others, now)) return &task;
    if (again) continue;
    refused = alike;
    const auto& last = *job.ready.rbegin();
    if (one_kind &&
        std::tie(std::get<0>(entry), std::get<1>(entry)) == std::tie(std::get<0>(last), std::get<1>(last))) {
      fresh = job.ready.end();  // all that is left is alike
      rank += static_cast<int64_t>(job.ready.size()) - looked;
    }
  }
  return nullptr;
}

// ---- whom nobody counts on ----

bool Control::Untried(const Task& task, const Worker& worker, double now) {
  return !speeds_.Tested(worker.speed, task.kind) && SeatsOf(task, now).tested;
}

// Of a worker of which nothing is known: the task that is missed least while it shows how fast it is.
Task* Control::PickProbe(Job& job, Worker& worker, double now) {
  int64_t looked = 0;
  for (auto it = job.ready.rbegin(); it != job.ready.rend() && ++looked <= kLookedAtMax; ++it) {
    Task& task = job.tasks.at(job.task_order[std::get<2>(*it)]);
    if (Fits(worker, task)) return Untried(task, worker, now) ? &task : nullptr;
  }
  return nullptr;
}

void Control::SetDoubted(Job& job, Task& task, bool doubted) {
  if (task.doubted == doubted) return;
  task.doubted = doubted;
  if (doubted)
    job.doubted.insert(task.rank);
  else
    job.doubted.erase(task.rank);
  const int by = doubted ? 1 : -1;
  if (!task.stage.empty()) job.stages.at(task.stage).open += by;
  if ((job.open[task.kind] += by) == 0) job.open.erase(task.kind);
  NoteReady(job);
}

bool Control::CountedOn(const Task& task, const Attempt& attempt) const {
  if (attempt.lost) return false;
  return !attempt.probe || speeds_.Tested(workers_.at(attempt.worker).speed, task.kind);
}

Control::Ending Control::SoonestEnd(const Task& task, double now) const {
  Ending soonest;
  for (const Attempt& attempt : task.attempts) {
    if (!CountedOn(task, attempt)) continue;
    const Worker& worker = workers_.at(attempt.worker);
    const double ends = attempt.running ? policy::StillExpected(worker.run_ends, now) : worker.free_at;
    if (ends < soonest.at) soonest = {ends, &worker};
  }
  return soonest;
}

// Rule 1 once more: what the others would end sooner after all is left for them. So the tile of a worker that became
// slow, or that is found to be slow, is begun anew when its turn would come, not only when somebody has nothing to do.
bool Control::Doubt(const Worker& worker, std::vector<Job*> jobs, double now) {
  const size_t running = RunningOf(worker);
  if (running >= worker.held.size()) return false;
  Job& job = jobs_.at(worker.held[running].first);
  Task& task = job.tasks.at(worker.held[running].second);
  if (job.ended() || task.state != TaskState::kLeased || !HasLive(task) || !InputsThere(job, task)) return false;
  const Ending soonest = SoonestEnd(task, now);
  bool doubted = soonest.on == nullptr;
  if (!doubted && options_.copy_tail && speeds_.Tested(soonest.on->speed, task.kind)) {
    if (std::find(jobs.begin(), jobs.end(), &job) == jobs.end()) jobs.push_back(&job);
    const double by = policy::LatestCopy(now, soonest.at);
    const int64_t left = Left(jobs, task) + (task.doubted ? 0 : 1);
    doubted = by > now && !policy::Takes(SeatsOf(task, now).seats, soonest.on, now, by, left);
  }
  const bool changed = doubted != task.doubted;
  SetDoubted(job, task, doubted);
  return changed;
}

bool Control::GiveOne(std::vector<Job*>& jobs, Worker& worker, Effects& out, int64_t now_ms) {
  const double now = static_cast<double>(now_ms) / 1000;
  Job* chosen = nullptr;
  Task* task = nullptr;
  for (const bool alone : {true, false}) {
    if (!alone && jobs.size() < 2) break;
    for (auto it = jobs.begin(); it != jobs.end() && task == nullptr; ++it) {
      chosen = *it;
      task = Pick(**it, worker, alone ? nullptr : &jobs, now);
    }
  }
  if (task == nullptr) return false;
  const bool again = task->doubted;
  if (!again) shares_.Charge(chosen->submitter, speeds_.Base(task->kind));
  Lease(*chosen, *task, worker, again, out, now_ms);
  jobs = JobsByTurn();
  return true;
}

void Control::Schedule(Effects& out, int64_t now_ms) {
  due_ = true;
  if (!when_asked_) GiveAll(out, now_ms);
}

Effects Control::Assign(int64_t now_ms) {
  Effects out;
  if (due_) GiveAll(out, now_ms);
  return out;
}

void Control::GiveAll(Effects& out, int64_t now_ms) {
  due_ = false;
  if (hungry_.empty()) return;
  std::vector<Job*> jobs = JobsByTurn();
  if (!jobs.empty()) {
    std::vector<std::pair<double, Worker*>> order;
    for (const auto& [name, worker] : hungry_)
      if (worker->Serves()) order.emplace_back(speeds_.Factor(worker->speed), worker);
    std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    // Nobody's second task goes before everybody's first.
    for (size_t held = 0, most = 0; held <= most && !jobs.empty(); ++held) {
      for (const auto& [factor, worker] : order) {
        most = std::max(most, worker->held.size());
        if (worker->credit == 0 || worker->held.size() != held) continue;
        if (jobs.empty() || !GiveOne(jobs, *worker, out, now_ms)) continue;
        if (worker->credit > 0) most = std::max(most, held + 1);
      }
    }
  }
  FillIdle(out, now_ms);
  if (!hungry_.empty()) GiveSomething(out, now_ms);
}

// While nobody does anything, nobody waits for somebody faster.
void Control::GiveSomething(Effects& out, int64_t now_ms) {
  const double now = static_cast<double>(now_ms) / 1000;
  for (const auto& [name, worker] : workers_)
    if (worker.connected && !worker.held.empty()) return;
  for (Job* job : JobsByTurn()) {
    int64_t looked = 0;
    for (const auto& entry : job->ready) {
      if (++looked > kLookedAtMax) break;
      Task& task = job->tasks.at(job->task_order[std::get<2>(entry)]);
      Worker* best = nullptr;
      double best_ends = 0;
      for (const auto& [name, worker] : hungry_) {
        if (!Fits(*worker, task)) continue;
        const double ends = EndsAt(*job, task, *worker, now).value_or(now);
        if (best != nullptr && ends >= best_ends) continue;
        best = worker;
        best_ends = ends;
      }
      if (best == nullptr) continue;
      Lease(*job, task, *best, false, out, now_ms);
      return;
    }
  }
}

void Control::Lease(Job& job, Task& task, Worker& worker, bool copy, Effects& out, int64_t now_ms) {
  const std::string id = task.spec.id;
  const double now = static_cast<double>(now_ms) / 1000;
  if (task.state != TaskState::kLeased) SetState(job, task, TaskState::kLeased, out);
  if (job.state == JobState::kQueued) Become(job.state, JobState::kRunning, job.id, out);
  Attempt attempt;
  attempt.number = (options_.epoch << kEpochShift) + next_attempt_++;
  attempt.worker = worker.info.name;
  attempt.started_ms = attempt.begun_ms = attempt.progress_ms = now_ms;
  attempt.running = attempt.alone = worker.held.empty();
  attempt.copy = copy;
  attempt.probe = Untried(task, worker, now);
  if (!copy) ++task.attempts_made;
  const bool loaded = std::find(worker.loaded.begin(), worker.loaded.end(), task.models) != worker.loaded.end();
  const bool held_same = std::any_of(worker.held.begin(), worker.held.end(), [&](const auto& held) {
    return jobs_.at(held.first).tasks.at(held.second).models == task.models;
  });
  attempt.cold = !task.models.empty() && !loaded && !held_same;
  if (const auto seconds = speeds_.Seconds(worker.speed, task.kind))
    attempt.expected = *seconds + (attempt.cold ? speeds_.Load(worker.speed, task.models) : 0);
  effect::SendLease lease{worker.info.name, job.id, WireId(job.id, id), attempt.number, &task.spec, {}, {}};
  attempt.fetched = MissingBytes(job, task, worker, true);
  VisitInputs(job, task, true, [&](const Blob& blob) { Remember(worker, blob); });
  SetDoubted(job, task, attempt.probe ? !copy || task.doubted : false);
  task.attempts.push_back(std::move(attempt));
  SetCredit(worker, worker.credit - 1);
  worker.held.emplace_back(job.id, id);
  Expect(worker, now);
  for (const Binding& binding : task.spec.bindings) {
    ResolvedBinding resolved{binding.node, binding.input, {}, binding.gather};
    for (const Source& source : binding.sources)
      for (Blob& blob : ResultsOf(job, source)) resolved.blobs.push_back(std::move(blob));
    lease.bindings.push_back(std::move(resolved));
  }
  if (!task.stage.empty()) {
    const Stage& stage = job.stages.at(task.stage);
    const Stage::Tile& cut = stage.tiles[static_cast<size_t>(task.tile)];
    lease.bindings.push_back({stage.spec.node, stage.spec.crop_input, cut.crops, cut.crops.size() > 1});
    for (size_t i = 0; i < cut.parts.size(); ++i)
      lease.bindings.push_back({stage.spec.pictures[i].node, stage.spec.pictures[i].input, {cut.parts[i]}, false});
  }
  if (!task.stream.empty()) {
    const Stream& stream = job.streams.at(task.stream);
    if (!stream.crops.empty())
      lease.bindings.push_back({stream.spec.node, "image", {stream.crops[static_cast<size_t>(task.tile)]}, false});
  }
  for (const std::string& name : task.spec.input_files) {
    if (name.ends_with('/')) VisitFolder(job.inputs, name, [&](const auto& input) { lease.inputs.push_back(input); });
    auto input = job.inputs.find(name);
    if (input != job.inputs.end()) lease.inputs.emplace_back(name, input->second);
  }
  out.push_back(std::move(lease));
  out.push_back(effect::Changed{job.id, id});
}

}  // namespace atelier
