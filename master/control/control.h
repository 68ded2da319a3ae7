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
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "common/base/tags.h"
#include "common/graph/schema.h"
#include "master/control/effects.h"
#include "master/policy/placement.h"
#include "master/policy/shares.h"
#include "master/policy/speeds.h"
#include "master/state/plan.h"

namespace atelier {

struct ControlOptions {
  uint64_t epoch = 1;                   // grows with every start of the master; the high part of attempt numbers
  int64_t first_step_ms_max = 600'000;  // an attempt without any progress for so long is hung (model loading included)
  int64_t hung_ms_min = 10'000;         // never called hung sooner
  double hung_factor = 3.0;             // times the learned gap between steps of the same kind of task
  int attempts_max = 6;
  int poison_workers = 2;                // a task that kills so many different workers fails its job
  bool steal_queued = true;              // a task queued behind another goes to an idle worker
  bool copy_tail = true;                 // an idle worker that would end a running task sooner tries it as well
  std::map<std::string, double> shares;  // weights of submitters; others have 1
};

/// What a worker told about itself.
struct WorkerInfo {
  std::string name, instance, device, device_name, version;
  uint64_t memory_bytes = 0;      // of the device; 0: not told
  uint64_t models_bytes_max = 0;  // its own limit for models; 0: none
  std::shared_ptr<const Catalog> catalog;
  std::shared_ptr<const Inventory> inventory;
};
/// Bytes of models that it may hold at once; the most there are when it told nothing.
uint64_t ModelRoom(const WorkerInfo& worker);
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
  int64_t begun_ms = 0;     // when it began to run; REQUIRES: running
  int64_t progress_ms = 0;  // last sign of progress
  bool running = false;     // told of progress, or first in its worker's queue
  bool lost = false;        // its worker's stream is gone; the result is still welcome
  bool told = false;        // of any progress
  bool alone = false;       // its worker held nothing else when it was leased
  bool copy = false;        // a second one beside another that runs
  bool probe = false;       // the first of its kind on a worker of which nothing was known, while others are known
  bool cold = false;        // its models were not loaded there
  double expected = -1;     // seconds from begin to end, loading included; < 0: not known
  uint64_t fetched = 0;     // bytes of inputs that its worker did not have
  uint32_t step = 0, total = 0;
  uint32_t first_step = 0;  // of the present run of steps, with its time
  int64_t first_step_ms = 0;
};

enum class TaskState { kWaiting, kReady, kLeased, kDone, kFailed };
const char* Name(TaskState state);

struct Task {
  TaskSpec spec;
  std::string stage;  // of a tile
  int tile = -1;
  std::string stream;  // of a window of frames
  size_t place = 0;    // in Job::task_order
  /// Where it stands among the ready ones: its canvas's first place, then urgency, then place.
  std::tuple<size_t, int, size_t> rank;
  int kind = SpeedBook::kNone;
  Tags tags;           // of its job
  std::string models;  // all of them in one text; "": none
  TaskState state = TaskState::kWaiting;
  bool doubted = false;           // REQUIRES: kLeased. No attempt at it is counted on: it is left as a ready one is
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

/// The text under which a task's speed is learned: its models and what its cost depends on. `shape`: of a tile,
/// StageGraph::Tile::shape. Thread: any.
std::string TaskKind(const TaskSpec& spec, const std::string& shape);

/// Attempt numbers of one epoch before they would meet the next one's: 16 million.
inline constexpr int kEpochShift = 24;

/// The dependency graph of one canvas's steps (tiles, or batches of tiles that are redrawn together); made by
/// common/image/tiles.h from the canvas size and the node's settings.
struct StageGraph {
  struct Tile {
    Json hidden;                       // crop and process geometry for the tile node
    std::string shape;                 // what its cost depends on
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
    std::vector<Blob> parts;                      // with them, one of each of StageSpec::pictures
    std::string task;
  };
  StageSpec spec;
  State state = State::kWaiting;
  StageGraph graph;
  std::vector<Tile> tiles;
  std::vector<std::vector<int>> waits;  // tile -> later tiles that look at it
  std::vector<int> urgency;             // tile -> tiles of the longest chain that begins with it, by cut_after
  bool chained = false;                 // some urgency is above 1
  size_t pasted = 0;                    // asked for
  int64_t open = 0;                     // tiles whose tasks are waiting, ready or doubted
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
  Tags tags;              // that a worker must have to get its tasks
  uint64_t sequence = 0;  // order of acceptance
  Plan plan;              // specs move into tasks and stages
  std::map<std::string, Blob> inputs;
  std::set<std::pair<std::string, std::string>> models;  // folder, name: all that its tasks need
  std::map<std::string, Task> tasks;
  std::map<std::string, Stage> stages;
  std::map<std::string, Stream> streams;
  std::vector<std::string> task_order;                // leasing order; tiles of one canvas go by urgency first
  std::set<std::tuple<size_t, int, size_t>> ready;    // ranks of ready tasks, in leasing order
  std::set<std::tuple<size_t, int, size_t>> doubted;  // ranks of doubted ones
  std::set<size_t> waiting;                           // places of waiting tasks that are no tiles
  size_t done = 0;                                    // tasks
  std::map<int, int64_t> open;  // tasks by kind that are left: ready or doubted ones, and of tiles the waiting ones too
  std::map<std::string, std::pair<std::vector<Blob>, std::vector<MadeFile>>>
      restored;  // of tiles and windows not yet planned
  std::vector<std::string> output_order;
  JobState state = JobState::kQueued;
  std::string error;
  int64_t accepted_ms = 0;
  bool replanned = false;
  bool ended() const { return state == JobState::kDone || state == JobState::kFailed || state == JobState::kCancelled; }
};

struct Worker {
  WorkerInfo info;
  int speed = SpeedBook::kNone;  // its number in the book
  bool connected = false;
  bool enabled = true;
  Tags tags;
  bool draining = false;
  std::string resting;  // why its schedule keeps work from it: it ends what it holds and gets nothing new; else ""
  uint32_t credit = 0;  // tasks it is willing to hold more
  std::vector<std::pair<std::string, std::string>> held;  // (job, task), in the order of leasing
  uint64_t tasks_done = 0;
  int failures_in_row = 0;  // tasks that others may complete
  // What the policy goes by; seconds of now_ms / 1000.
  double run_ends = 0, free_at = 0;           // of the task that runs, of all that it holds
  std::deque<std::string> loaded;             // models in its memory, as far as is known: the latest first
  std::pair<int, double> cold{-1, 0};         // kind and seconds of the last task that had to load
  std::map<std::pair<int, Tags>, bool> fits;  // kinds and tags of tasks, while catalogue, inventory and limits stay
  std::set<int> too_large;                    // kinds for which its memory was too small
  std::unordered_set<std::string> blobs;      // it has them, as far as is known
  std::deque<std::pair<std::string, uint64_t>> blob_order;
  uint64_t blob_bytes = 0;

  /// It may get tasks.
  bool Serves() const { return connected && enabled && !draining && resting.empty(); }
};

/// REQUIRES of every method: one thread. now_ms: any clock that never goes back.
class Control {
 public:
  explicit Control(ControlOptions options, SpeedBook speeds = {})
      : options_(std::move(options)), speeds_(std::move(speeds)) {
    shares_.SetWeights(options_.shares);
  }
  /// Bounds, factors and shares from now on; the epoch stays.
  void SetOptions(const ControlOptions& options) {
    const uint64_t epoch = options_.epoch;
    options_ = options;
    options_.epoch = epoch;
    shares_.SetWeights(options_.shares);
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
    Tags tags = {};
  };
  Effects AddJob(NewJob job, int64_t now_ms);
  Effects CancelJob(const std::string& id, int64_t now_ms);

  Effects WorkerAttached(WorkerInfo info, const std::vector<Held>& held, int64_t now_ms);
  /// The stream of exactly this process ended. `died`: its connection broke; else one side hung up, which says nothing
  /// against the tasks that it ran.
  Effects WorkerLost(const std::string& name, const std::string& instance, int64_t now_ms, bool died);
  Effects WorkerPulls(const std::string& name, uint32_t count, int64_t now_ms);
  Effects WorkerInventory(const std::string& name, std::shared_ptr<const Inventory> inventory, int64_t now_ms);
  Effects WorkerCatalog(const std::string& name, std::shared_ptr<const Catalog> catalog, int64_t now_ms);
  Effects SetWorkerEnabled(const std::string& name, bool enabled, int64_t now_ms);
  Effects SetWorkerTags(const std::string& name, Tags tags, int64_t now_ms);
  /// Of a worker that is known: whether its schedule keeps work from it; `why`, as in "is outside its hours", or "".
  Effects SetWorkerResting(const std::string& name, const std::string& why, int64_t now_ms);
  Effects DrainWorker(const std::string& name, const std::string& reason, int64_t now_ms);

  Effects TaskProgress(const std::string& worker, const std::string& task, uint64_t attempt, uint32_t step,
                       uint32_t total, int64_t now_ms);
  Effects TaskDone(const std::string& worker, const std::string& task, uint64_t attempt, std::vector<Blob> results,
                   std::vector<MadeFile> files, double seconds, int64_t now_ms, double load_seconds = 0);
  /// `out_of_memory`: other tasks of its kind do not go to this worker any more.
  Effects TaskFailed(const std::string& worker, const std::string& task, uint64_t attempt, const std::string& message,
                     bool retry_elsewhere, int64_t now_ms, bool out_of_memory = false);
  Effects TaskReturned(const std::string& worker, const std::string& task, uint64_t attempt, int64_t now_ms);

  Effects CanvasOpened(const std::string& job, const std::string& stage, StageGraph graph, int64_t now_ms);
  /// `parts`: what the step needs of each of StageSpec::pictures.
  Effects TileCut(const std::string& job, const std::string& stage, int tile, std::vector<Blob> crops, int64_t now_ms,
                  std::vector<Blob> parts = {});
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

  /// From now on events lease nothing by themselves: Assign() does, once for all that came before it, which costs a
  /// large fleet much less.
  void AssignWhenAsked() { when_asked_ = true; }
  /// Gives the workers what they should have after the events since the last call. Nothing happened: no effects.
  Effects Assign(int64_t now_ms);

  /// Ended jobs are dropped by the caller once it has stored them.
  void ForgetJob(const std::string& id);

  const std::map<std::string, Job>& jobs() const { return jobs_; }
  const std::map<std::string, Worker>& workers() const { return workers_; }
  const SpeedBook& speeds() const { return speeds_; }
  /// A file that a connected and enabled worker lacks.
  struct MissingModel {
    std::string worker, folder, name;
  };
  /// Of all that a job needs.
  std::vector<MissingModel> MissingModels(const std::string& job) const;
  /// What to bring so that tasks that wait find a worker: for each ready task that is left after scheduling at most
  /// one idle worker that lacks nothing but models, all of which `can` be brought to it.
  std::vector<MissingModel> ModelsToBring(
      const std::function<bool(const std::string& worker, const std::pair<std::string, std::string>& model)>& can)
      const;
  struct Tagged {
    std::string names;  // with commas, or "none"
    int attached = 0;
  };
  /// The workers that have all these tags, whether they are there or not.
  Tagged WithTags(const Tags& tags) const;
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
  std::vector<Blob> PicturesOf(const Job& job, const Stage& stage) const;
  bool BindingsDone(const Job& job, const std::vector<Binding>& bindings) const;
  /// Whether it can be leased: after a restart a worker may hold a task whose inputs are made anew.
  bool InputsThere(const Job& job, const Task& task) const;
  void Advance(Job& job, Effects& out, int64_t now_ms);
  void OpenStreams(Job& job, Effects& out);
  void CheckTiles(Job& job, Stage& stage, std::deque<int> check, Effects& out);
  void Fail(Job& job, const std::string& message, JobState state, Effects& out, int64_t now_ms);
  void SetReady(Job& job, Task& task, Effects& out);
  /// Back to ready when no attempt is left; fails the job when it was tried or killed too often, or nobody can do it.
  void Requeue(Job& job, Task& task, Effects& out, int64_t now_ms);
  void RemoveHeld(const std::string& worker, const std::string& job, const std::string& task, int64_t now_ms);
  bool SetState(Job& job, Task& task, TaskState next, Effects& out);
  void Count(Job& job, const Task& task, TaskState state, int by);
  void AddTask(Job& job, Task task, const std::string& shape, bool done, Effects& out);
  void Learn(const Task& task, const Attempt& attempt, double seconds, double load_seconds);
  void FindHung(Job& job, const std::string& task_id, Task& task, Effects& out, int64_t now_ms);

  // Who gets what: schedule.cc, tail.cc.
  /// "" when the worker can take the task, else why not.
  std::string Unfit(const Worker& worker, const Task& task) const;
  /// The same but for what concerns this one task or moment; kept by kind.
  std::string UnfitKind(const Worker& worker, const Task& task) const;
  bool Fits(Worker& worker, const Task& task);
  bool FitsKind(Worker& worker, const Task& task);  // but for what concerns this one task
  void FleetChanged(Worker& worker);
  void SetCredit(Worker& worker, uint32_t credit);
  /// At the end of each event after which somebody may get something.
  void Schedule(Effects& out, int64_t now_ms);
  void GiveAll(Effects& out, int64_t now_ms);
  void NoteReady(Job& job);
  std::vector<Job*> JobsByTurn();
  bool GiveOne(std::vector<Job*>& jobs, Worker& worker, Effects& out, int64_t now_ms);
  Task* Pick(Job& job, Worker& worker, const std::vector<Job*>* others, double now);
  bool MayTake(Job& job, const Task& task, int64_t rank, Worker& worker, const std::vector<Job*>* others, double now);
  /// Nothing is known of how fast this worker does the task, but of another that may do it.
  bool Untried(const Task& task, const Worker& worker, double now);
  Task* PickProbe(Job& job, Worker& worker, double now);
  void SetDoubted(Job& job, Task& task, bool doubted);
  /// Whether its end can be foreseen.
  bool CountedOn(const Task& task, const Attempt& attempt) const;
  /// The attempt that is counted on and ends first; endless and nobody when there is none.
  struct Ending {
    double at = std::numeric_limits<double>::infinity();
    const Worker* on = nullptr;
  };
  Ending SoonestEnd(const Task& task, double now) const;
  /// Looks again at whether what the worker runs is to be counted on, while these jobs have tasks left; true when that
  /// has changed.
  bool Doubt(const Worker& worker, std::vector<Job*> jobs, double now);
  int64_t Left(const std::vector<Job*>& jobs, const Task& task) const;
  struct Seats {
    uint64_t fleet = 0, speeds = 0;
    double made = 0;
    std::vector<policy::Seat> seats;  // by seconds
    bool tested = false;              // somebody's seconds rest on what it did
  };
  const Seats& SeatsOf(const Task& task, double now);
  double LoadSeconds(const Worker& worker, const Task& task) const;
  /// When the worker would end it; nothing when nobody knows the kind.
  std::optional<double> EndsAt(const Job& job, const Task& task, const Worker& worker, double now) const;
  /// Inputs that it does not have; `crops`: with those of this tile, which nobody has.
  uint64_t MissingBytes(const Job& job, const Task& task, const Worker& worker, bool crops) const;
  template <typename Visit>
  void VisitInputs(const Job& job, const Task& task, bool crops, Visit visit) const;
  void GiveSomething(Effects& out, int64_t now_ms);
  void Lease(Job& job, Task& task, Worker& worker, bool copy, Effects& out, int64_t now_ms);
  /// Estimates anew when the worker will have done what it holds.
  void Expect(Worker& worker, double now);
  /// Which of worker.held runs; the ones before it upload.
  size_t RunningOf(const Worker& worker) const;
  void Remember(Worker& worker, const Blob& blob);
  void Loaded(Worker& worker, const std::string& models);
  struct Candidate {
    double ends = 0;    // as expected where it is
    double weight = 0;  // that, and the chain that waits for it
    bool runs = false;
    Job* job = nullptr;
    Task* task = nullptr;
    std::string worker;
  };
  std::vector<Candidate> Candidates(double now);
  void FillIdle(Effects& out, int64_t now_ms);
  bool NobodyCan(const Task& task) const;

  ControlOptions options_;
  SpeedBook speeds_;
  Shares shares_;
  std::map<std::string, Job> jobs_;
  std::map<std::string, Worker> workers_;
  std::map<std::string, Worker*> hungry_;  // connected ones that have credit
  /// Jobs with ready or doubted tasks: by falling priority and submitter, then in order of acceptance.
  std::map<std::pair<int, std::string>, std::map<uint64_t, Job*>> ready_jobs_;
  std::map<std::pair<int, Tags>, Seats> seats_;  // by kind and tags
  bool when_asked_ = false, due_ = false;
  uint64_t fleet_version_ = 1;
  uint64_t next_attempt_ = 1;
  uint64_t next_sequence_ = 1;
};

}  // namespace atelier
