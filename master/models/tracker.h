// Which chunk a worker fetches next, and from whom: each chunk leaves the master about once, however many workers want
// the file, as long as they can reach one another. Pure: time comes in with each question.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace atelier {

struct TrackerOptions {
  int peer_chunks_max = 4;           // that one peer gives out at a time
  int64_t assigned_ms_max = 60'000;  // a chunk that has not come by then may be fetched by others
  int64_t blocked_ms = 60'000;       // a peer that did not answer is not named again to the one who asked it
  int64_t silent_ms_max = 30'000;    // who has not asked for so long gives nothing any more
};

/// Thread: one at a time.
class ModelTracker {
 public:
  explicit ModelTracker(TrackerOptions options = {}) : options_(options) {}

  struct Fault {
    size_t index = 0;
    std::string source;  // "": the master
    bool damaged = false;
  };
  struct Question {
    std::string worker, hash;
    std::vector<bool> have;
    std::vector<Fault> faults;
    bool master_has = false;          // the master can give any chunk, itself or from a worker that only dials out
    std::set<std::string> whole;      // workers that have the file whole and can be dialled
    std::set<std::string> reachable;  // all workers that can be dialled
  };
  struct Answer {
    enum Kind { kFetch, kWait, kNobody, kDamaged } kind = kWait;
    size_t index = 0;
    std::string source;  // "": the master
  };
  Answer Next(const Question& question, int64_t now_ms);
  /// A worker no longer fetches the file ("": any), or is gone.
  void Forget(const std::string& worker, const std::string& hash = "");
  /// Sources that gave other bytes than the manifest says, by chunk.
  const std::map<std::pair<std::string, size_t>, std::set<std::string>>& damaged() const { return damaged_; }

 private:
  struct Assigned {
    std::string source;
    int64_t until_ms = 0;
  };
  struct Fetcher {
    std::vector<bool> have;
    std::map<size_t, Assigned> assigned;  // chunks on their way to it
    int64_t asked_ms = 0;
  };
  using Swarm = std::map<std::string, Fetcher>;  // by worker

  const TrackerOptions options_;
  std::map<std::string, Swarm> swarms_;                                      // by hash
  std::map<std::pair<std::string, size_t>, std::set<std::string>> damaged_;  // by hash and chunk: sources
  std::map<std::pair<std::string, std::string>, int64_t> blocked_;           // (who asked, peer): until when
};

}  // namespace atelier
