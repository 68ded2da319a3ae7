// Workers that are killed and join at random while a job runs.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "tests/harness/cluster.h"

namespace atelier::test {

/// Thread: one at a time.
class Disturber {
 public:
  /// Up to `events_max` times it waits up to `pause_ms_max` and then, at two of three, kills a worker, else lets one
  /// more join, up to `workers_max`; there is always one. REQUIRES: each at least 1.
  Disturber(std::mt19937_64& random, int events_max, int pause_ms_max, size_t workers_max)
      : random_(random), events_max_(events_max), pause_ms_max_(pause_ms_max), workers_max_(workers_max) {}

  int Pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }

  /// Starts `workers` workers, calls `submit`, which gives the job's id, and disturbs it until it ends or the events
  /// do.
  template <typename Submit>
  std::string Run(Cluster& cluster, int workers, Submit submit) {
    int next = 0;
    const auto join = [&] {
      alive_.push_back(Cat("w", next++));
      cluster.StartWorker(alive_.back());
    };
    for (int i = 0; i < workers; ++i) join();
    const std::string job = submit();
    for (int events = Pick(1, events_max_); events > 0; --events) {
      (void)cluster.worker(alive_[0]).WaitEnd(Pick(1, pause_ms_max_) / 1000.0);  // it runs: only the time passes
      const auto now = cluster.client().GetJob(job);
      if (now.ok() && now->state() != "queued" && now->state() != "running") break;
      if (Pick(0, 2) > 0) {
        const auto victim = static_cast<size_t>(Pick(0, static_cast<int>(alive_.size()) - 1));
        cluster.worker(alive_[victim]).Kill();
        alive_.erase(alive_.begin() + static_cast<std::ptrdiff_t>(victim));
        ++kills;
      } else if (alive_.size() < workers_max_) {
        join();
        ++joins;
      }
      if (alive_.empty()) join();
    }
    return job;
  }
  /// Kills those that are left.
  void End(Cluster& cluster) {
    for (const std::string& name : alive_) cluster.worker(name).Kill();
    alive_.clear();
  }

  int kills = 0, joins = 0;

 private:
  std::mt19937_64& random_;
  const int events_max_, pause_ms_max_;
  const size_t workers_max_;
  std::vector<std::string> alive_;
};

}  // namespace atelier::test
