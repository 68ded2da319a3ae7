// The scheduler in a world of fake workers: the real planner, reducer and policy, on a fake clock of milliseconds.
// Everything follows from the scenario, so a run can be repeated.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace atelier::sim {

inline constexpr int64_t kNever = -1;

struct SimWorker {
  double tile_seconds = 1;  // of one tile of work 1
  double load_seconds = 0;  // of the models, before the first tile
  double bytes_per_second = 100e6;
  double noise = 0;           // each tile takes up to so much of its time more or less
  bool known = true;          // the master has learned its speed before
  int64_t joins_ms = 0;       // attaches
  int64_t dies_ms = kNever;   // its process ends
  int64_t hangs_ms = kNever;  // makes no more steps, hears nothing
  int64_t drifts_ms = kNever;
  double drift = 1;  // from then on its tiles take so many times longer
  uint64_t memory_bytes = 0;
};

struct SimJob {
  std::string submitter = "a";
  int priority = 0;
  int64_t at_ms = 0;
  int columns = 8, rows = 8;
  std::string order = "independent";  // or "exact"
  std::string mode = "Linear";        // or "Chess"
  double work = 1;                    // times a worker's tile_seconds
  uint64_t model_bytes = 0;           // 0: not told
};

struct Scenario {
  uint64_t seed = 1;
  std::vector<SimWorker> workers;
  std::vector<SimJob> jobs;
  int steps = 4;                   // of a tile, each told
  uint64_t crop_bytes = 400'000;   // sent before each tile
  uint64_t shared_bytes = 0;       // once to each worker
  double latency_seconds = 0.001;  // one way
  int64_t hung_ms_min = 10'000;
  bool steal = true, copy = true;
  bool trace = false;  // prints each lease, cancellation and end
};

struct Outcome {
  std::vector<double> seconds;          // by job, acceptance to end; < 0: it failed or never ended
  std::vector<std::string> errors;      // by job
  std::vector<int64_t> first_lease_ms;  // by worker; kNever: none
  int64_t leases = 0, copies = 0;       // copies: of tasks that had an attempt
  std::vector<int64_t> drained_ms;      // by worker; kNever: not
  int64_t pasted = 0;                   // tiles
  std::string why;                      // of the first job that did not end
  int64_t refused = 0;                  // transitions
};

/// Runs to the end of all jobs, at most `limit_ms` of the fake clock. Thread: any.
Outcome Run(const Scenario& scenario, int64_t limit_ms = 40'000'000);

/// The tiles that tile t of a job's canvas has to wait for, as PlanTileStage says.
std::vector<std::vector<int>> Waits(const SimJob& job);

// ---- bounds and baselines: one job, all workers there from the start, nothing but the tiles' time ----

/// max(total work / total speed, longest chain on the fastest worker).
double LowerBound(const Scenario& scenario);
/// A better one where tiles wait for each other: no schedule is faster (chain_bound.cc says why).
double ChainBound(const Scenario& scenario);
/// For tiles that do not wait for each other: the least time in which whole tiles can be done, each on one worker.
double WholeTilesBound(const Scenario& scenario);
/// Each worker gets the same number of tiles beforehand (in the order of tiles, whole waves of what is ready).
double EqualSplit(const Scenario& scenario);
/// Tile after tile, the longest chain first, each to the worker that ends it soonest (HEFT), all speeds known.
double EarliestFinish(const Scenario& scenario);
/// Each worker takes the next ready tile whenever it is free.
double PlainPull(const Scenario& scenario);

}  // namespace atelier::sim
