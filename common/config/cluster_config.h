// The settings of a master and of the workers that it starts, read from one YAML file (config/cluster.yaml documents
// every key). Each key is declared once, in settings.cc; its default is the initialiser here. No file of this module
// but yaml_*.cc sees yaml-cpp.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/limits.h"
#include "common/base/status.h"
#include "common/base/tags.h"

namespace atelier {

/// One worker that the cluster is configured to have. The number of enabled ones is the default number of replicas of a
/// job.
struct WorkerConfig {
  std::string name;              // unique; letters, digits, '.', '_', '-'
  std::string device = "auto";   // auto, cpu, cuda:N
  bool start = true;             // the master starts and watches it; false: it dials in from elsewhere under this name
  bool enabled = true;           // gets work and counts as a replica
  Tags tags;                     // jobs that ask for some go to workers that have all of them
  std::string hours;             // Hours::Parse, in the master's time zone; outside them it gets nothing new
  int64_t idle_minutes = 0;      // works when nobody has used its desktop for so long; 0: always
  int64_t power_watts = 0;       // limit of its GPU; 0: as it is
  int64_t threads = 0;           // CPU threads of one task; 0: half of the machine's cores
  int64_t models_bytes_max = 0;  // bytes of loaded models; 0: three quarters of the device's memory
  int64_t cache_bytes_max = int64_t{1} << 30;  // bytes of nodes' outputs kept between tasks
  int64_t models_disk_max = 0;  // bytes of models that were brought and stay on its disk; 0: what the disk has
  std::string peer_listen;      // HOST:PORT on which it gives models to other workers; "": it does not
  bool operator==(const WorkerConfig&) const = default;
};

struct ClusterConfig {
  struct Master {
    std::string listen = "127.0.0.1:50188";  // HOST:PORT of the gRPC services
    std::string address;                     // HOST:PORT that others reach it at; "": found from listen
    std::string state_dir;                   // blobs, and the database of sqlite; "": StateDir()
    std::string output_dir = "output";       // relative paths: below the working folder
    std::string input_dir = "input";
    bool operator==(const Master&) const = default;
  } master;

  struct Store {
    std::string kind = "sqlite";  // sqlite, postgres
    std::string url;              // of PostgreSQL, without a password
    std::string password_file;    // ""; else a secret file
    bool operator==(const Store&) const = default;
  } store;

  struct Security {
    std::string tls = "auto";  // auto: outside loopback; always
    double worker_hours = 24;  // life of a worker's certificate
    double person_days = 365;  // of an operator's or viewer's
    bool operator==(const Security&) const = default;
  } security;

  struct Models {
    std::vector<std::string> roots = {"models"};  // folders in the reference's layout, searched in this order
    std::string share = "auto";                   // auto, asked: what brings models to workers
    int64_t bytes_per_second = 0;                 // of models, that each program sends and takes; 0: any
    bool operator==(const Models&) const = default;
  } models;

  struct Workers {
    std::string local =
        "auto";  // auto: one per GPU, or one on the CPU; a number: so many on the CPU; ignored if list is set
    std::vector<WorkerConfig> list;  // the workers by name
    bool operator==(const Workers&) const = default;
  } workers;

  struct Scheduling {
    double heartbeat_seconds = 2;  // how often a worker reports
    double hung_factor = 3;        // a step that takes so many times its learned time is hung
    double hung_seconds_min = 30;  // but never earlier than this
    int64_t attempts_max = limits::kAttemptsMax;
    int64_t poison_workers = limits::kPoisonWorkers;
    std::string shares;                // "NAME=WEIGHT, ...": of submitters; others have 1
    std::string tiles = "exact";       // order of tiled upscales: exact, independent or by-image
    std::string frames = "auto";       // windows of videos: auto, windows or whole
    int64_t window_frames = 0;         // frames of a window; 0: by their size
    std::string compat = "reference";  // or documented: settings that the reference ignores
    bool operator==(const Scheduling&) const = default;
  } scheduling;

  struct Limits {
    int64_t json_bytes_max = limits::kJsonBytesMax;
    int64_t image_pixels_max = limits::kImagePixelsMax;
    int64_t blob_bytes_max = limits::kBlobBytesMax;
    int64_t replicas_max = limits::kReplicasMax;
    int64_t jobs_waiting_max = 10'000;               // jobs accepted and not ended; more are refused
    int64_t identity_jobs_max = 2'000;               // open jobs of one identity
    int64_t identity_input_bytes_max = 256LL << 30;  // of the inputs of its open jobs
    int64_t identity_calls_per_second = 5'000;
    int64_t disk_free_bytes_min = 256LL << 20;  // below this the master accepts no new job and takes no files
    int64_t log_lines_max = limits::kLogLinesMax;
    bool operator==(const Limits&) const = default;
  } limits;

  struct Log {
    std::string level = "info";   // debug, info, warning, error
    std::string format = "text";  // text, json
    bool operator==(const Log&) const = default;
  } log;

  struct Retention {
    double history_days = 0;
    int64_t history_jobs = 100'000;
    double outputs_days = 0;
    int64_t outputs_bytes = 0;
    double blobs_minutes = 10;
    int64_t blobs_bytes = 0;
    bool operator==(const Retention&) const = default;
  } retention;

  struct Metrics {
    std::string listen = "127.0.0.1:50189";
    bool operator==(const Metrics&) const = default;
  } metrics;

  struct Discovery {
    bool publish = false;
    bool operator==(const Discovery&) const = default;
  } discovery;

  bool operator==(const ClusterConfig&) const = default;
};

/// `scheduling.shares` by name; nothing when the text is malformed or a weight is not from 0.01 to 100. Thread: any.
std::optional<std::map<std::string, double>> ParseShares(std::string_view text);

/// What a master runs with when no file is given. Thread: any.
ClusterConfig DefaultClusterConfig();

/// Reads and checks a file; keys that it leaves out keep their defaults. Errors: NOT_FOUND, or INVALID_ARGUMENT with
/// every fault on a line of its own as `cluster.yaml:12: unknown key "wrokers", did you mean "workers"?`. Thread: any.
StatusOr<ClusterConfig> LoadClusterConfig(const std::string& path);

/// The same of a text; `name` stands in the errors. Thread: any.
StatusOr<ClusterConfig> ParseClusterConfig(std::string_view text, std::string_view name);

/// One declared key.
struct SettingInfo {
  std::string key;            // "master.listen"; keys of a worker: "workers.list.NAME.device"
  std::string type;           // text, number, integer, bytes, yes/no, list of texts, list of workers
  std::string default_value;  // as it would stand in the file
  std::string range;          // "1 to 100", "debug | info", or ""
  std::string unit;           // "seconds", or ""
  std::string help;
  bool live = false;  // a running master takes a change over; else it needs a restart
};

/// One key that differs between two configurations.
struct SettingChange {
  std::string key;            // of a worker: "workers.list.NAME", or "workers.list.NAME.device"
  std::string before, after;  // as they would stand in the file; "" of a worker that is not there
  bool live = false;
};

/// What differs, in the order of the file; workers by name. Thread: any.
std::vector<SettingChange> DiffClusterConfig(const ClusterConfig& before, const ClusterConfig& after);

/// The listed worker of this name, or null. Thread: any.
const WorkerConfig* FindWorker(const ClusterConfig& config, const std::string& name);

/// `running` with the live settings of `next`: what a master goes on with after its file has changed. Thread: any.
ClusterConfig TakeLiveSettings(const ClusterConfig& running, const ClusterConfig& next);

/// Every key in the order of the file. Thread: any.
std::vector<SettingInfo> ClusterSettings();

/// The value of one key as it would stand in the file. Errors: INVALID_ARGUMENT for an unknown key. Thread: any.
StatusOr<std::string> GetSetting(const ClusterConfig& config, std::string_view key);

/// The whole configuration as YAML without comments. Thread: any.
std::string ShowClusterConfig(const ClusterConfig& config);

/// The same with type, range, unit and help of every key as comments: config/cluster.yaml is this of the defaults.
/// Thread: any.
std::string DocumentedClusterConfig(const ClusterConfig& config);

/// `text` with one key set, everything else (comments, order, spacing) kept. `value` is YAML: 12, 2GiB, [a, b]. Errors:
/// INVALID_ARGUMENT for an unknown key, a value out of range, a file with faults, or a place that only a person can
/// edit. Thread: any.
StatusOr<std::string> SetSettingInText(std::string_view text, std::string_view key, std::string_view value,
                                       std::string_view name);

/// The same in a file, which is replaced as a whole (temporary name, fsync, rename) and made when absent. Thread: one
/// caller per file.
Status SetSettingInFile(const std::string& path, std::string_view key, std::string_view value);

/// `text` with one more worker; `keys` are pairs of a worker's key and its value as YAML, as ("device", "cuda:0").
/// Errors: INVALID_ARGUMENT as SetSettingInText, and for a name that is taken. Thread: any.
StatusOr<std::string> AddWorkerToText(std::string_view text, std::string_view worker,
                                      const std::vector<std::pair<std::string, std::string>>& keys,
                                      std::string_view name);
/// The same in a file. Thread: one caller per file.
Status AddWorkerToFile(const std::string& path, std::string_view worker,
                       const std::vector<std::pair<std::string, std::string>>& keys);

/// $ATELIER_STATE_DIR, else /var/lib/atelier where it exists and can be written, else $XDG_STATE_HOME/atelier, else
/// ~/.local/state/atelier. Thread: any that does not race setenv.
std::string StateDir();

}  // namespace atelier
