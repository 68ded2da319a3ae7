// A cluster of real processes for one test.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "atelier/v1/admin.pb.h"
#include "common/base/status.h"
#include "common/json/json.h"
#include "master/cli/client.h"
#include "master/store/job_store.h"
#include "tests/harness/process.h"

namespace atelier::test {

struct ClusterOptions {
  std::string config;       // YAML for the master; "": none
  std::string catalog;      // JSON text of the node types; "": the one that is committed
  std::string models;       // models folder; "": an empty one
  bool own_models = false;  // each worker has a models folder of its own, models_dir(NAME)
  std::string worker = "atelier-worker-fake";
  Limits master_limits;
  std::map<std::string, std::string> master_environment;
  std::map<std::string, std::string> worker_environment;
  std::vector<std::string> master_flags;
  std::vector<std::string> worker_flags;
};

/// One master and its workers. Waits are bounded and end early with a failed REQUIRE. Thread: one at a time.
class Cluster {
 public:
  explicit Cluster(ClusterOptions options = {});
  ~Cluster();

  /// Starts the master, at first on a free port, after that on the same; waits until it serves.
  void StartMaster();
  /// The same without waiting: for a master that is to die on the way. `environment` goes over the options' one.
  Process& LaunchMaster(const std::map<std::string, std::string>& environment);
  Process& master() { return *master_; }
  /// Starts a worker that dials the master. `fault` is its $ATELIER_FAULT.
  Process& StartWorker(const std::string& name, const std::string& fault = "",
                       const std::vector<std::string>& flags = {});
  Process& worker(const std::string& name) { return *workers_.at(name); }
  cli::Client& client() { return *client_; }
  const std::string& address() const { return address_; }
  std::string config_file() const { return dir_ / "cluster.yaml"; }
  std::string output_dir() const { return dir_ / "output"; }
  const TempDir& dir() const { return dir_; }
  std::string state_dir() const { return dir_ / "state"; }
  std::string models_dir(const std::string& worker) const {
    return options_.own_models ? dir_ / ("models-" + worker) : models_dir();
  }
  std::string models_dir() const { return options_.models.empty() ? dir_ / "models" : options_.models; }

  /// Submits a prompt; the job's id.
  std::string Submit(const Json& prompt, uint32_t replicas = 0, const std::string& tiles = "");
  /// The report's sentences for a prompt that must be refused.
  std::string SubmitRefused(const Json& prompt);
  /// Watches a job until `until` is true of an event; false when the job ended before.
  bool WaitEvent(const std::string& job, const std::function<bool(const v1::JobEvent&)>& until, double seconds = 60);
  /// Watches a job to its end; `on_event` sees each event.
  v1::Job WaitJob(const std::string& job, double seconds = 120,
                  const std::function<void(const v1::JobEvent&)>& on_event = {});
  /// SHA-256 over the bytes of all outputs in order.
  std::string OutputHash(const v1::Job& job);
  /// The same over the pixels alone: a file also holds the prompt that made it.
  std::string PixelHash(const v1::Job& job);
  /// What the store has accepted. REQUIRES: no master runs.
  std::vector<AcceptedTask> Accepted(const std::string& job);

 private:
  ClusterOptions options_;
  TempDir dir_;
  std::string address_;
  std::unique_ptr<Process> master_;
  std::map<std::string, std::unique_ptr<Process>> workers_;
  std::unique_ptr<cli::Client> client_;
  int starts_ = 0;
};

/// A prompt: DistributedSeed -> FakeSource -> DistributedCollector -> FakeSave.
Json ReplicaPrompt(int64_t delay_ms, int64_t steps = 4, int64_t size = 64);
/// A prompt: FakeSource -> UltimateSDUpscaleDistributed -> FakeSave, `side` x `side` tiles of `tile` pixels.
Json TilePrompt(int64_t delay_ms, int side = 3, int tile = 128);

}  // namespace atelier::test
