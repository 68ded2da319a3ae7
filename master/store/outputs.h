// Output files by the reference's naming rules, written so that a crash at any instant neither loses nor doubles one.
//
//   intents = writer.Plan(job, files, now)     names chosen and reserved in memory
//   job_store.PutIntents(job, intents)         durable
//   outputs = writer.WriteAll(...)             may be repeated after a crash: same names, each file once
//   job_store.FinishJob(..., outputs)          durable
//   writer.Release(job)
// At start: writer.Reserve(job, intents) of every open job, before the first Plan().
// Source: spec engine.md 11.1, 11.2.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "master/store/blob_store.h"
#include "master/store/records.h"

namespace atelier {

/// A prefix taken apart: `subfolder` below the output folder ("" for none) and the file name's `base`.
struct OutputName {
  std::string subfolder;
  std::string base;
  bool operator==(const OutputName&) const = default;
};

/// Resolves %width% %height% %year% %month% %day% %hour% %minute% %second% (local time of `unix_seconds`), normalises
/// the path and splits it; %batch_num% stays. Errors: INVALID_ARGUMENT for a prefix that leaves the folder, is
/// absolute, has control characters or too long a name. Thread: any.
StatusOr<OutputName> ResolveOutputPrefix(std::string_view prefix, uint32_t width, uint32_t height,
                                         int64_t unix_seconds);

/// Thread: any.
class OutputWriter {
 public:
  /// Both folders are made when they are first written to.
  OutputWriter(const std::string& output_dir, const std::string& temp_dir);

  /// Chooses the names of all files of a job and reserves them until Release(): the files of one node with one prefix
  /// count on from one counter, 1 + the largest there is (on disk, reserved, or planned here); those with a suffix
  /// share one number. `files` in the order in
  /// which the nodes ran; intents have their order. Errors: INVALID_ARGUMENT (prefix, type or extension),
  /// RESOURCE_EXHAUSTED.
  StatusOr<std::vector<OutputIntent>> Plan(std::string_view job_id, const std::vector<OutputFileMeta>& files,
                                           int64_t unix_seconds);
  /// Takes planned names again after a restart.
  void Reserve(std::string_view job_id, const std::vector<OutputIntent>& intents);
  void Release(std::string_view job_id);

  /// Writes every file under its intended name: temporary file in the same folder, fsync, link without replacing, fsync
  /// of the folder. A name that holds the same bytes already counts as written; one with other bytes is left alone and
  /// the next free counter taken. `prompt_json` and `workflow_json` (may be empty) go into files with embed_workflow,
  /// as PNG text chunks, .latent metadata or tags of videos and sound, in Python's JSON form. Errors:
  /// RESOURCE_EXHAUSTED (disk full: folder and remedy), DATA_LOSS or NOT_FOUND (a blob), INVALID_ARGUMENT (JSON, or a
  /// damaged PNG), FAILED_PRECONDITION (folder cannot be written). After an error it may be called again.
  StatusOr<std::vector<SavedOutput>> WriteAll(BlobStore& blobs, std::string_view job_id,
                                              const std::vector<OutputFileMeta>& files,
                                              const std::vector<OutputIntent>& intents, std::string_view prompt_json,
                                              std::string_view workflow_json);

  const std::string& output_dir() const { return output_dir_; }
  const std::string& temp_dir() const { return temp_dir_; }

 private:
  std::string output_dir_, temp_dir_;
  std::mutex mutex_;
  std::map<std::string, std::vector<OutputIntent>, std::less<>> reserved_;  // by job
};

}  // namespace atelier
