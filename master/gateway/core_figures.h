// What the core counts for /metrics. Thread: any.
#pragma once

#include <atomic>
#include <cstdint>

#include "common/obs/metrics.h"

namespace atelier {

struct CoreFigures {
  SecondsHistogram job_seconds, task_seconds, commit_seconds;
  std::atomic<uint64_t> jobs_accepted = 0, jobs_done = 0, jobs_failed = 0, jobs_cancelled = 0;
  std::atomic<uint64_t> leases = 0, results = 0, failures = 0, returned = 0, other_bytes = 0;
  std::atomic<uint64_t> workers_lost = 0, refused_transitions = 0, jobs_forgotten = 0, blobs_removed = 0;
  std::atomic<uint64_t> blobs = 0, blobs_bytes = 0;  // as of the last look at the disk
  std::atomic<uint64_t> reloads_taken = 0, reloads_refused = 0;
};

}  // namespace atelier
