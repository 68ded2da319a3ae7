#include "master/gateway/core.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "common/base/utf8.h"
#include "common/files/files.h"
#include "common/rpc/protocol.h"
#include "master/planner/planner.h"

namespace atelier {
namespace {

constexpr size_t kControlQueueMax = limits::kEventQueueMax;
constexpr size_t kReasonBytesMax = 200;  // of a sentence that a worker tells
constexpr size_t kCatalogsMax = 256;     // of workers of different versions
constexpr size_t kTypesMax = 20'000;     // node types, those that workers brought along included
// Bounded by the tiles, and by the number, of open jobs; the control thread must never wait for pixels or files.
constexpr size_t kWorkQueueMax = std::numeric_limits<size_t>::max();

Blob FromProto(const v1::Blob& blob) { return {blob.hash(), blob.size()}; }

std::shared_ptr<const Inventory> FromProto(const google::protobuf::RepeatedPtrField<v1::InventoryFolder>& folders) {
  auto inventory = std::make_shared<Inventory>();
  for (const v1::InventoryFolder& folder : folders) {
    auto& names = inventory->files[folder.folder()];
    names.assign(folder.names().begin(), folder.names().end());
    std::sort(names.begin(), names.end());
  }
  return inventory;
}

}  // namespace

Core::Core(CoreOptions options)
    : options_(std::move(options)),
      config_(std::make_shared<const ClusterConfig>(options_.config)),
      pixels_("pixels", kWorkQueueMax),
      outputs_queue_("outputs", kWorkQueueMax),
      queue_("control", kControlQueueMax) {}

Core::~Core() { Stop(); }

void Core::Stop() {
  std::vector<std::shared_ptr<Watcher>> watchers;
  {
    std::lock_guard lock(mutex_);
    for (auto& weak : watchers_)
      if (auto watcher = weak.lock()) watchers.push_back(std::move(watcher));
  }
  for (auto& watcher : watchers) watcher->Close();
  if (hub_ != nullptr) hub_->Stop();
  queue_.Run([this] {
    if (control_ == nullptr) return;
    Commit();
    KeepSpeeds();
    StoreKnownWorkers();
  });
  queue_.Stop();
  pixels_.Stop();
  outputs_queue_.Stop();
}

int64_t Core::NowMs() const {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

StatusOr<std::unique_ptr<Core>> Core::Open(CoreOptions options, std::unique_ptr<JobStore> store) {
  std::unique_ptr<Core> core(new Core(std::move(options)));
  core->store_ = std::move(store);
  Status opened;
  core->queue_.Run([&] { opened = core->Recover(); });
  RETURN_IF_ERROR(opened);
  return core;
}

Status Core::Recover() {
  const std::string& state = options_.state_dir;
  if (store_ == nullptr) {
    ASSIGN_OR_RETURN(store_, JobStore::Open(state + "/atelier.db"));
  }
  ASSIGN_OR_RETURN(blobs_,
                   BlobStore::Open(state + "/blobs", static_cast<uint64_t>(options_.config.limits.blob_bytes_max)));
  outputs_ = std::make_unique<OutputWriter>(options_.output_dir, state + "/temp");
  hub_ = std::make_unique<ModelHub>(HubOptions{options_.model_roots, options_.share_models ? state + "/hashes" : "",
                                               static_cast<uint64_t>(options_.config.models.bytes_per_second),
                                               [this](const std::string& worker, v1::ToWorker message) {
                                                 if (fleet_ != nullptr) fleet_->Send(worker, std::move(message));
                                               }});
  catalog_ = std::make_shared<const Catalog>(options_.catalog);
  ControlOptions control = ControlOptionsOf(options_.config);
  ASSIGN_OR_RETURN(control.epoch, store_->NextEpoch());
  SpeedBook speeds;
  if (auto kept = store_->GetValue("speeds"); kept.ok()) {
    auto json = ParseJson(*kept);
    auto book = json.ok() ? SpeedBook::FromJson(*json) : StatusOr<SpeedBook>(json.status());
    if (book.ok())
      speeds = std::move(*book);
    else
      LogWarning("what was learned about the workers' speeds is lost: ", Message(book.status()));
  }
  speeds_kept_ = speeds.observations();
  control_ = std::make_unique<Control>(control, std::move(speeds));

  RETURN_IF_ERROR(RecallWorkers());

  auto extra = store_->GetValue("catalog");  // node types that workers brought along before the restart
  if (extra.ok()) {
    ASSIGN_OR_RETURN(const Json json, ParseJson(*extra));
    ASSIGN_OR_RETURN(const Catalog brought, Catalog::FromJson(json));
    JoinCatalog(brought);
  }

  ASSIGN_OR_RETURN(std::vector<OpenJob> open, store_->LoadOpenJobs());
  for (const OpenJob& job : open)
    if (!job.intents.empty()) outputs_->Reserve(job.job.id, job.intents);
  for (OpenJob& job : open) {
    const std::string id = job.job.id;
    open_[id].record = job.job;
    auto settings = ParseJson(job.job.settings_json);
    if (settings.ok()) {
      open_[id].trace = settings->value("trace", "");
      open_[id].owner = settings->value("owner", "");
      open_[id].tags = settings->value("tags", Tags());
    }
    for (const InputBinding& input : job.inputs) open_[id].input_bytes += input.blob.size;
    const LogScope scope(About(id));
    std::vector<std::string> output_nodes;
    if (settings.ok() && settings->contains("outputs"))
      for (const Json& node : (*settings)["outputs"]) output_nodes.push_back(node.get<std::string>());
    StatusOr<Plan> plan =
        settings.ok() && settings->contains("graph")
            ? MakePlan((*settings)["graph"], output_nodes, *catalog_,
                       {job.job.replicas, job.job.tiles, settings->value("compat", "reference"),
                        settings->value("frames", "whole"), settings->value("window_frames", int64_t{0})})
            : StatusOr<Plan>(DataLoss("its stored settings are damaged"));
    if (!plan.ok()) {
      EndJob(id, "failed", Cat("cannot go on after the restart: ", Message(plan.status())));
      continue;
    }
    Control::NewJob again{id, settings->value("submitter", ""), settings->value("priority", 0), {}, output_nodes, {},
                          {}};
    const bool same_plan = plan->Digest() == job.job.plan_digest;
    again.replanned = !same_plan;
    again.tags = open_[id].tags;
    if (!same_plan) {
      LogWarning("job ", id, " is planned differently by this version: its tasks are done anew");
      RETURN_IF_ERROR(store_->ForgetAccepted(id));
    } else {
      for (AcceptedTask& task : job.accepted)
        again.restored[task.task_id] = {std::move(task.results), std::move(task.files)};
    }
    for (const InputBinding& input : job.inputs) again.inputs[input.name] = input.blob;
    again.plan = std::move(*plan);
    FillModelBytes(again.plan);
    LogInfo("taking up job ", id, " with ", again.restored.size(), " accepted tasks");
    Apply(control_->AddJob(std::move(again), NowMs()));
  }
  Commit();
  return OkStatus();
}

void Core::SetFleet(Fleet* fleet) { fleet_ = fleet; }

void Core::Start() {
  hub_->Start();
  last_tick_ms_ = NowMs();
  queue_.Run([this] { control_->AssignWhenAsked(); });
  queue_.SetIdle([this] {
    Assign();
    Commit();
  });
  queue_.SetTick(1000, [this] {
    last_tick_ms_ = NowMs();
    KeepSchedules();
    Apply(control_->Tick(NowMs()));
    Assign();
    BringModels();
    Commit();
    CollectGarbage();
    if (NowMs() >= next_speeds_ms_) KeepSpeeds();
    StoreKnownWorkers();
  });
}

// ---- workers' messages ----

FleetEvents Core::fleet_events() {
  FleetEvents events;
  events.attached = [this](v1::Attach attach) {
    queue_.Post([this, attach = std::move(attach)] {
      v1::FromWorker first;
      *first.mutable_attach() = attach;
      HandleMessage(attach.name(), std::move(first));
    });
  };
  events.message = [this](const std::string& name, v1::FromWorker message) {
    queue_.Post([this, name, message = std::move(message)]() mutable { HandleMessage(name, std::move(message)); });
  };
  events.lost = [this](const std::string& name, const std::string& instance, bool died) {
    queue_.Post([this, name, instance, died] {
      auto known = control_->workers().find(name);
      if (known == control_->workers().end() || known->second.info.instance != instance) return;
      ++figures_.workers_lost;
      LogInfo("worker \"", name, "\" left");
      {
        std::lock_guard lock(mutex_);
        inventories_.erase(name);
      }
      hub_->Lost(name);
      desktops_.erase(name);
      // An ending master cuts all streams itself: no worker died over its task.
      if (!draining_) Apply(control_->WorkerLost(name, instance, NowMs(), died));
    });
  };
  return events;
}

// Types that no committed declaration knows extend the cluster. True when there were any.
bool Core::JoinCatalog(const Catalog& brought) {
  std::lock_guard lock(mutex_);
  auto joined = std::make_shared<Catalog>(*catalog_);
  for (const std::string& type : brought.Types())
    if (joined->size() < kTypesMax && joined->Find(type) == nullptr) joined->Add(*brought.Find(type));
  if (joined->size() == catalog_->size()) return false;
  catalog_ = std::move(joined);
  return true;
}

std::shared_ptr<const Catalog> Core::catalog() {
  std::lock_guard lock(mutex_);
  return catalog_;
}

void Core::HandleMessage(const std::string& name, v1::FromWorker message) {
  const int64_t now = NowMs();
  switch (message.kind_case()) {
    case v1::FromWorker::kAttach: {
      const v1::Attach& attach = message.attach();
      WorkerInfo info{attach.name(),        attach.instance(), attach.device(),
                      attach.device_name(), attach.version(),  attach.memory_bytes(),
                      ModelsBytesMax(name), nullptr,           FromProto(attach.inventory())};
      {
        std::lock_guard lock(mutex_);
        auto known = catalogs_.find(attach.catalog_digest());
        if (known != catalogs_.end()) info.catalog = known->second;
        inventories_[name] = info.inventory;
      }
      v1::ToWorker welcome;
      // An older worker hears its own version, which it knows how to speak (docs/protocol.md, "Versions").
      welcome.mutable_welcome()->set_protocol(std::min(attach.protocol(), kProtocolVersion));
      welcome.mutable_welcome()->set_master_version(kProgramVersion);
      welcome.mutable_welcome()->set_heartbeat_ms(
          static_cast<uint32_t>(options_.config.scheduling.heartbeat_seconds * 1000));
      welcome.mutable_welcome()->set_catalog_known(info.catalog != nullptr);
      welcome.mutable_welcome()->set_previews_per_minute_max(120);
      if (fleet_ != nullptr) {
        fleet_->Send(name, std::move(welcome));
        if (info.catalog == nullptr) {
          v1::ToWorker ask;
          ask.set_want_catalog(true);
          fleet_->Send(name, std::move(ask));
        }
      }
      LogInfo("worker \"", name, "\" attached: ", attach.device(), ", ", attach.device_name(), ", holds ",
              attach.held_size(), " tasks");
      hub_->Attached(attach);
      worker_notes_.erase(name);
      RememberAttached(attach);
      std::vector<Held> held;
      for (const v1::HeldAttempt& one : attach.held())
        held.push_back({one.task_id(), one.attempt(), one.finished(), one.running()});
      Apply(control_->WorkerAttached(std::move(info), held, NowMs()));
      KeepSettings(attach.name());
      break;
    }
    case v1::FromWorker::kPull:
      Apply(control_->WorkerPulls(name, message.pull().count(), now));
      break;
    case v1::FromWorker::kProgress: {
      v1::Progress& progress = *message.mutable_progress();
      Apply(
          control_->TaskProgress(name, progress.task_id(), progress.attempt(), progress.step(), progress.total(), now));
      if (!progress.preview().empty()) {
        const size_t slash = progress.task_id().find('/');
        if (slash != std::string::npos)
          Notify(progress.task_id().substr(0, slash), progress.task_id().substr(slash + 1), progress.preview());
      }
      break;
    }
    case v1::FromWorker::kDone: {
      const v1::TaskDone& done = message.done();
      std::vector<Blob> results;
      for (const v1::Blob& blob : done.results()) results.push_back(FromProto(blob));
      std::vector<MadeFile> files;
      bool all_here = true;
      for (const v1::OutputFile& from : done.files()) {
        MadeFile file;
        file.node = from.node();
        file.type = from.type() == "temp" ? "temp" : "output";
        file.prefix = from.prefix();
        file.extension = from.extension().starts_with('.') ? from.extension().substr(1) : from.extension();
        file.batch_index = from.batch_index();
        file.width = from.width();
        file.height = from.height();
        file.embed_workflow = from.embed_workflow();
        if (from.has_suffix()) file.suffix = from.suffix();
        file.blob = FromProto(from.blob());
        all_here &= blobs_->Has(file.blob.hash);
        files.push_back(std::move(file));
      }
      for (const Blob& blob : results) all_here &= blobs_->Has(blob.hash);
      if (!all_here)
        Apply(control_->TaskFailed(name, done.task_id(), done.attempt(), "a result was announced but not uploaded",
                                   true, now));
      else
        Apply(control_->TaskDone(name, done.task_id(), done.attempt(), std::move(results), std::move(files),
                                 done.seconds(), now, done.load_seconds()));
      break;
    }
    case v1::FromWorker::kFailed: {
      const v1::TaskFailed& failed = message.failed();
      const size_t slash = failed.task_id().find('/');
      const LogScope scope(About(failed.task_id().substr(0, slash), failed.task_id(), failed.attempt(), name));
      ++figures_.failures;
      LogWarning("task ", failed.task_id(), " failed on worker \"", name, "\": ", failed.message());
      Apply(control_->TaskFailed(name, failed.task_id(), failed.attempt(), failed.message(), failed.retry_elsewhere(),
                                 now, failed.code() == static_cast<uint32_t>(StatusCode::kResourceExhausted)));
      break;
    }
    case v1::FromWorker::kReturned:
      ++figures_.returned;
      Apply(control_->TaskReturned(name, message.returned().task_id(), message.returned().attempt(), now));
      break;
    case v1::FromWorker::kLog: {
      AddLog(name, message.log().text());
      const size_t slash = message.log().task_id().find('/');
      if (slash != std::string::npos)
        AddLog(message.log().task_id().substr(0, slash), Cat(name, ": ", message.log().text()));
      break;
    }
    case v1::FromWorker::kCatalog: {
      bool full = false;
      {
        std::lock_guard lock(mutex_);
        full = catalogs_.size() >= kCatalogsMax;
      }
      if (full) {
        LogWarning("worker \"", name, "\" brings one more catalogue than the ", kCatalogsMax,
                   " that are kept; restart the master");
        break;
      }
      auto json = ParseJson(message.catalog().json());
      StatusOr<Catalog> parsed = json.ok() ? Catalog::FromJson(*json) : StatusOr<Catalog>(json.status());
      if (!parsed.ok()) {
        LogWarning("worker \"", name, "\" sent no usable catalogue: ", Message(parsed.status()));
        break;
      }
      auto catalog = std::make_shared<const Catalog>(std::move(*parsed));
      {
        std::lock_guard lock(mutex_);
        catalogs_[catalog->Digest()] = catalog;
      }
      if (JoinCatalog(*catalog)) {
        Commit();
        Status kept = store_->SetValue("catalog", DumpJson(this->catalog()->ToJson()));
        if (!kept.ok()) LogError("the node types of worker \"", name, "\" could not be stored: ", Message(kept));
      }
      Apply(control_->WorkerCatalog(name, catalog, now));
      break;
    }
    case v1::FromWorker::kInventory: {
      auto inventory = FromProto(message.inventory().folders());
      {
        std::lock_guard lock(mutex_);
        inventories_[name] = inventory;
      }
      Apply(control_->WorkerInventory(name, inventory, now));
      break;
    }
    case v1::FromWorker::kModels:
      hub_->Reported(name, message.models());
      break;
    case v1::FromWorker::kModelProgress:
      hub_->Progressed(name, message.model_progress());
      ModelsMoved(name, message.model_progress());
      break;
    case v1::FromWorker::kLeaving:
      worker_notes_[name] = "drained";
      break;
    case v1::FromWorker::kHeartbeat:
      if (message.heartbeat().has_desktop()) {
        v1::Desktop& desktop = desktops_[name] = message.heartbeat().desktop();
        desktop.set_unknown(CutUtf8(desktop.unknown(), kReasonBytesMax));
      }
      break;
    case v1::FromWorker::KIND_NOT_SET:
      break;
  }
}

void Core::NoteLocalWorker(const std::string& name, const std::string& note) {
  queue_.Post([this, name, note] {
    local_workers_.insert(name);
    worker_notes_[name] = note;
  });
}

}  // namespace atelier
