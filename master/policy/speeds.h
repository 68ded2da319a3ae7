// What the master has learned about how long things take. Pure: no clock, no files; it is told and asked.
//
// A *kind* of task is a text of its models and of all that its cost depends on (TaskSpec::kind). Of each pair of worker
// and kind the seconds without model loading are kept. Where a worker has never done a kind, they are estimated:
// log(seconds) = factor(worker) + base(kind), with each factor the mean over the kinds that the worker shares with
// others.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/json/json.h"

namespace atelier {

/// Thread: one at a time.
class SpeedBook {
 public:
  static constexpr int kNone = -1;  // a worker or kind that is not kept, as there are too many
  static constexpr size_t kKindsMax = 1024;
  static constexpr size_t kWorkersMax = 4096;

  /// The number of a worker, which stays. `device` is what people call its hardware.
  int Worker(const std::string& name, const std::string& device);
  /// The number of a kind; it stays until as many Release()s. When kKindsMax are in use: kNone.
  int Acquire(const std::string& key);
  void Release(int kind);
  /// Whether somebody still has it.
  bool InUse(int kind) const;

  /// A task ended: its seconds without loading models. `rough`: some of it may have been loading after all; the first
  /// figure that is not rough replaces it.
  void Observe(int worker, int kind, double seconds, bool rough);
  /// Time between two steps of a task. The longest is kept; it is forgotten by a fiftieth with each shorter one.
  void ObserveGap(int worker, int kind, double seconds);
  /// A task ended that had to load `models` first: what that took.
  void ObserveLoad(int worker, const std::string& models, double seconds);
  /// Bytes of inputs that a worker fetched before a task could begin.
  void ObserveTransfer(int worker, uint64_t bytes, double seconds);

  /// Learned or estimated seconds; nothing when no worker has done this kind.
  std::optional<double> Seconds(int worker, int kind) const;
  /// The same of a kind by its text, for kinds that no open job has.
  std::optional<double> SecondsOf(int worker, const std::string& key) const;
  /// Whether this worker has done this kind and its figure is not rough.
  bool Measured(int worker, int kind) const;
  /// Whether Seconds() rests on anything that this worker did.
  bool Tested(int worker, int kind) const;
  /// The longest usual time between two steps; of a worker that has not done this kind, estimated from others.
  std::optional<double> Gap(int worker, int kind) const;
  /// Seconds of loading: learned, else the mean of other workers, else 0.
  double Load(int worker, const std::string& models) const;
  /// Seconds to fetch so many bytes: learned, else at 100 MB/s.
  double Transfer(int worker, uint64_t bytes) const;
  /// Seconds of the kind on a worker of factor 1; of one that nobody has done: of the mean kind, or 1.
  double Base(int kind) const;
  /// log of how many times slower than the mean a worker is. Of one that has shared no kind with others: as slow as the
  /// slowest on the same device, else of all, so that nobody waits for it.
  double Factor(int worker) const;
  /// Grows when some answer has changed by more than 2 %.
  uint64_t version() const { return version_; }
  /// Grows with everything observed.
  uint64_t observations() const { return clock_; }

  /// All of it, to be kept over a restart. Kinds and workers that were used last are kept.
  Json ToJson() const;
  /// Errors: INVALID_ARGUMENT.
  static StatusOr<SpeedBook> FromJson(const Json& json);

 private:
  struct Entry {
    float seconds = 0;  // 0: never done
    float gap = 0;      // 0: never told
    bool rough = false;
  };
  struct Kind {
    std::string key;
    std::vector<Entry> by_worker;
    double sum = 0;  // over workers, of log(seconds) - factor
    int known = 0;   // workers that have done it
    int uses = 0;
    uint64_t used = 0;  // clock_ when last observed
  };
  struct Rated {
    std::string name, device;
    double factor = 0;
    bool rated = false;  // the factor comes from shared kinds
    std::vector<int> kinds;
    double bytes_per_second = 0;
    uint64_t used = 0;
  };
  const Entry* Find(int worker, int kind) const;
  void SetLog(Kind& kind, int worker, double before, double after, bool fresh);
  void Rate(int worker);

  std::vector<Kind> kinds_;
  std::map<std::string, int> kind_ids_;
  std::vector<Rated> workers_;
  std::map<std::string, int> worker_ids_;
  std::map<std::string, std::map<int, double>> loads_;  // models -> worker -> seconds
  uint64_t version_ = 1, clock_ = 0;
  mutable std::map<std::string, double> slowest_;  // by device, "": of all
  mutable uint64_t slowest_of_ = 0;                // version_ of slowest_
};

}  // namespace atelier
