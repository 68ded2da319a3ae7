// What the master keeps about a job, as plain data. Thread: values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace atelier {

/// Bytes named by their SHA-256.
struct BlobRef {
  std::string hash{};  // 64 lower-case hex digits
  uint64_t size = 0;
  bool operator==(const BlobRef&) const = default;
};

/// An encoded file that a task made and the master names and writes: session.proto's OutputFile.
struct OutputFileMeta {
  std::string node{};
  std::string type = "output";  // "output" or "temp"
  std::string prefix{};         // as the node's input gives it, placeholders unresolved
  std::string extension{};      // "png", "latent", ...; letters and digits
  uint32_t batch_index = 0;
  uint32_t width = 0, height = 0;  // pixels, for %width% and %height%; 0 when the file has none
  bool embed_workflow = false;     // write `prompt` and `workflow` into the file
  BlobRef blob{};
  // Present: the name is `<base>_<00001><suffix>.<extension>`, and all such files of a node share one number.
  std::optional<std::string> suffix{};
  bool operator==(const OutputFileMeta&) const = default;
};

/// A submitted job.
struct JobRecord {
  std::string id{};
  std::string name{};
  std::string prompt_json{};    // API prompt, the text as submitted
  std::string workflow_json{};  // editor workflow, may be empty
  std::string settings_json{};
  int32_t replicas = 1;
  std::string tiles{};           // "", "exact", "independent"
  std::string state = "queued";  // ends in done, failed or cancelled
  std::string error{};
  std::string plan_digest{};
  int64_t created_unix_ms = 0;
  int64_t ended_unix_ms = 0;  // 0: still open
  double seconds = 0;
  bool operator==(const JobRecord&) const = default;
};

/// A file that a job reads, as its workflow names it.
struct InputBinding {
  std::string name{};
  BlobRef blob{};
  bool operator==(const InputBinding&) const = default;
};

/// The one accepted result of a task.
struct AcceptedTask {
  std::string job_id{};
  std::string task_id{};
  std::vector<BlobRef> results{};  // one per wanted value, in order
  std::vector<OutputFileMeta> files{};
  std::string worker{};
  uint64_t attempt = 0;
  double seconds = 0;
  bool operator==(const AcceptedTask&) const = default;
};

/// Where an output file is going to be written; recorded before the write, so that a repeated write after a crash goes
/// to the same name.
struct OutputIntent {
  uint32_t index = 0;  // of the file in the job's list of files
  std::string type = "output";
  std::string subfolder{};  // below the folder of the type, "/" separated, "" for none
  std::string base{};       // file name up to the counter, placeholders resolved
  uint64_t counter = 1;
  std::string extension{};
  std::optional<std::string> suffix{};
  bool operator==(const OutputIntent&) const = default;

  /// `<base>_<00001>_.<extension>`, with a suffix `<base>_<00001><suffix>.<extension>`. Source: spec engine.md 11.1,
  /// extras.md 4.3.
  std::string filename() const;
};

/// A file that lies in its place.
struct SavedOutput {
  uint32_t index = 0;  // of the file in the job's list of files
  std::string node{};
  std::string type{};
  std::string path{};  // absolute
  std::string subfolder{};
  std::string filename{};
  uint32_t batch_index = 0;
  bool operator==(const SavedOutput&) const = default;
};

}  // namespace atelier
