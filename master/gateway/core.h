// The master's shell around the reducer: carries its effects out (store, blobs, canvases, sessions), turns messages
// into its events, and answers the gateway. One control thread owns the reducer and the database; one canvas thread
// does pixels, and one writes and deletes output files, so that a slow disk or a damaged video holds up no tile.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "atelier/v1/admin.pb.h"
#include "atelier/v1/session.pb.h"
#include "common/base/log.h"
#include "common/base/log_fields.h"
#include "common/base/status.h"
#include "common/config/cluster_config.h"
#include "common/graph/schema.h"
#include "common/graph/widgets.h"
#include "common/image/tiles.h"
#include "master/collect/canvas.h"
#include "master/control/control.h"
#include "master/fleet/fleet.h"
#include "master/gateway/core_figures.h"
#include "master/gateway/serial_queue.h"
#include "master/gateway/watcher.h"
#include "master/models/hub.h"
#include "master/store/blob_store.h"
#include "master/store/job_store.h"
#include "master/store/outputs.h"

namespace atelier {

struct CoreOptions {
  ClusterConfig config;
  std::string state_dir, output_dir, input_dir;
  std::vector<std::string> model_roots;
  bool share_models = true;                     // false: of one `atelier run`, whose workers have the master's folders
  Catalog catalog;                              // config/catalog.json
  WidgetTable widgets;                          // config/widgets.json
  std::vector<std::string> configured_workers;  // enabled ones count as replicas
  std::vector<std::string> disabled_workers;
};

/// Thread: any, unless said otherwise.
class Core {
 public:
  /// Opens the state and takes up the jobs that had not ended. `store` null: a SQLite file in the state folder. Errors:
  /// one sentence each, of store and folders.
  static StatusOr<std::unique_ptr<Core>> Open(CoreOptions options, std::unique_ptr<JobStore> store = nullptr);
  ~Core();

  /// The sessions' events, to make the Fleet with; then SetFleet() before any worker can attach.
  FleetEvents fleet_events();
  void SetFleet(Fleet* fleet);
  /// Starts scheduling. Call once, after SetFleet().
  void Start();
  /// Takes no more jobs; what runs goes on, its results are still accepted.
  void BeginDrain() { draining_ = true; }
  /// Stops its threads; the state on disk is whole at any time anyway.
  void Stop();

  /// Goes on with the live settings of another configuration (TakeLiveSettings).
  void Reconfigure(const ClusterConfig& config);
  /// The configured workers are now these; those that no longer are get no more work and count as no replica.
  void SetConfiguredWorkers(std::vector<std::string> enabled, std::vector<std::string> disabled);
  std::shared_ptr<const ClusterConfig> config();

  struct Health {
    bool alive = false;  // the control thread answers
    bool ready = false;  // jobs are accepted
    std::string text;    // "ok", or what is wrong, a line each
  };
  Health CheckHealth();
  /// /metrics. No secrets, no label whose values grow with use.
  std::string MetricsPage();
  CoreFigures& figures() { return figures_; }
  /// Keeps a line for `atelier logs`: of a job, a worker or, "", the master. It does not log. Thread: any.
  void KeepLine(const std::string& subject, const std::string& line) { AddLog(subject, line); }

  struct Backed {
    std::string folder;
    uint64_t blobs = 0, bytes = 0;
  };
  /// Copies the database and links the blobs of open jobs into a fresh folder STATE/backup-*, a state folder to start
  /// a master on. Earlier ones are removed. Errors: RESOURCE_EXHAUSTED, FAILED_PRECONDITION.
  StatusOr<Backed> Backup();

  /// `caller`: the identity that submits; "": none is known. Errors: RESOURCE_EXHAUSTED names the limit.
  StatusOr<v1::SubmitReply> Submit(const v1::SubmitRequest& request, const std::string& caller = "");
  StatusOr<v1::ExplainReply> Explain(const v1::SubmitRequest& request);
  StatusOr<v1::Job> GetJob(const std::string& id);
  StatusOr<v1::Job> CancelJob(const std::string& id);
  StatusOr<v1::ListJobsReply> ListJobs(uint32_t limit);
  v1::ListWorkersReply ListWorkers();
  /// action: enable, disable, drain. Errors: NOT_FOUND, INVALID_ARGUMENT.
  StatusOr<v1::Worker> ControlWorker(const std::string& name, const std::string& action);
  /// A worker that was told to go for good: it is not remembered beyond this process, and says so meanwhile.
  void ForgetWorker(const std::string& name);
  StatusOr<std::string> CatalogJson(const std::string& type);
  std::string InventoryJson();
  v1::ListModelsReply ListModels(const std::string& folder) { return hub_->List(folder); }
  /// As ModelHub::Order.
  StatusOr<v1::ModelEntry> OrderModel(const v1::OrderModelRequest& request);
  ModelHub& models() { return *hub_; }
  std::vector<std::string> Logs(const std::string& subject, uint32_t lines);
  /// Events of a job (empty: all) from now on, a first one with the present state. Errors: NOT_FOUND.
  StatusOr<std::shared_ptr<Watcher>> Watch(const std::string& job);
  /// Says that a local worker is being started, or why it is not.
  void NoteLocalWorker(const std::string& name, const std::string& note);
  BlobStore& blobs() { return *blobs_; }
  size_t workers_connected() const { return fleet_ == nullptr ? 0 : fleet_->connected(); }

 private:
  // What is known of an open job beside the reducer's part.
  struct OpenJobInfo {
    JobRecord record;
    std::string trace, owner;  // owner: the identity that submitted it, or ""
    Tags tags;
    uint64_t input_bytes = 0;
    std::vector<MadeFile> files;  // while they are being saved
    std::vector<SavedOutput> outputs;
  };
  // A canvas at work; canvas thread only.
  struct CanvasWork {
    std::unique_ptr<Canvas> canvas;
    TilePlan plan;
  };
  struct Prepared {
    Json prompt;
    std::string prompt_json, workflow_json, report_json;
    std::vector<std::string> outputs;
    std::vector<InputBinding> inputs;
    Plan plan;
    int replicas = 1;
    std::string tiles;
    Tags tags;
  };

  explicit Core(CoreOptions options);
  Status Recover();
  Status CheckQuota(const std::string& owner, uint64_t input_bytes, const ClusterConfig::Limits& limits) const;
  StatusOr<Prepared> Prepare(const v1::SubmitRequest& request, bool store_inputs);
  std::shared_ptr<const Catalog> catalog();
  Inventory UsableInventory();
  int64_t NowMs() const;

  // Control thread only:
  void Apply(Effects effects);
  void Assign();
  void AckNow(const effect::SendAck& ack);
  void Carry(const effect::SendLease& lease);
  void Carry(const effect::SendCancel& cancel);
  void Carry(const effect::SendDrain& drain);
  void Carry(const effect::OpenCanvas& open);
  void Carry(const effect::OpenStream& open);
  void Carry(const effect::CutTile& cut);
  void Carry(const effect::PasteTile& paste);
  void Carry(const effect::CloseCanvas& close);
  void Carry(const effect::SaveOutputs& save);
  void Carry(const effect::Refused& refused);
  void EndJob(const std::string& id, const std::string& state, const std::string& error);
  void OutputsSaved(const std::string& id, StatusOr<std::vector<SavedOutput>> saved);
  void Notify(const std::string& job, const std::string& task, const std::string& preview = "",
              const std::string& log = "");
  void HandleMessage(const std::string& name, v1::FromWorker message);
  bool JoinCatalog(const Catalog& brought);
  // Workers, as the configuration has them (core_workers.cc):
  Status RecallWorkers();
  void RememberWorker(const std::string& name, bool enabled);
  void RememberAttached(const v1::Attach& attach);
  void StoreKnownWorkers();
  void KeepSchedules();
  void KeepTags();
  void KeepSettings(const std::string& name);
  Tags TagsOf(const std::string& worker, const ClusterConfig& config) const;
  int ConfiguredReplicas(const Tags& tags);
  v1::Job DescribeJob(const Job& job, bool with_tasks);
  v1::Job DescribeRecord(const JobRecord& record, bool with_tasks);
  v1::Task DescribeTask(const Job& job, const std::string& id);
  v1::Worker DescribeWorker(const std::string& name, const Worker& worker);
  void AddLog(const std::string& subject, const std::string& line);
  void CollectGarbage();
  void KeepSpeeds();
  void FillModelBytes(Plan& plan) const;
  void Commit();
  void Send(const std::string& worker, v1::ToWorker message);
  uint64_t ModelsBytesMax(const std::string& worker);
  void BringModels();
  std::vector<ModelHub::Name> ModelsOfOpenJobs();
  void ModelsMoved(const std::string& worker, const v1::ModelProgress& progress);
  void TellMissing(const std::string& job);
  void ForgetOldJobs(const ClusterConfig::Retention& retention);
  void DeleteOldOutputs(const ClusterConfig::Retention& retention);
  void CountEnd(const JobRecord& record);
  ControlOptions ControlOptionsOf(const ClusterConfig& config) const;
  LogFields About(const std::string& job, const std::string& task = "", uint64_t attempt = 0,
                  const std::string& worker = "");

  const CoreOptions options_;  // options_.config is what it was started with; config() is what holds now
  CoreFigures figures_;
  std::atomic<bool> draining_ = false;
  std::atomic<int64_t> last_tick_ms_ = 0;
  std::unique_ptr<BlobStore> blobs_;
  std::unique_ptr<JobStore> store_;  // control thread
  std::unique_ptr<OutputWriter> outputs_;
  std::unique_ptr<ModelHub> hub_;
  std::unique_ptr<Control> control_;                  // control thread
  std::map<std::string, OpenJobInfo> open_;           // control thread
  std::map<std::string, std::string> worker_notes_;   // control thread
  std::map<std::string, bool> known_workers_;         // control thread: name to enabled
  std::map<std::string, Tags> told_tags_;             // control thread: what those last said, where they have some
  bool known_changed_ = false;                        // control thread: there is something to store of these
  std::map<std::string, v1::Desktop> desktops_;       // control thread: what connected workers said
  std::map<std::string, std::string> told_settings_;  // control thread: v1::Settings of connected workers, serialized
  std::set<std::string> local_workers_;               // control thread
  std::map<std::string, bool> configured_;            // control thread: name to enabled, as the file has it
  int64_t next_garbage_ms_ = 0, next_retention_ms_ = 0, next_speeds_ms_ = 0;
  uint64_t speeds_kept_ = 0;  // observations that are in the store
  // Accepted results that share one fsync, and what must not leave before it. Control thread.
  std::optional<JobStore::Transaction> batch_;
  Status batch_status_;
  std::set<std::string> batch_jobs_;
  std::vector<std::pair<std::string, v1::ToWorker>> batch_messages_;
  std::vector<std::pair<std::shared_ptr<Watcher>, v1::JobEvent>> batch_events_;
  int batch_results_ = 0;
  int64_t batch_began_ms_ = 0;
  int64_t assign_after_ms_ = 0;
  std::map<std::pair<std::string, std::string>, CanvasWork> canvases_;  // canvas thread
  bool deleting_outputs_ = false;
  Fleet* fleet_ = nullptr;

  std::mutex mutex_;  // guards what follows
  std::shared_ptr<const ClusterConfig> config_;
  std::shared_ptr<const Catalog> catalog_;
  std::map<std::string, std::shared_ptr<const Catalog>> catalogs_;       // of workers, by digest
  std::map<std::string, std::shared_ptr<const Inventory>> inventories_;  // of connected workers
  std::vector<std::weak_ptr<Watcher>> watchers_;
  std::map<std::string, std::deque<std::string>> logs_;

  SerialQueue pixels_, outputs_queue_;  // before queue_: stopped after it
  SerialQueue queue_;
};

}  // namespace atelier
