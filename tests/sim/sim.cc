#include "tests/sim/sim.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <queue>
#include <set>

#include "common/base/check.h"
#include "master/control/chains.h"
#include "master/control/control.h"
#include "master/control/tile_stage.h"
#include "master/planner/planner.h"
#include "tests/unit/planner/catalog_for_tests.h"

namespace atelier::sim {
namespace {

constexpr uint32_t kSlots = 2;  // as worker/session
constexpr int kTile = 64;
constexpr const char* kModel = "m.safetensors";

TileStage PlanJob(const SimJob& job, const TileSplit& split) {
  const Json settings{{"tile_width", kTile},
                      {"tile_height", kTile},
                      {"padding", 8},
                      {"mask_blur", 4},
                      {"mode_type", job.mode},
                      {"seam_fix_mode", "None"},
                      {"force_uniform_tiles", true}};
  auto stage = PlanTileStage(settings, split, job.order, false, job.columns * kTile, job.rows * kTile);
  ATELIER_CHECK(stage.ok());
  return std::move(*stage);
}

const Catalog& SimCatalog() {
  static const auto* const catalog = new Catalog(TestCatalog());
  return *catalog;
}

Plan PlanOf(const SimJob& job) {
  auto plan = MakePlan(TiledPrompt(), {"5"}, SimCatalog(), {1, job.order});
  ATELIER_CHECK(plan.ok());
  // Jobs of other work are of another kind.
  for (StageSpec& stage : plan->stages) {
    stage.tile.kind += Cat("*", job.work);
    stage.tile.needs.model_bytes = job.model_bytes;
  }
  return std::move(*plan);
}

const TileSplit& SplitOf() { return *SimCatalog().Find("Tiled")->tiles; }

class World {
 public:
  explicit World(const Scenario& scenario) : scenario_(scenario), random_(scenario.seed) {
    outcome_.seconds.assign(scenario.jobs.size(), -1);
    outcome_.errors.resize(scenario.jobs.size());
    open_ = static_cast<int64_t>(scenario.jobs.size());
    outcome_.first_lease_ms.assign(scenario.workers.size(), kNever);
    outcome_.drained_ms.assign(scenario.workers.size(), kNever);
    workers_.resize(scenario.workers.size());
    ControlOptions options;
    options.hung_ms_min = scenario.hung_ms_min;
    options.steal_queued = scenario.steal;
    options.copy_tail = scenario.copy;
    options.poison_workers = 1000;
    options.attempts_max = 1000;
    control_ = std::make_unique<Control>(options, LearnedBefore());
    for (size_t w = 0; w < workers_.size(); ++w) {
      const SimWorker& worker = scenario.workers[w];
      At(worker.joins_ms, [this, w] { Attach(w); });
      if (worker.dies_ms != kNever) At(worker.dies_ms, [this, w] { Die(w); });
    }
    for (size_t j = 0; j < scenario.jobs.size(); ++j) At(scenario.jobs[j].at_ms, [this, j] { Submit(j); });
    At(1000, [this] { Tick(); });
  }

  Outcome Go(int64_t limit_ms) {
    while (!events_.empty() && open_ > 0 && now_ <= limit_ms) {
      auto event = events_.top();
      events_.pop();
      now_ = event.at;
      (*event.work)();
    }
    for (size_t j = 0; j < outcome_.seconds.size() && outcome_.why.empty(); ++j)
      if (outcome_.seconds[j] < 0) outcome_.why = control_->WhyWaiting(Id(j));
    return std::move(outcome_);
  }

 private:
  struct Held {
    std::string task;
    uint64_t attempt = 0;
    size_t results = 0;
    bool tile = false;
    bool fetched = false, running = false;
    double work = 0;
  };
  struct Fake {
    bool up = false, loaded = false;
    std::deque<std::shared_ptr<Held>> held;  // not yet computed; the first may run
    double line_free_ms = 0;
    bool shared = false;
  };
  struct Event {
    int64_t at;
    uint64_t order;
    std::shared_ptr<std::function<void()>> work;
    bool operator<(const Event& other) const { return std::pair(at, order) > std::pair(other.at, other.order); }
  };

  static std::string Name(size_t w) { return Cat("w", w < 10 ? "0" : "", w); }
  static std::string Id(size_t j) { return Cat("j", j); }
  static size_t Index(const std::string& name) { return static_cast<size_t>(std::stoi(name.substr(1))); }

  void At(int64_t at, std::function<void()> work) {
    events_.push({std::max(at, now_), ++order_, std::make_shared<std::function<void()>>(std::move(work))});
  }
  void In(double seconds, std::function<void()> work) {
    At(now_ + static_cast<int64_t>(std::llround(seconds * 1000)), std::move(work));
  }

  SpeedBook LearnedBefore() {
    SpeedBook book;
    for (const SimJob& job : scenario_.jobs) {
      const Plan plan = PlanOf(job);
      SimJob small = job;
      small.columns = small.rows = 2;
      const int kind = book.Acquire(TaskKind(plan.stages[0].tile, PlanJob(small, SplitOf()).graph.tiles[0].shape));
      for (size_t w = 0; w < scenario_.workers.size(); ++w)
        if (scenario_.workers[w].known)
          book.Observe(book.Worker(Name(w), "cpu "), kind, scenario_.workers[w].tile_seconds * job.work, false);
      book.Release(kind);
    }
    return book;
  }

  void Submit(size_t j) {
    const SimJob& job = scenario_.jobs[j];
    Carry(control_->AddJob({Id(j), job.submitter, job.priority, PlanOf(job), {"5"}, {}, {}}, now_));
  }

  void Attach(size_t w) {
    const SimWorker& worker = scenario_.workers[w];
    workers_[w] = {};
    workers_[w].up = true;
    WorkerInfo info;
    info.name = Name(w);
    info.instance = Cat(Name(w), "@", now_);
    info.device = "cpu";
    info.memory_bytes = worker.memory_bytes;
    static const auto catalog = std::make_shared<const Catalog>(TestCatalog());
    info.catalog = catalog;
    auto inventory = std::make_shared<Inventory>();
    inventory->files["checkpoints"] = {kModel};
    info.inventory = inventory;
    instances_[w] = info.instance;
    Carry(control_->WorkerAttached(info, {}, now_));
    Carry(control_->WorkerPulls(Name(w), kSlots, now_));
  }

  void Die(size_t w) {
    workers_[w] = {};
    Carry(control_->WorkerLost(Name(w), instances_[w], now_, true));
  }

  void Tick() {
    Carry(control_->Tick(now_));
    if (open_ > 0) At(now_ + 1000, [this] { Tick(); });
  }

  bool Hangs(size_t w) const {
    return scenario_.workers[w].hangs_ms != kNever && now_ >= scenario_.workers[w].hangs_ms;
  }

  // ---- the worker's side ----

  void Receive(size_t w, std::shared_ptr<Held> held) {
    Fake& worker = workers_[w];
    if (!worker.up || Hangs(w)) return;
    worker.held.push_back(held);
    uint64_t bytes = held->tile ? scenario_.crop_bytes : 0;
    if (held->tile && !worker.shared) bytes += scenario_.shared_bytes;
    worker.shared |= held->tile;
    const double begin = std::max(worker.line_free_ms, static_cast<double>(now_));
    worker.line_free_ms = begin + 1000.0 * static_cast<double>(bytes) / scenario_.workers[w].bytes_per_second;
    In((worker.line_free_ms - static_cast<double>(now_)) / 1000, [this, w, held] {
      held->fetched = true;
      Begin(w);
    });
  }

  void Begin(size_t w) {
    Fake& worker = workers_[w];
    if (worker.held.empty() || Hangs(w)) return;
    std::shared_ptr<Held> held = worker.held.front();
    if (!held->fetched || held->running) return;
    held->running = true;
    Progress(w, *held, 0, 0);
    const SimWorker& self = scenario_.workers[w];
    const double load = held->tile && !worker.loaded ? self.load_seconds : 0;
    worker.loaded |= held->tile;
    double seconds = held->work * self.tile_seconds;
    seconds *= 1 + self.noise * (2 * std::uniform_real_distribution<double>()(random_) - 1);
    // Half of loading is seen by the node that loads, half while the first step runs.
    Step(w, held, 0, load, seconds, now_);
  }

  void Step(size_t w, const std::shared_ptr<Held>& held, int step, double load, double seconds, int64_t begun) {
    const SimWorker& self = scenario_.workers[w];
    const double slower = self.drifts_ms != kNever && now_ >= self.drifts_ms ? self.drift : 1;
    const int steps = held->tile ? scenario_.steps : 1;
    In(seconds * slower / steps + (step == 0 ? load : 0), [this, w, held, step, steps, load, seconds, begun] {
      Fake& worker = workers_[w];
      if (worker.held.empty() || worker.held.front() != held || Hangs(w)) return;
      if (held->tile) Progress(w, *held, step + 1, steps);
      if (step + 1 < steps) {
        Step(w, held, step + 1, load, seconds, begun);
        return;
      }
      worker.held.pop_front();
      const double took = static_cast<double>(now_ - begun) / 1000;
      Pull(w, 1);
      const double upload =
          held->tile ? static_cast<double>(scenario_.crop_bytes) / scenario_.workers[w].bytes_per_second : 0;
      const std::string instance = instances_[w];
      In(upload + scenario_.latency_seconds, [this, w, held, took, load, instance] {
        if (!workers_[w].up || instances_[w] != instance) return;
        Trace("done", w, held->task);
        std::vector<Blob> results;
        for (size_t i = 0; i < held->results; ++i) results.push_back({Cat(held->task, "#", i), scenario_.crop_bytes});
        Carry(control_->TaskDone(Name(w), held->task, held->attempt, std::move(results), {}, took, now_, load / 2));
      });
      Begin(w);
    });
  }

  void Progress(size_t w, const Held& held, int step, int total) {
    Carry(control_->TaskProgress(Name(w), held.task, held.attempt, static_cast<uint32_t>(step),
                                 static_cast<uint32_t>(total), now_));
  }

  void Pull(size_t w, uint32_t count) {
    const std::string instance = instances_[w];
    In(scenario_.latency_seconds, [this, w, count, instance] {
      if (workers_[w].up && instances_[w] == instance) Carry(control_->WorkerPulls(Name(w), count, now_));
    });
  }

  void Cancel(size_t w, const std::string& task, uint64_t attempt) {
    Fake& worker = workers_[w];
    if (!worker.up || Hangs(w)) return;
    const auto it = std::find_if(worker.held.begin(), worker.held.end(),
                                 [&](const auto& held) { return held->attempt == attempt; });
    if (it == worker.held.end()) return;
    worker.held.erase(it);
    Carry(control_->TaskReturned(Name(w), task, attempt, now_));
    Pull(w, 1);
    Begin(w);
  }

  // ---- the master's surroundings ----

  void Trace(const char* what, size_t w, const std::string& task) const {
    if (!scenario_.trace) return;
    const Worker& worker = control_->workers().at(Name(w));
    std::printf("%9.3f %-6s %s (%.3f s a tile) %s, free at %.3f\n", static_cast<double>(now_) / 1000, what,
                Name(w).c_str(), scenario_.workers[w].tile_seconds * scenario_.jobs[0].work, task.c_str(),
                worker.free_at);
  }

  void Carry(Effects effects) {
    for (Effect& any : effects) {
      if (auto* lease = std::get_if<effect::SendLease>(&any)) {
        const size_t w = Index(lease->worker), j = Index(lease->job);
        Trace("lease", w, lease->task);
        if (outcome_.first_lease_ms[w] == kNever) outcome_.first_lease_ms[w] = now_;
        auto held = std::make_shared<Held>();
        held->task = lease->task;
        held->attempt = lease->attempt;
        held->results = lease->spec->wanted.size();
        held->tile = lease->spec->label.starts_with("tile ");
        held->work = held->tile ? scenario_.jobs[j].work : 0.0001;
        ++outcome_.leases;
        const Task& task = control_->jobs().at(lease->job).tasks.at(lease->spec->id);
        outcome_.copies += task.attempts.size() > 1 ? 1 : 0;
        In(scenario_.latency_seconds, [this, w, held, instance = instances_[w]] {
          if (instances_[w] == instance) Receive(w, held);
        });
      } else if (auto* cancel = std::get_if<effect::SendCancel>(&any)) {
        Trace("cancel", Index(cancel->worker), cancel->task);
        In(scenario_.latency_seconds,
           [this, w = Index(cancel->worker), task = cancel->task, a = cancel->attempt] { Cancel(w, task, a); });
      } else if (auto* open = std::get_if<effect::OpenCanvas>(&any)) {
        At(now_, [this, o = *open] {
          Carry(control_->CanvasOpened(o.job, o.stage, PlanJob(scenario_.jobs[Index(o.job)], o.split).graph, now_));
        });
      } else if (auto* cut = std::get_if<effect::CutTile>(&any)) {
        At(now_, [this, c = *cut] {
          Carry(control_->TileCut(c.job, c.stage, c.tile, {{Cat("crop", c.job, ".", c.tile), scenario_.crop_bytes}},
                                  now_));
        });
      } else if (auto* paste = std::get_if<effect::PasteTile>(&any)) {
        ++outcome_.pasted;
        ATELIER_CHECK(paste->pixels.size == scenario_.crop_bytes);
      } else if (auto* close = std::get_if<effect::CloseCanvas>(&any)) {
        if (close->keep)
          At(now_, [this, c = *close] { Carry(control_->CanvasClosed(c.job, c.stage, {"canvas", 1000}, now_)); });
      } else if (auto* save = std::get_if<effect::SaveOutputs>(&any)) {
        const size_t j = Index(save->job);
        outcome_.seconds[j] = static_cast<double>(now_ - scenario_.jobs[j].at_ms) / 1000;
        At(now_, [this, id = save->job] {
          Carry(control_->JobSaved(id, now_));
          control_->ForgetJob(id);
          --open_;
        });
      } else if (auto* end = std::get_if<effect::EndJob>(&any)) {
        outcome_.errors[Index(end->job)] = end->error;
        --open_;
      } else if (auto* drain = std::get_if<effect::SendDrain>(&any)) {
        outcome_.drained_ms[Index(drain->worker)] = now_;
      } else if (std::get_if<effect::Refused>(&any) != nullptr) {
        ++outcome_.refused;
      }
    }
  }

  const Scenario& scenario_;
  std::mt19937_64 random_;
  std::unique_ptr<Control> control_;
  std::vector<Fake> workers_;
  std::map<size_t, std::string> instances_;
  std::priority_queue<Event> events_;
  uint64_t order_ = 0;
  int64_t now_ = 0;
  int64_t open_ = 0;  // jobs that have not ended
  Outcome outcome_;
};

// Runs tiles by a rule that names the next tile for a worker that is free (or -1: none now); the end of the last.
double ListSchedule(const Scenario& scenario,
                    const std::function<int(size_t worker, const std::set<int>& ready)>& next) {
  const SimJob& job = scenario.jobs[0];
  std::vector<std::vector<int>> waits = Waits(job);
  std::vector<std::vector<int>> followers(waits.size());
  std::vector<size_t> missing(waits.size());
  std::set<int> ready;
  for (size_t t = 0; t < waits.size(); ++t) {
    missing[t] = waits[t].size();
    for (const int earlier : waits[t]) followers[static_cast<size_t>(earlier)].push_back(static_cast<int>(t));
    if (missing[t] == 0) ready.insert(static_cast<int>(t));
  }
  std::set<std::tuple<double, size_t, int>> running;
  std::set<size_t> free;
  for (size_t w = 0; w < scenario.workers.size(); ++w) free.insert(w);
  double now = 0;
  for (size_t done = 0; done < waits.size();) {
    for (auto it = free.begin(); it != free.end();) {
      const int tile = next(*it, ready);
      if (tile < 0) {
        ++it;
        continue;
      }
      ready.erase(tile);
      running.emplace(now + job.work * scenario.workers[*it].tile_seconds, *it, tile);
      it = free.erase(it);
    }
    if (running.empty()) return std::numeric_limits<double>::infinity();
    const auto [end, worker, tile] = *running.begin();
    running.erase(running.begin());
    now = end;
    free.insert(worker);
    ++done;
    for (const int follower : followers[static_cast<size_t>(tile)])
      if (--missing[static_cast<size_t>(follower)] == 0) ready.insert(follower);
  }
  return now;
}

}  // namespace

Outcome Run(const Scenario& scenario, int64_t limit_ms) {
  World world(scenario);
  return world.Go(limit_ms);
}

std::vector<std::vector<int>> Waits(const SimJob& job) {
  const TileStage stage = PlanJob(job, SplitOf());
  std::vector<std::vector<int>> waits;
  for (const StageGraph::Tile& tile : stage.graph.tiles) waits.push_back(tile.cut_after);
  return waits;
}

double LowerBound(const Scenario& scenario) {
  const SimJob& job = scenario.jobs[0];
  const auto waits = Waits(job);
  std::vector<int> chain(waits.size(), 1);
  int longest = 1;
  for (size_t t = 0; t < waits.size(); ++t) {
    for (const int earlier : waits[t]) chain[t] = std::max(chain[t], chain[static_cast<size_t>(earlier)] + 1);
    longest = std::max(longest, chain[t]);
  }
  double rate = 0, fastest = std::numeric_limits<double>::infinity();
  for (const SimWorker& worker : scenario.workers) {
    rate += 1 / (worker.tile_seconds * job.work);
    fastest = std::min(fastest, worker.tile_seconds * job.work);
  }
  return std::max(static_cast<double>(waits.size()) / rate, longest * fastest);
}

double WholeTilesBound(const Scenario& scenario) {
  const SimJob& job = scenario.jobs[0];
  double low = 0, high = 0;
  const int tiles = job.columns * job.rows;
  for (const SimWorker& worker : scenario.workers) high = std::max(high, worker.tile_seconds * job.work * tiles);
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    int64_t done = 0;
    for (const SimWorker& worker : scenario.workers)
      done += static_cast<int64_t>(middle / (worker.tile_seconds * job.work) + 1e-9);
    (done >= tiles ? high : low) = middle;
  }
  return high;
}

double EqualSplit(const Scenario& scenario) {
  const int tiles = scenario.jobs[0].columns * scenario.jobs[0].rows;
  const size_t workers = scenario.workers.size();
  return ListSchedule(scenario, [&](size_t worker, const std::set<int>& ready) {
    for (const int tile : ready) {  // worker w has the w-th part of the tiles
      if (static_cast<size_t>(tile) * workers / static_cast<size_t>(tiles) == worker) return tile;
    }
    return -1;
  });
}

double EarliestFinish(const Scenario& scenario) {
  const StageGraph graph = PlanJob(scenario.jobs[0], SplitOf()).graph;
  std::vector<double> seconds;
  for (const SimWorker& worker : scenario.workers) seconds.push_back(worker.tile_seconds * scenario.jobs[0].work);
  return policy::EarliestFinish(CutAfter(graph), ChainsFrom(graph), seconds);
}

double PlainPull(const Scenario& scenario) {
  return ListSchedule(scenario, [](size_t, const std::set<int>& ready) { return ready.empty() ? -1 : *ready.begin(); });
}

}  // namespace atelier::sim
