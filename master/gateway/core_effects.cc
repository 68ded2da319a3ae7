#include "common/tensorio/packed_blob.h"
#include "common/tensorio/safetensors.h"
#include "master/collect/picture_parts.h"
#include "master/control/tile_stage.h"
#include "master/gateway/core.h"
#include "master/gateway/unix_ms.h"

namespace atelier {
namespace {

constexpr int kBatchResultsMax = 128;       // accepted results that share one fsync
constexpr int64_t kBatchMsMax = 5;          // and how long the first of them waits while there is more to do
constexpr int64_t kAssignMsMin = 2;         // between two rounds of leasing while there is more to do
constexpr uint64_t kPackedSlack = 1 << 20;  // that packing may add to bytes that do not shrink

v1::Blob ToProto(const Blob& blob) {
  v1::Blob out;
  out.set_hash(blob.hash);
  out.set_size(blob.size);
  return out;
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
  if (NowMs() >= assign_after_ms_) Assign();
}

// Leases for all events since the last call, however many: when nothing more waits, else in at most half of the time.
void Core::Assign() {
  const int64_t start_ms = NowMs();
  assign_after_ms_ = std::numeric_limits<int64_t>::max();
  Apply(control_->Assign(start_ms));
  const int64_t end_ms = NowMs();
  assign_after_ms_ = end_ms + std::max(kAssignMsMin, end_ms - start_ms);
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
  const auto events = std::move(batch_events_);
  const auto jobs = std::move(batch_jobs_);
  batch_messages_.clear();
  batch_events_.clear();
  batch_jobs_.clear();
  for (auto [worker, message] : messages) {
    if (!committed.ok() && message.has_ack()) message.mutable_ack()->set_accepted(false);
    Send(worker, std::move(message));
  }
  for (const auto& [watcher, event] : events)
    if (committed.ok()) watcher->Push(event, event.has_task());
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
      for (const Blob& picture : open.pictures) {  // what is mapped for each tile is checked once
        ASSIGN_OR_RETURN(BlobReader reader, blobs_->OpenBlob(picture.hash));
        RETURN_IF_ERROR(reader.Verify());
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
    struct Blobs {
      std::vector<Blob> crops, parts;
    };
    auto work = [&]() -> StatusOr<Blobs> {
      const TilePlan& plan = it->second.plan;
      Blobs made;
      std::vector<Box> boxes;
      for (const int tile : plan.steps.at(static_cast<size_t>(cut.tile))) {
        boxes.push_back(plan.tiles.at(static_cast<size_t>(tile)).crop);
        ASSIGN_OR_RETURN(std::string crop, it->second.canvas->Cut(boxes.back()));
        ASSIGN_OR_RETURN(const std::string packed, PackBlob(std::move(crop)));
        ASSIGN_OR_RETURN(made.crops.emplace_back(), blobs_->Put(packed));
      }
      for (const Blob& picture : cut.pictures) {
        ASSIGN_OR_RETURN(const auto file, blobs_->Map(picture.hash));
        if (!IsCut(file->view(), boxes.front(), plan.canvas_width, plan.canvas_height)) {
          made.parts.push_back(picture);
          continue;
        }
        ASSIGN_OR_RETURN(const std::string parts, CutParts(file->view(), boxes, plan.canvas_width, plan.canvas_height));
        ASSIGN_OR_RETURN(made.parts.emplace_back(), blobs_->Put(parts));
      }
      return made;
    };
    StatusOr<Blobs> made = work();
    queue_.Post([this, cut, made = std::move(made)]() mutable {
      Apply(made.ok() ? control_->TileCut(cut.job, cut.stage, cut.tile, std::move(made->crops), NowMs(),
                                          std::move(made->parts))
                      : control_->JobBroke(cut.job, Cat("tile ", cut.tile, ": ", Message(made.status())), NowMs()));
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
  outputs_queue_.Post(
      [this, id, files = save.files, intents = *intents, prompt = record.prompt_json, workflow = record.workflow_json] {
        auto saved = outputs_->WriteAll(*blobs_, id, files, intents, prompt, workflow);
        queue_.Post([this, id, saved = std::move(saved)]() mutable { OutputsSaved(id, std::move(saved)); });
      });
}

void Core::OutputsSaved(const std::string& id, StatusOr<std::vector<SavedOutput>> saved) {
  auto it = open_.find(id);
  if (it == open_.end()) return;
  if (!saved.ok()) {
    if (draining_) return;  // what it needs may have been ended as well; the next master saves it
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

}  // namespace atelier
