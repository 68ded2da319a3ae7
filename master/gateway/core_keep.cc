// What is kept and for how long: blobs, history, outputs; and the copy that a backup is.
#include <algorithm>
#include <filesystem>
#include <limits>

#include "master/gateway/core.h"
#include "master/gateway/unix_ms.h"
#include "master/store/files.h"

namespace atelier {
namespace {

constexpr int64_t kGarbageEveryMs = 60'000;
constexpr int64_t kRetentionEveryMs = 60'000;
constexpr uint32_t kForgetAtOnceMax = 500;  // jobs; the rest waits for the next turn, so that scheduling goes on
constexpr int64_t kSpeedsEveryMs = 10'000;
constexpr double kDayMs = 86'400'000.0;

struct JobFiles {
  std::string job;
  int64_t ended_unix_ms = 0;
  std::vector<std::string> paths;
};

}  // namespace

void Core::CollectGarbage() {
  const int64_t now = NowMs();
  const std::shared_ptr<const ClusterConfig> config = this->config();
  if (now >= next_retention_ms_) {
    next_retention_ms_ = now + kRetentionEveryMs;
    ForgetOldJobs(config->retention);
    DeleteOldOutputs(config->retention);
  }
  if (now < next_garbage_ms_) return;
  next_garbage_ms_ = now + kGarbageEveryMs;
  const int64_t as_of_unix = UnixMs() / 1000;
  auto live = store_->LiveBlobs();
  if (!live.ok()) return;
  for (const auto& [id, job] : control_->jobs()) {
    for (const auto& [stage_id, stage] : job.stages)
      for (const Stage::Tile& tile : stage.tiles)
        for (const auto* blobs : {&tile.crops, &tile.parts})
          for (const Blob& blob : *blobs) live->insert(blob.hash);
    for (const auto& [stream_id, stream] : job.streams)
      for (const Blob& crop : stream.crops) live->insert(crop.hash);
  }
  pixels_.Post([this, config, as_of_unix, live = std::move(*live)] {
    auto collected = blobs_->Collect(live, config->retention.blobs_minutes * 60,
                                     static_cast<uint64_t>(config->retention.blobs_bytes), as_of_unix);
    if (!collected.ok()) {
      LogWarning("unused blobs could not be removed: ", Message(collected.status()));
      return;
    }
    figures_.blobs = collected->kept_blobs;
    figures_.blobs_bytes = collected->kept_bytes;
    figures_.blobs_removed += collected->blobs;
    if (collected->blobs > 0) LogDebug("removed ", collected->blobs, " unused blobs, ", collected->bytes >> 20, " MiB");
  });
}

void Core::ForgetOldJobs(const ClusterConfig::Retention& retention) {
  auto work = [&]() -> StatusOr<size_t> {
    std::vector<JobStore::Ended> old;
    if (retention.history_days > 0) {
      ASSIGN_OR_RETURN(
          old, store_->EndedJobs(UnixMs() - static_cast<int64_t>(retention.history_days * kDayMs), kForgetAtOnceMax));
    }
    if (retention.history_jobs > 0 && old.empty()) {
      ASSIGN_OR_RETURN(const int64_t count, store_->CountEndedJobs());
      const int64_t more = std::min<int64_t>(count - retention.history_jobs, kForgetAtOnceMax);
      if (more > 0) {
        ASSIGN_OR_RETURN(old, store_->EndedJobs(std::numeric_limits<int64_t>::max(), static_cast<uint32_t>(more)));
      }
    }
    if (old.empty()) return size_t{0};
    ASSIGN_OR_RETURN(JobStore::Transaction batch, store_->Begin());
    size_t forgotten = 0;
    for (const JobStore::Ended& job : old) {
      if (open_.contains(job.id)) continue;  // its end is still being told
      RETURN_IF_ERROR(store_->DeleteJob(job.id));
      ++forgotten;
    }
    RETURN_IF_ERROR(batch.Commit());
    return forgotten;
  };
  const StatusOr<size_t> forgotten = work();
  if (!forgotten.ok()) {
    LogWarning("old jobs could not be forgotten: ", Message(forgotten.status()));
  } else if (*forgotten > 0) {
    figures_.jobs_forgotten += *forgotten;
    LogInfo("forgot ", *forgotten, " old jobs; their files stay");
  }
}

void Core::DeleteOldOutputs(const ClusterConfig::Retention& retention) {
  if (retention.outputs_days <= 0 && retention.outputs_bytes <= 0) return;
  const int64_t too_old = retention.outputs_days > 0 ? UnixMs() - static_cast<int64_t>(retention.outputs_days * kDayMs)
                                                     : std::numeric_limits<int64_t>::min();
  if (deleting_outputs_) return;  // the files that the last look found are not gone yet
  auto ended = store_->EndedJobs(retention.outputs_bytes > 0 ? std::numeric_limits<int64_t>::max() : too_old, 0);
  std::vector<JobFiles> files;
  for (size_t i = 0; ended.ok() && i < ended->size(); ++i) {
    auto outputs = store_->GetOutputs((*ended)[i].id);
    if (!outputs.ok() || outputs->empty()) continue;
    files.push_back({(*ended)[i].id, (*ended)[i].ended_unix_ms, {}});
    for (const SavedOutput& output : *outputs) files.back().paths.push_back(output.path);
  }
  if (files.empty()) return;
  deleting_outputs_ = true;
  outputs_queue_.Post([this, too_old, bytes_max = retention.outputs_bytes, files = std::move(files)] {
    std::error_code ignored;
    std::vector<uint64_t> sizes;
    uint64_t total = 0;
    for (const JobFiles& job : files) {
      uint64_t size = 0;
      for (const std::string& path : job.paths)
        if (std::filesystem::is_regular_file(std::filesystem::symlink_status(path, ignored)))
          size += std::filesystem::file_size(path, ignored);
      sizes.push_back(size);
      total += size;
    }
    std::vector<std::string> deleted;
    for (size_t i = 0; i < files.size(); ++i) {
      const bool over = bytes_max > 0 && total > static_cast<uint64_t>(bytes_max);
      if (files[i].ended_unix_ms >= too_old && !over) break;  // from here on they are younger
      for (const std::string& path : files[i].paths)
        if (std::filesystem::is_regular_file(std::filesystem::symlink_status(path, ignored)))
          std::filesystem::remove(path, ignored);
      total -= sizes[i];
      deleted.push_back(files[i].job);
    }
    queue_.Post([this, deleted] {
      deleting_outputs_ = false;
      for (const std::string& job : deleted) {
        Commit();
        const Status forgotten = store_->DeleteOutputs(job);
        if (!forgotten.ok()) LogWarning(Message(forgotten));
      }
      if (!deleted.empty()) LogInfo("deleted the output files of ", deleted.size(), " old jobs");
    });
  });
}

void Core::KeepSpeeds() {
  next_speeds_ms_ = NowMs() + kSpeedsEveryMs;
  const SpeedBook& speeds = control_->speeds();
  if (speeds.observations() == speeds_kept_) return;
  speeds_kept_ = speeds.observations();
  Commit();
  const Status kept = store_->SetValue("speeds", DumpJson(speeds.ToJson()));
  if (!kept.ok()) LogWarning("the workers' speeds could not be stored: ", Message(kept));
}

StatusOr<Core::Backed> Core::Backup() {
  namespace fs = std::filesystem;
  std::error_code error;
  for (fs::directory_iterator it(options_.state_dir, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (it->path().filename().string().starts_with("backup-")) fs::remove_all(it->path(), ignored);
  }
  Backed backed{Cat(options_.state_dir, "/backup-", UnixMs()), 0, 0};
  RETURN_IF_ERROR(MakeFolders(backed.folder));
  StatusOr<std::set<std::string>> live = std::set<std::string>();
  Status copied = Unavailable("the master is ending");
  queue_.Run([&] {
    Commit();
    auto bytes = store_->BackupTo(backed.folder + "/atelier.db");
    copied = bytes.status();
    if (bytes.ok()) backed.bytes = *bytes;
    live = store_->LiveBlobs();
  });
  RETURN_IF_ERROR(copied);
  RETURN_IF_ERROR(live.status());
  // On the thread that removes unused blobs, so that none of these goes meanwhile.
  Status linked = Unavailable("the master is ending");
  pixels_.Run([&] {
    linked = OkStatus();
    for (const std::string& hash : *live) {
      auto bytes = blobs_->LinkInto(hash, backed.folder + "/blobs");
      linked = bytes.status();
      if (!linked.ok()) return;
      backed.blobs += *bytes > 0 ? 1 : 0;
      backed.bytes += *bytes;
    }
  });
  RETURN_IF_ERROR(linked);
  LogInfo("backed up the database and ", backed.blobs, " blobs to ", backed.folder);
  return backed;
}

}  // namespace atelier
