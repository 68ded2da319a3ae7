// The master's brain: a reducer over jobs, tasks, tiles, workers and attempts. No threads, clocks, files, sockets or
// chance: time comes in with each event, and everything to be done goes out as effects, so the whole runs in a test or
// a simulator.
//
// Laws (tests/unit/control): an accepted task is never leased again; of any number of attempts exactly one result is
// accepted; a task is leased only when all it needs is accepted; tiles are pasted in tile order and cut as the order
// (exact, independent) says, so the canvas never depends on who finished first.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/graph/schema.h"
#include "master/control/effects.h"
#include "master/state/plan.h"

namespace atelier {

struct ControlOptions {
  uint64_t epoch = 1;                   // grows with every start of the master; the high part of attempt numbers
  int64_t first_step_ms_max = 600'000;  // an attempt without any progress for so long is hung (model loading included)
  int64_t hung_ms_min = 10'000;         // never called hung sooner
  double hung_factor = 5.0;             // times the longest gap between steps seen for the same kind of task
  int attempts_max = 6;
  int poison_workers = 2;    // a task that kills so many different workers fails its job
  bool steal_queued = true;  // a task queued behind another goes to an idle worker
};

/// What a worker told about itself.
struct WorkerInfo {
  std::string name, instance, device, device_name, version;
  uint64_t memory_bytes = 0;
  std::shared_ptr<const Catalog> catalog;
  std::shared_ptr<const Inventory> inventory;
};
struct Held {
  std::string task;
  uint64_t attempt = 0;
  bool finished = false;
  bool running = false;  // else it waits behind another
};

/// One try at a task.
struct Attempt {
  uint64_t number = 0;
  std::string worker;
  int64_t started_ms = 0;
  int64_t progress_ms = 0;  // last sign of progress
  bool running = false;     // told of progress, or first in its worker's queue
  bool lost = false;        // its worker's stream is gone; the result is still welcome
  uint32_t step = 0, total = 0;
};

enum class TaskState { kWaiting, kReady, kLeased, kDone, kFailed };
const char* Name(TaskState state);

struct Task {
  TaskSpec spec;
  std::string stage;   // of a tile
  int tile = -1;
  std::string stream;  // of a window of frames
  size_t place = 0;  // in Job::task_order
  TaskState state = TaskState::kWaiting;
  std::vector<Attempt> attempts;  // still welcome
  int attempts_made = 0;
  std::set<std::string> failed_on;  // workers that could not do it
  std::set<std::string> killed;     // workers that died over it
  std::string last_error;
  std::vector<Blob> results;
  std::vector<MadeFile> files;
  std::string done_by;
  double seconds = 0;
};

/// Whether some attempt's worker is connected. Thread: any.
bool HasLive(const Task& task);

/// Attempt numbers of one epoch before they would meet the next one's: 16 million.
inline constexpr int kEpochShift = 24;

/// The dependency graph of one canvas's steps (tiles, or batches of tiles that are redrawn together); made by
/// common/image/tiles.h from the canvas size and the node's settings.
struct StageGraph {
  struct Tile {
    Json hidden;                       // crop and process geometry for the tile node
    std::vector<int> cut_after;        // must be pasted before this one is cut
    std::vector<int> paste_after_cut;  // must be cut before this one is pasted
    std::vector<int> paste_after;      // must be pasted before this one is pasted
  };
  std::vector<Tile> tiles;
};

struct Stage {
  enum class State { kWaiting, kOpening, kRunning, kClosing, kDone };
  struct Tile {
    bool cut_asked = false, paste_asked = false;  // in this order the canvas's one thread does them
    std::vector<Blob> crops;                      // once cut, one of each tile
    std::string task;
  };
  StageSpec spec;
  State state = State::kWaiting;
  StageGraph graph;
  std::vector<Tile> tiles;
  std::vector<std::vector<int>> waits;  // tile -> later tiles that look at it
  std::vector<int> urgency;             // tile -> tiles of the longest chain that begins with it, by cut_after
  size_t pasted = 0;                    // asked for
  Blob result;
};

/// Windows of frames, all of them tasks; done when each has its result.
struct Stream {
  enum class State { kWaiting, kOpening, kRunning, kDone };
  StreamSpec spec;
  State state = State::kWaiting;
  std::vector<std::string> tasks;
  std::vector<Blob> crops;  // of a batch: the pictures of each window
  size_t left = 0;          // windows without a result
};

enum class JobState { kQueued, kRunning, kSaving, kDone, kFailed, kCancelled };
const char* Name(JobState state);

struct Job {
  std::string id;
  std::string submitter;
  int priority = 0;
  uint64_t sequence = 0;  // order of acceptance
  Plan plan;              // specs move into tasks and stages
  std::map<std::string, Blob> inputs;
  std::set<std::pair<std::string, std::string>> models;  // folder, name: all that its tasks need
  std::map<std::string, Task> tasks;
  std::map<std::string, Stage> stages;
  std::map<std::string, Stream> streams;
  std::vector<std::string> task_order;  // leasing order; tiles of one canvas go by urgency first
  std::set<size_t> ready;               // places in task_order
  std::map<std::string, std::pair<std::vector<Blob>, std::vector<MadeFile>>> restored;  // of tiles and windows not yet planned
  std::vector<std::string> output_order;
  JobState state = JobState::kQueued;
  std::string error;
  int64_t accepted_ms = 0;
  bool replanned = false;
  bool ended() const { return state == JobState::kDone || state == JobState::kFailed || state == JobState::kCancelled; }
};

struct Worker {
  WorkerInfo info;
  bool connected = false;
  bool enabled = true;
  bool draining = false;
  uint32_t credit = 0;                                    // tasks it is willing to hold more
  std::vector<std::pair<std::string, std::string>> held;  // (job, task), in the order of leasing
  uint64_t tasks_done = 0;
  int failures_in_row = 0;  // tasks that others may complete
};

/// REQUIRES of every method: one thread. now_ms: any clock that never goes back.
class Control {
 public:
  explicit Control(ControlOptions options) : options_(options) {}
  /// Bounds and factors from now on; the epoch stays.
  void SetOptions(const ControlOptions& options) {
    const uint64_t epoch = options_.epoch;
    options_ = options;
    options_.epoch = epoch;
  }

  /// A job was stored. `restored`: results accepted before a restart, by task (or stage) id.
  struct Restored {
    std::vector<Blob> results;
    std::vector<MadeFile> files;
  };
  struct NewJob {
    std::string id, submitter;
    int priority = 0;
    Plan plan;
    std::vector<std::string> output_order;
    std::map<std::string, Blob> inputs;
    std::map<std::string, Restored> restored;
    bool replanned = false;  // planned differently before a restart: attempts of then are worth nothing
  };
  Effects AddJob(NewJob job, int64_t now_ms);
  Effects CancelJob(const std::string& id, int64_t now_ms);

  Effects WorkerAttached(WorkerInfo info, const std::vector<Held>& held, int64_t now_ms);
  /// The stream of exactly this process ended.
  Effects WorkerLost(const std::string& name, const std::string& instance, int64_t now_ms);
  Effects WorkerPulls(const std::string& name, uint32_t count, int64_t now_ms);
  Effects WorkerInventory(const std::string& name, std::shared_ptr<const Inventory> inventory, int64_t now_ms);
  Effects WorkerCatalog(const std::string& name, std::shared_ptr<const Catalog> catalog, int64_t now_ms);
  Effects SetWorkerEnabled(const std::string& name, bool enabled, int64_t now_ms);
  Effects DrainWorker(const std::string& name, const std::string& reason, int64_t now_ms);

  Effects TaskProgress(const std::string& worker, const std::string& task, uint64_t attempt, uint32_t step,
                       uint32_t total, int64_t now_ms);
  Effects TaskDone(const std::string& worker, const std::string& task, uint64_t attempt, std::vector<Blob> results,
                   std::vector<MadeFile> files, double seconds, int64_t now_ms);
  Effects TaskFailed(const std::string& worker, const std::string& task, uint64_t attempt, const std::string& message,
                     bool retry_elsewhere, int64_t now_ms);
  Effects TaskReturned(const std::string& worker, const std::string& task, uint64_t attempt, int64_t now_ms);

  Effects CanvasOpened(const std::string& job, const std::string& stage, StageGraph graph, int64_t now_ms);
  Effects TileCut(const std::string& job, const std::string& stage, int tile, std::vector<Blob> crops, int64_t now_ms);
  Effects TilePasted(const std::string& job, const std::string& stage, int tile, int64_t now_ms);
  Effects CanvasClosed(const std::string& job, const std::string& stage, Blob result, int64_t now_ms);
  /// The windows of a stream are known: `frames` in windows of `window`; of a batch `crops` has the pictures of each.
  Effects StreamOpened(const std::string& job, const std::string& stream, int64_t frames, int64_t window,
                       std::vector<Blob> crops, int64_t now_ms);
  /// Work on the master itself failed: canvas, blobs or outputs.
  Effects JobBroke(const std::string& job, const std::string& message, int64_t now_ms);
  Effects JobSaved(const std::string& job, int64_t now_ms);
  /// Finds hung attempts. Call about once a second.
  Effects Tick(int64_t now_ms);

  /// Ended jobs are dropped by the caller once it has stored them.
  void ForgetJob(const std::string& id);

  const std::map<std::string, Job>& jobs() const { return jobs_; }
  const std::map<std::string, Worker>& workers() const { return workers_; }
  /// A file that a connected and enabled worker lacks.
  struct MissingModel {
    std::string worker, folder, name;
  };
  /// Of all that a job needs.
  std::vector<MissingModel> MissingModels(const std::string& job) const;
  /// What to bring so that tasks that wait find a worker: for each ready task that is left after scheduling at most
  /// one idle worker that lacks nothing but models.
  std::vector<MissingModel> ModelsToBring() const;
  /// Why nothing of this job runs, per worker; empty when something does.
  std::string WhyWaiting(const std::string& job) const;
  /// Tasks are named "JOB/TASK" on the wire.
  static std::string WireId(const std::string& job, const std::string& task) { return job + "/" + task; }

 private:
  struct Found {
    Job* job = nullptr;
    Task* task = nullptr;
    std::string id;
  };
  Found Find(const std::string& wire_id);
  bool IsDone(const Job& job, const std::string& source) const;
  Blob ResultOf(const Job& job, const Source& source) const;
  std::vector<Blob> ResultsOf(const Job& job, const Source& source) const;
  bool BindingsDone(const Job& job, const std::vector<Binding>& bindings) const;
  void Advance(Job& job, Effects& out, int64_t now_ms);
  void OpenStreams(Job& job, Effects& out);
  void CheckTiles(Job& job, Stage& stage, std::deque<int> check, Effects& out);
  void Fail(Job& job, const std::string& message, JobState state, Effects& out);
  void SetReady(Job& job, Task& task, Effects& out);
  /// Back to ready when no attempt is left; fails the job when it was tried or killed too often, or nobody can do it.
  void Requeue(Job& job, Task& task, Effects& out);
  void RemoveHeld(const std::string& worker, const std::string& job, const std::string& task);
  /// "" when the worker can take the task, else why not.
  std::string Unfit(const Worker& worker, const Task& task) const;
  void Schedule(Effects& out, int64_t now_ms);
  void Lease(Job& job, Task& task, const std::string& id, Worker& worker, Effects& out, int64_t now_ms);
  bool StealFor(Worker& worker, Effects& out, int64_t now_ms);
  std::vector<Job*> JobsByPriority();
  bool NobodyCan(const Task& task) const;

  ControlOptions options_;
  std::map<std::string, Job> jobs_;
  std::map<std::string, Worker> workers_;
  std::map<std::string, int64_t> step_ms_;  // longest gap between steps, by kind of task
  uint64_t next_attempt_ = 1;
  uint64_t next_sequence_ = 1;
};

}  // namespace atelier
