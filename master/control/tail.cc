// What idle workers do when no task is ready for them: they take what waits elsewhere, or try what runs elsewhere as
// well. And why a job waits.
#include <algorithm>
#include <vector>

#include "master/control/control.h"

namespace atelier {
namespace {

constexpr size_t kCandidatesMax = 64;     // looked at for one idle worker
constexpr double kUntestedSeconds = 1e6;  // an end that is not known

}  // namespace

// What busy workers hold, the latest end first.
std::vector<Control::Candidate> Control::Candidates(double now) {
  std::vector<Candidate> all;
  for (auto& [name, busy] : workers_) {
    if (busy.held.empty()) continue;
    const size_t running = RunningOf(busy);
    double ends = policy::StillExpected(busy.run_ends, now);
    for (size_t i = running; i < busy.held.size(); ++i) {
      Job& job = jobs_.at(busy.held[i].first);
      Task& task = job.tasks.at(busy.held[i].second);
      if (i > running) ends += speeds_.Seconds(busy.speed, task.kind).value_or(0);
      const auto own = std::find_if(task.attempts.begin(), task.attempts.end(),
                                    [&worker = name](const Attempt& attempt) { return attempt.worker == worker; });
      if (job.ended() || own == task.attempts.end()) continue;
      if (std::any_of(task.attempts.begin(), task.attempts.end(),
                      [&](const Attempt& other) { return other.number != own->number && CountedOn(task, other); }))
        continue;
      if (!InputsThere(job, task)) continue;
      double chain = 0;
      if (!task.stage.empty())
        chain = (job.stages.at(task.stage).urgency[static_cast<size_t>(task.tile)] - 1) *
                speeds_.Seconds(busy.speed, task.kind).value_or(0);
      const bool runs = i == running || own->running;
      // On a worker of which nothing is known it may take any time.
      if (runs && !speeds_.Tested(busy.speed, task.kind)) ends = std::max(ends, now + kUntestedSeconds);
      if (runs ? options_.copy_tail : options_.steal_queued)
        all.push_back({ends, ends + chain, runs, &job, &task, name});
    }
  }
  std::stable_sort(all.begin(), all.end(), [](const Candidate& a, const Candidate& b) { return a.weight > b.weight; });
  return all;
}

void Control::FillIdle(Effects& out, int64_t now_ms) {
  const double now = static_cast<double>(now_ms) / 1000;
  std::vector<std::pair<double, Worker*>> idle;
  for (const auto& [name, worker] : hungry_)
    if (worker->held.empty() && worker->Serves()) idle.emplace_back(speeds_.Factor(worker->speed), worker);
  if (idle.empty()) return;
  std::vector<Candidate> candidates = Candidates(now);
  if (candidates.empty()) return;
  std::stable_sort(idle.begin(), idle.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [factor, worker] : idle) {
    size_t looked = 0;
    for (auto it = candidates.begin(); it != candidates.end() && ++looked <= kCandidatesMax; ++it) {
      if (!Fits(*worker, *it->task)) continue;
      const std::optional<double> ends = EndsAt(*it->job, *it->task, *worker, now);
      const bool pays = !ends      ? !it->runs
                        : it->runs ? policy::WorthCopying(now, *ends, it->ends)
                                   : policy::WorthMoving(now, *ends, it->ends);
      if (!pays) continue;
      const bool copies = it->runs || Untried(*it->task, *worker, now);  // nothing is taken away for one not known
      if (!copies) {
        const auto attempt = std::find_if(it->task->attempts.begin(), it->task->attempts.end(),
                                          [&](const Attempt& a) { return a.worker == it->worker; });
        out.push_back(effect::SendCancel{it->worker, WireId(it->job->id, it->task->spec.id), attempt->number,
                                         "an idle worker takes it"});
        if (!attempt->copy) --it->task->attempts_made;
        it->task->attempts.erase(attempt);
        RemoveHeld(it->worker, it->job->id, it->task->spec.id, now_ms);
      }
      Lease(*it->job, *it->task, *worker, copies, out, now_ms);
      candidates.erase(it);
      break;
    }
  }
}

Control::Tagged Control::WithTags(const Tags& tags) const {
  Tagged found;
  for (const auto& [name, worker] : workers_) {
    if (!HasTags(worker.tags, tags)) continue;
    found.attached += worker.connected ? 1 : 0;
    found.names += Cat(found.names.empty() ? "" : ", ", name);
  }
  if (found.names.empty()) found.names = "none";
  return found;
}

std::string Control::WhyWaiting(const std::string& id) const {
  auto it = jobs_.find(id);
  if (it == jobs_.end() || it->second.ended()) return "";
  const Job& job = it->second;
  if (job.state == JobState::kSaving || job.ready.empty()) return "";
  for (const auto& [task_id, task] : job.tasks)
    if (HasLive(task)) return "";
  const Task& task = job.tasks.at(job.task_order[std::get<2>(*job.ready.begin())]);
  if (workers_.empty()) return "no worker has ever attached: start one with `atelier-worker --master HOST:PORT`";
  std::string why;
  if (const Tagged tagged = WithTags(task.tags); !task.tags.empty() && tagged.attached == 0)
    return Cat("no attached worker has ", TagsText(task.tags), "; workers with it: ", tagged.names);
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
