#include "master/gateway/core.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <chrono>
#include <limits>

#include "common/files/files.h"
#include "common/rpc/protocol.h"
#include "common/tensorio/packed_blob.h"
#include "common/tensorio/safetensors.h"
#include "master/control/tile_stage.h"
#include "master/planner/planner.h"

namespace atelier {
namespace {

constexpr size_t kControlQueueMax = limits::kEventQueueMax;
constexpr size_t kCatalogsMax = 256;        // of workers of different versions
constexpr size_t kTypesMax = 20'000;        // node types, those that workers brought along included
constexpr int kBatchResultsMax = 128;       // accepted results that share one fsync
constexpr uint64_t kPackedSlack = 1 << 20;  // that packing may add to bytes that do not shrink
constexpr int64_t kBatchMsMax = 5;          // and how long the first of them waits while there is more to do
constexpr size_t kPixelQueueMax = std::numeric_limits<size_t>::max();  // bounded by the tiles of open jobs; the control
                                                                       // thread must never wait for pixels

int64_t UnixMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

v1::Blob ToProto(const Blob& blob) {
  v1::Blob out;
  out.set_hash(blob.hash);
  out.set_size(blob.size);
  return out;
}

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

// A plain value out of a literal's blob.
StatusOr<Json> LiteralOf(BlobStore& blobs, const Blob& blob) {
  ASSIGN_OR_RETURN(const std::string bytes, blobs.ReadAll(blob.hash));
  ASSIGN_OR_RETURN(const SafetensorsView view, ParseSafetensors(bytes, "a value"));
  auto json = view.metadata().find("json");
  if (json == view.metadata().end()) return InvalidArgument("a linked setting is no plain value");
  return ParseJson(json->second);
}

}  // namespace

Core::Core(CoreOptions options)
    : options_(std::move(options)),
      config_(std::make_shared<const ClusterConfig>(options_.config)),
      pixels_("pixels", kPixelQueueMax),
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
  });
  queue_.Stop();
  pixels_.Stop();
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

  auto known = store_->GetValue("workers");
  if (known.ok()) {
    ASSIGN_OR_RETURN(const Json workers, ParseJson(*known));
    for (const auto& [name, enabled] : workers.items())
      known_workers_[name] = enabled.is_boolean() && enabled.get<bool>();
  }
  for (const std::string& name : options_.configured_workers) known_workers_.emplace(name, configured_[name] = true);
  for (const std::string& name : options_.disabled_workers) known_workers_[name] = configured_[name] = false;
  for (const auto& [name, enabled] : known_workers_) Apply(control_->SetWorkerEnabled(name, enabled, NowMs()));

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
  queue_.SetIdle([this] { Commit(); });
  queue_.SetTick(1000, [this] {
    last_tick_ms_ = NowMs();
    Apply(control_->Tick(NowMs()));
    BringModels();
    Commit();
    CollectGarbage();
    if (NowMs() >= next_speeds_ms_) KeepSpeeds();
  });
}

// ---- effects ----

// Results are recorded at once and made durable with those of the next events (Commit); what tells a worker or anybody
// that they are durable waits until then.
void Core::Apply(Effects effects) {
  for (Effect& any : effects) {
    if (auto* record = std::get_if<effect::RecordAccepted>(&any)) {
      if (!batch_ && batch_status_.ok()) {
        auto begun = store_->Begin();
        if (begun.ok())
          batch_.emplace(std::move(*begun));
        else
          batch_status_ = begun.status();
      }
      if (batch_results_ == 0) batch_began_ms_ = NowMs();
      batch_jobs_.insert(record->job);
      ++batch_results_;
      if (!record->worker.empty()) {
        ++figures_.results;
        figures_.task_seconds.Observe(record->seconds);
      }
      if (batch_status_.ok())
        batch_status_ = store_->AcceptTask({record->job, record->task, record->results, record->files, record->worker,
                                            record->attempt, record->seconds});
    } else if (auto* save = std::get_if<effect::SaveOutputs>(&any)) {
      Commit();
      // A job whose results could not be kept has failed by now.
      if (const auto job = control_->jobs().find(save->job);
          job != control_->jobs().end() && job->second.state == JobState::kSaving)
        Carry(*save);
    } else if (auto* ack = std::get_if<effect::SendAck>(&any)) {
      AckNow(*ack);
    } else if (auto* ended = std::get_if<effect::EndJob>(&any)) {
      Commit();
      EndJob(ended->job, ended->state, ended->error);
    } else if (auto* changed = std::get_if<effect::Changed>(&any)) {
      Notify(changed->job, changed->task);
    } else {
      std::visit(
          [this](auto& carried) {
            if constexpr (requires { this->Carry(carried); }) this->Carry(carried);
          },
          any);
    }
  }
  if (!batch_status_.ok() || batch_results_ >= kBatchResultsMax || (batch_ && NowMs() - batch_began_ms_ >= kBatchMsMax))
    Commit();
}

// REQUIRES: the control thread. Makes everything recorded so far durable, then sends what waited for it.
void Core::Commit() {
  if (!batch_ && batch_status_.ok()) return;
  const int64_t start_ms = NowMs();
  const Status committed = batch_status_.ok() ? batch_->Commit() : batch_status_;
  batch_.reset();
  batch_status_ = OkStatus();
  figures_.commit_seconds.Observe(static_cast<double>(NowMs() - start_ms) / 1000);
  batch_results_ = 0;
  const auto messages = std::move(batch_messages_);
  const auto jobs = std::move(batch_jobs_);
  batch_messages_.clear();
  batch_jobs_.clear();
  for (auto [worker, message] : messages) {
    if (!committed.ok() && message.has_ack()) message.mutable_ack()->set_accepted(false);
    Send(worker, std::move(message));
  }
  for (const std::string& job : jobs) {
    if (committed.ok()) break;
    LogError("the store refused a result of job ", job, ": ", Message(committed));
    Apply(control_->JobBroke(job, Message(committed), NowMs()));
  }
}

void Core::Send(const std::string& worker, v1::ToWorker message) {
  if (fleet_ == nullptr) return;
  if (batch_ || !batch_status_.ok())
    batch_messages_.emplace_back(worker, std::move(message));
  else
    fleet_->Send(worker, std::move(message));
}

void Core::AckNow(const effect::SendAck& ack) {
  v1::ToWorker message;
  message.mutable_ack()->set_task_id(ack.task);
  message.mutable_ack()->set_attempt(ack.attempt);
  message.mutable_ack()->set_accepted(ack.accepted);
  message.mutable_ack()->set_note(ack.note);
  if (!ack.note.empty() && ack.note.find("other bytes") != std::string::npos) {
    ++figures_.other_bytes;
    LogWarning("task ", ack.task, " on worker \"", ack.worker, "\": ", ack.note,
               "; is its hardware or thread count another?");
  }
  Send(ack.worker, std::move(message));
}

void Core::Carry(const effect::SendLease& send) {
  v1::ToWorker message;
  v1::Lease& lease = *message.mutable_lease();
  lease.set_task_id(send.task);
  lease.set_attempt(send.attempt);
  lease.set_job_id(send.job);
  lease.set_fragment(DumpJson(send.spec->nodes));
  for (const ResolvedBinding& from : send.bindings) {
    v1::Binding& binding = *lease.add_bindings();
    binding.set_node(from.node);
    binding.set_input(from.input);
    binding.set_gather(from.gather);
    for (const Blob& blob : from.blobs) *binding.add_blobs() = ToProto(blob);
  }
  for (const Wanted& from : send.spec->wanted) {
    v1::Wanted& wanted = *lease.add_wanted();
    wanted.set_node(from.node);
    wanted.set_slot(static_cast<uint32_t>(from.slot));
    wanted.set_encoding(from.encoding);
  }
  for (const std::string& node : send.spec->output_nodes) lease.add_output_nodes(node);
  for (const auto& [name, blob] : send.inputs) {
    v1::InputFile& input = *lease.add_inputs();
    input.set_name(name);
    *input.mutable_blob() = ToProto(blob);
  }
  const LogFields about = About(send.job, send.task, send.attempt, send.worker);
  lease.set_trace_id(about.trace);
  const LogScope scope(about);
  ++figures_.leases;
  LogDebug("lease ", send.task, " attempt ", send.attempt, " to \"", send.worker, "\"");
  Send(send.worker, std::move(message));
}

void Core::Carry(const effect::SendCancel& cancel) {
  v1::ToWorker message;
  message.mutable_cancel()->set_task_id(cancel.task);
  message.mutable_cancel()->set_attempt(cancel.attempt);
  message.mutable_cancel()->set_reason(cancel.reason);
  Send(cancel.worker, std::move(message));
}

void Core::Carry(const effect::SendDrain& drain) {
  LogWarning("worker \"", drain.worker, "\" is drained: ", drain.reason);
  worker_notes_[drain.worker] = drain.reason;
  v1::ToWorker message;
  message.mutable_drain()->set_reason(drain.reason);
  Send(drain.worker, std::move(message));
}

void Core::Carry(const effect::OpenCanvas& open) {
  pixels_.Post([this, open] {
    auto work = [&]() -> StatusOr<StageGraph> {
      Json settings = open.settings;
      for (const auto& [name, blob] : open.linked) {
        if (!IsTileSetting(name, open.split)) continue;
        ASSIGN_OR_RETURN(settings[name], LiteralOf(*blobs_, blob));
      }
      ASSIGN_OR_RETURN(const std::string image, blobs_->ReadAll(open.image.hash));
      ASSIGN_OR_RETURN(Canvas canvas, Canvas::FromBlob(image, config()->limits.image_pixels_max));
      ASSIGN_OR_RETURN(TileStage stage, PlanTileStage(settings, open.split, open.order, open.documented, canvas.width(),
                                                      canvas.height()));
      canvases_[{open.job, open.stage}] = {std::make_unique<Canvas>(std::move(canvas)), std::move(stage.plan)};
      return std::move(stage.graph);
    };
    StatusOr<StageGraph> graph = work();
    queue_.Post([this, open, graph = std::move(graph)]() mutable {
      if (graph.ok())
        Apply(control_->CanvasOpened(open.job, open.stage, std::move(*graph), NowMs()));
      else
        Apply(control_->JobBroke(open.job, Cat("stage ", open.stage, ": ", Message(graph.status())), NowMs()));
    });
  });
}

void Core::Carry(const effect::CutTile& cut) {
  pixels_.Post([this, cut] {
    auto it = canvases_.find({cut.job, cut.stage});
    if (it == canvases_.end()) return;
    auto work = [&]() -> StatusOr<std::vector<Blob>> {
      const TilePlan& plan = it->second.plan;
      std::vector<Blob> crops;
      for (const int tile : plan.steps.at(static_cast<size_t>(cut.tile))) {
        ASSIGN_OR_RETURN(std::string crop, it->second.canvas->Cut(plan.tiles.at(static_cast<size_t>(tile)).crop));
        ASSIGN_OR_RETURN(const std::string packed, PackBlob(std::move(crop)));
        ASSIGN_OR_RETURN(crops.emplace_back(), blobs_->Put(packed));
      }
      return crops;
    };
    StatusOr<std::vector<Blob>> crops = work();
    queue_.Post([this, cut, crops = std::move(crops)]() mutable {
      Apply(crops.ok() ? control_->TileCut(cut.job, cut.stage, cut.tile, std::move(*crops), NowMs())
                       : control_->JobBroke(cut.job, Cat("tile ", cut.tile, ": ", Message(crops.status())), NowMs()));
    });
  });
}

void Core::Carry(const effect::PasteTile& paste) {
  pixels_.Post([this, paste] {
    auto it = canvases_.find({paste.job, paste.stage});
    if (it == canvases_.end()) return;
    auto work = [&]() -> Status {
      const TilePlan& plan = it->second.plan;
      const std::vector<int>& step = plan.steps.at(static_cast<size_t>(paste.tile));
      const int64_t bytes_max = it->second.canvas->StepBytesMax(plan, step);
      ASSIGN_OR_RETURN(const uint64_t size, blobs_->Size(paste.pixels.hash));
      if (size > static_cast<uint64_t>(bytes_max) + kPackedSlack)
        return ResourceExhausted("the worker's pixels take ", size, " bytes, expected at most ", bytes_max);
      ASSIGN_OR_RETURN(std::string packed, blobs_->ReadAll(paste.pixels.hash));
      ASSIGN_OR_RETURN(const std::string pixels, UnpackBlob(std::move(packed), bytes_max));
      return it->second.canvas->Paste(plan, step, pixels);
    };
    Status pasted = work();
    if (pasted.ok()) return;
    queue_.Post([this, paste, pasted] {
      Apply(control_->JobBroke(paste.job, Cat("tile ", paste.tile, ": ", Message(pasted)), NowMs()));
    });
  });
}

void Core::Carry(const effect::CloseCanvas& close) {
  pixels_.Post([this, close] {
    auto it = canvases_.find({close.job, close.stage});
    if (it == canvases_.end()) return;
    if (!close.keep) {
      canvases_.erase(it);
      return;
    }
    StatusOr<Blob> result = blobs_->Put(it->second.canvas->ToBlob());
    canvases_.erase(it);
    queue_.Post([this, close, result = std::move(result)] {
      Apply(result.ok() ? control_->CanvasClosed(close.job, close.stage, *result, NowMs())
                        : control_->JobBroke(close.job, Message(result.status()), NowMs()));
    });
  });
}

void Core::Carry(const effect::SaveOutputs& save) {
  const std::string id = save.job;
  OpenJobInfo& info = open_.at(id);
  info.files = save.files;
  auto intents = store_->GetIntents(id);
  if (!intents.ok() || intents->size() != save.files.size()) {
    intents = outputs_->Plan(id, save.files, UnixMs() / 1000);
    Status kept = intents.ok() ? store_->PutIntents(id, *intents) : intents.status();
    if (!kept.ok()) {
      queue_.Post([this, id, kept] { OutputsSaved(id, kept); });
      return;
    }
  }
  const JobRecord& record = info.record;
  pixels_.Post(
      [this, id, files = save.files, intents = *intents, prompt = record.prompt_json, workflow = record.workflow_json] {
        auto saved = outputs_->WriteAll(*blobs_, id, files, intents, prompt, workflow);
        queue_.Post([this, id, saved = std::move(saved)]() mutable { OutputsSaved(id, std::move(saved)); });
      });
}

void Core::OutputsSaved(const std::string& id, StatusOr<std::vector<SavedOutput>> saved) {
  auto it = open_.find(id);
  if (it == open_.end()) return;
  if (!saved.ok()) {
    Apply(control_->JobBroke(id, Message(saved.status()), NowMs()));
    return;
  }
  JobRecord& record = it->second.record;
  const int64_t now = UnixMs();
  const double seconds = static_cast<double>(now - record.created_unix_ms) / 1000.0;
  Commit();
  Status finished = store_->FinishJob(id, "done", "", now, seconds, *saved);
  if (!finished.ok()) {
    Apply(control_->JobBroke(id, Message(finished), NowMs()));
    return;
  }
  outputs_->Release(id);
  record.state = "done";
  record.ended_unix_ms = now;
  record.seconds = seconds;
  CountEnd(record);
  const LogScope scope(About(id));
  it->second.outputs = std::move(*saved);
  LogInfo("job ", id, " done in ", seconds, " s, ", it->second.outputs.size(), " files");
  Apply(control_->JobSaved(id, NowMs()));
  control_->ForgetJob(id);
  open_.erase(id);
}

void Core::EndJob(const std::string& id, const std::string& state, const std::string& error) {
  auto it = open_.find(id);
  if (it == open_.end()) return;
  JobRecord& record = it->second.record;
  const int64_t now = UnixMs();
  record.state = state;
  record.error = error;
  record.ended_unix_ms = now;
  record.seconds = static_cast<double>(now - record.created_unix_ms) / 1000.0;
  Commit();
  Status ended = store_->FinishJob(id, state, error, now, record.seconds, {});
  CountEnd(record);
  const LogScope scope(About(id));
  if (!ended.ok()) LogError("job ", id, " ended but could not be recorded: ", Message(ended));
  outputs_->Release(id);
  LogInfo("job ", id, " ", state, ": ", error);
  Notify(id, "");
  // The reducer may still be walking over the job: forget it in a step of its own.
  queue_.Post([this, id] {
    control_->ForgetJob(id);
    open_.erase(id);
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
  events.lost = [this](const std::string& name, const std::string& instance) {
    queue_.Post([this, name, instance] {
      auto known = control_->workers().find(name);
      if (known == control_->workers().end() || known->second.info.instance != instance) return;
      ++figures_.workers_lost;
      LogInfo("worker \"", name, "\" left");
      {
        std::lock_guard lock(mutex_);
        inventories_.erase(name);
      }
      hub_->Lost(name);
      // An ending master cuts all streams itself: no worker died over its task.
      if (!draining_) Apply(control_->WorkerLost(name, instance, NowMs()));
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

void Core::RememberWorker(const std::string& name, bool enabled) {
  auto [it, added] = known_workers_.emplace(name, enabled);
  if (!added && it->second == enabled) return;
  it->second = enabled;
  StoreKnownWorkers();
}

void Core::StoreKnownWorkers() {
  Json json = Json::object();
  for (const auto& [known, on] : known_workers_) json[known] = on;
  Commit();
  Status kept = store_->SetValue("workers", DumpJson(json));
  if (!kept.ok()) LogError("the list of workers could not be stored: ", Message(kept));
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
      if (!known_workers_.contains(name)) RememberWorker(name, true);
      std::vector<Held> held;
      for (const v1::HeldAttempt& one : attach.held())
        held.push_back({one.task_id(), one.attempt(), one.finished(), one.running()});
      Apply(control_->WorkerAttached(std::move(info), held, now));
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
