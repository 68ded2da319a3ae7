// Who has which model file, what is on its way to whom, and the bytes of files for those who ask. docs/models.md tells
// the rules.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "atelier/v1/models.pb.h"
#include "atelier/v1/session.pb.h"
#include "common/base/status.h"
#include "common/files/model_library.h"
#include "common/files/partial_model.h"
#include "common/files/throttle.h"
#include "master/models/tracker.h"

namespace atelier {

struct HubOptions {
  std::vector<std::string> roots;  // the master's own; files are pushed into the first
  std::string cache_dir;           // of hashes; "": nothing is known by hash, nothing is brought
  uint64_t bytes_per_second = 0;   // that the master gives; 0: any
  std::function<void(const std::string& worker, v1::ToWorker message)> send;
};

/// Thread: any. One thread of its own looks at the master's folders and hashes.
class ModelHub {
 public:
  using Name = std::pair<std::string, std::string>;  // folder, name

  explicit ModelHub(HubOptions options);
  ~ModelHub();
  void Start();
  /// Ends waits and the thread.
  void Stop();
  void SetRate(uint64_t bytes_per_second) { give_.SetRate(bytes_per_second); }

  // What the sessions bring.
  void Attached(const v1::Attach& attach);
  void Lost(const std::string& worker);
  void Reported(const std::string& worker, const v1::ModelReport& report);
  void Progressed(const std::string& worker, const v1::ModelProgress& progress);

  /// Every file with its holders, of one folder or all.
  v1::ListModelsReply List(const std::string& folder) const;
  /// pull, cancel, pin, unpin. Errors: NOT_FOUND (no such file, worker), INVALID_ARGUMENT (several folders have it),
  /// FAILED_PRECONDITION (the worker cannot take files, is not connected, or has another file of this name).
  StatusOr<v1::ModelEntry> Order(const v1::OrderModelRequest& request, const std::vector<Name>& keep);
  /// Whether Bring() would start or go on with it now. Thread: any.
  bool CanBring(const std::string& worker, const Name& name, int64_t now_ms) const;
  /// Brings a file that a job lacks, unless it is on its way or failed within the last minute.
  void Bring(const std::string& worker, const Name& name, const std::vector<Name>& keep, int64_t now_ms);
  /// What becomes of a file that a worker lacks, as half a sentence with the remedy: "is being brought: ...".
  std::string Outlook(const std::string& worker, const Name& name, const std::string& share) const;

  // The services' part.
  StatusOr<v1::ModelManifest> Manifest(const std::string& hash);
  StatusOr<v1::NextChunkReply> Next(const v1::NextChunkRequest& request);
  /// A chunk as its manifest has it: from the master's disk, else from a worker that has the file.
  StatusOr<std::string> Chunk(const std::string& hash, uint32_t index);
  /// A part that a worker was asked for, or why there is none. `caller`: the worker by its certificate; "": believed.
  /// Errors: NOT_FOUND when nobody waits for it, from this caller.
  Status Give(const std::string& caller, uint64_t ticket, StatusOr<std::string> part);
  StatusOr<v1::PushModelReply> Push(const v1::PushModelRequest& request);
  Status PushChunk(const std::string& hash, uint32_t index, const std::string& bytes);
  /// Waits until so many bytes may leave. False when the master ends.
  bool TakeRate(uint64_t bytes);

  uint64_t sent() const { return sent_; }
  uint64_t chunks_relayed() const { return relayed_; }

 private:
  struct Fact {
    uint64_t size = 0;
    std::string hash;
    bool brought = false, pinned = false;
  };
  struct WorkerState {
    bool connected = false, shares = false;
    std::string address, key;
    std::map<Name, Fact> files;
  };
  struct OrderState {
    std::string hash;  // "": not known yet
    uint64_t size = 0, bytes = 0;
    std::string state = "waiting", error;
    bool asked = false;  // by a person, so it outlives a lost stream
    std::vector<Name> keep;
    int64_t failed_ms = 0;
  };
  struct Ticket {
    std::string worker;
    std::optional<StatusOr<std::string>> part;
  };
  struct Pushed {
    std::unique_ptr<PartialModel> partial;
    int64_t used_ms = 0;
  };

  std::optional<LibraryModel> SourceOf(const Name& name, const std::string& but) const;  // mutex_ held
  void SendOrder(const std::string& worker, const Name& name, OrderState& order);        // mutex_ held
  void Retry();                                                                          // orders that wait for a hash
  bool Knows(const std::string& source) const;                        // "" (the master), or a worker that was here
  std::vector<std::string> HoldersOf(const std::string& hash) const;  // mutex_ held
  StatusOr<std::string> Ask(const std::string& worker, const std::string& hash, std::optional<uint32_t> index);
  StatusOr<std::shared_ptr<const ModelManifest>> ManifestOf(const std::string& hash);
  StatusOr<Name> Resolve(const std::string& folder, const std::string& name) const;  // mutex_ held
  v1::ModelEntry Entry(const Name& name) const;

  const HubOptions options_;
  Throttle give_;
  std::atomic<bool> stop_ = false;
  std::atomic<uint64_t> sent_ = 0, relayed_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, WorkerState> workers_;
  std::map<std::pair<std::string, Name>, OrderState> orders_;  // by worker and file
  ModelTracker tracker_;
  uint64_t turn_ = 0;  // grows with every question, so that those who wait look again
  std::map<uint64_t, Ticket> tickets_;
  uint64_t next_ticket_ = 1;
  std::map<std::string, std::shared_ptr<const ModelManifest>> manifests_;  // of workers' files, by hash
  std::map<std::string, std::shared_ptr<Pushed>> pushed_;                  // by hash

  ModelLibrary library_;
};

}  // namespace atelier
