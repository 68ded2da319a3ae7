#include "common/config/settings.h"

#include <algorithm>
#include <charconv>
#include <map>

#include "common/config/hours.h"

namespace atelier {
namespace {

/// The number that `text` is, or -1.
int SmallNumber(std::string_view text, int most) {
  int value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value >= 0 && value <= most ? value : -1;
}

bool IsDevice(const std::string& text) {
  return text == "auto" || text == "cpu" ||
         (text.rfind("cuda:", 0) == 0 && SmallNumber(std::string_view(text).substr(5), 255) >= 0);
}

bool IsHostPort(const std::string& text) {
  const size_t colon = text.rfind(':');
  return colon != std::string::npos && colon > 0 && SmallNumber(std::string_view(text).substr(colon + 1), 65535) >= 0;
}

template <typename Outer, typename Inner>
auto In(Outer outer, Inner inner) {
  return [ outer, inner ](auto& config) -> auto& { return config.*outer.*inner; };
}
template <typename Member>
auto Of(Member member) {
  return [member](auto& worker) -> auto& { return worker.*member; };
}

void ReadTags(WorkerConfig& worker, const YamlNode& node, Faults& faults) {
  std::vector<std::string> words;
  if (node.kind == YamlNode::Kind::kScalar && !node.text.empty()) words.push_back(node.text);
  for (const YamlNode& item : node.items) words.push_back(item.kind == YamlNode::Kind::kScalar ? item.text : "");
  const StatusOr<Tags> tags = node.kind == YamlNode::Kind::kMap
                                  ? StatusOr<Tags>(InvalidArgument("it is a section, expected a list"))
                                  : MakeTags(std::move(words));
  if (tags.ok())
    worker.tags = *tags;
  else
    faults.Add(node.line, "\"tags\": ", Message(tags.status()), ", as in [fast, attic]");
}

std::string PrintTags(const WorkerConfig& worker) {
  std::string all;
  for (const std::string& tag : worker.tags) all += (all.empty() ? "" : ", ") + YamlScalar(tag);
  return "[" + all + "]";
}

std::vector<Setting<WorkerConfig>> MakeWorkerSettings() {
  using W = WorkerConfig;
  std::vector<Setting<W>> s;
  s.push_back(TextSetting<W>("name", Of(&W::name), "Name of the worker, unique in the cluster.",
                             "1 to 64 letters, digits, '.', '_' or '-'", IsTag));
  s.push_back(TextSetting<W>("device", Of(&W::device), "What it computes on; auto: a GPU when there is one.",
                             "auto | cpu | cuda:N", IsDevice));
  s.push_back(FlagSetting<W>("start", Of(&W::start),
                             "yes: the master starts and watches it here; no: it dials in under this name."));
  s.push_back(FlagSetting<W>("enabled", Of(&W::enabled), "no: it gets no work and counts as no replica."));
  s.push_back(
      {{"tags", "list of tags", "", "words of letters, digits, '.', '_' or '-'", "",
        "Jobs that ask for tags (`atelier submit --tags`) go to workers that have all of them. Of a worker that "
        "the list names this counts, of others what their --tags say."},
       ReadTags,
       PrintTags,
       [](W& to, const W& from) { to.tags = from.tags; }});
  s.push_back(TextSetting<W>("hours", Of(&W::hours),
                             "When it gets work, as in 22:00-07:00 or mon-fri 19:00-08:00, sat-sun 00:00-24:00, by "
                             "the clock of the master's machine; outside it ends what it holds and counts as a replica "
                             "all the same; \"\": always.",
                             "[DAYS] HH:MM-HH:MM, ... or \"\"",
                             [](const std::string& v) { return Hours::Parse(v).ok(); }));
  s.push_back(IntegerSetting<W>(
      "idle_minutes", Of(&W::idle_minutes),
      "It gets work once nobody has used the desktop of its machine for so long, as systemd-logind there tells; when "
      "somebody comes back it ends what it holds. It counts as a replica all the same; 0: always.",
      0, 10'000, "minutes"));
  s.push_back(IntegerSetting<W>("power_watts", Of(&W::power_watts),
                                "Power limit of its GPU while it runs, set by the worker, which needs the right to "
                                "(docs/operations.md); 0: as it is.",
                                0, 10'000, "watts"));
  s.push_back(
      IntegerSetting<W>("threads", Of(&W::threads),
                        "CPU threads of one task. Results may round differently with another number, so keep it equal "
                        "everywhere; 0: half of the machine's cores, however many "
                        "workers it has.",
                        0, 1024));
  s.push_back(BytesSetting<W>("models_bytes_max", Of(&W::models_bytes_max),
                              "Memory for models: they stay loaded between tasks, the least recently used goes first, "
                              "and one that is larger by "
                              "itself is streamed block by block; 0: three quarters of the device's memory.",
                              0, int64_t{1} << 46));
  s.push_back(BytesSetting<W>("cache_bytes_max", Of(&W::cache_bytes_max),
                              "Main memory for outputs of nodes that are kept for later tasks and jobs, the least "
                              "recently used goes first; 0: none are kept.",
                              0, int64_t{1} << 46));
  s.push_back(
      BytesSetting<W>("models_disk_max", Of(&W::models_disk_max),
                      "Models that were brought to it and stay on its disk, the least recently used goes first; 0: "
                      "what the disk has. Files of the user never go.",
                      0, int64_t{1} << 50));
  s.push_back(
      TextSetting<W>("peer_listen", Of(&W::peer_listen),
                     "HOST:PORT by which other workers reach it for chunks of models: 127.0.0.1:0 for those of this "
                     "machine; another address needs an identity, over TLS. \"\": models come through the master.",
                     "HOST:PORT or \"\"", [](const std::string& v) { return v.empty() || IsHostPort(v); }));
  const W defaults;
  for (Setting<W>& setting : s) {
    setting.info.default_value = setting.print(defaults);
    setting.info.live = true;  // the worker is started again with it
  }
  return s;
}

// By its form; the library that connects knows it exactly.
bool IsUrlWithoutPassword(const std::string& url) {
  const size_t begin = url.find("://"), at = url.find('@');
  const bool in_user = begin != std::string::npos && at != std::string::npos && at < url.find('/', begin + 3) &&
                       url.find(':', begin + 3) < at;
  return !in_user && url.find("password") == std::string::npos;
}

void ReadRoots(ClusterConfig& config, const YamlNode& node, Faults& faults) {
  std::vector<std::string> roots;
  if (node.kind == YamlNode::Kind::kScalar) roots.push_back(node.text);
  for (const YamlNode& item : node.items) {
    if (item.kind != YamlNode::Kind::kScalar || item.text.empty()) {
      faults.Add(item.line, "\"models.roots\" holds something else than the name of a folder");
      return;
    }
    roots.push_back(item.text);
  }
  if (node.kind == YamlNode::Kind::kMap || roots.empty()) {
    faults.Add(node.line, "\"models.roots\" names no folder, expected a list like [models, /data/models]");
    return;
  }
  config.models.roots = std::move(roots);
}

std::string PrintRoots(const ClusterConfig& config) {
  std::string all;
  for (const std::string& root : config.models.roots) all += (all.empty() ? "" : ", ") + YamlScalar(root);
  return "[" + all + "]";
}

void ReadWorkers(ClusterConfig& config, const YamlNode& node, Faults& faults) {
  if (node.kind == YamlNode::Kind::kScalar || node.kind == YamlNode::Kind::kMap) {
    faults.Add(node.line, "\"workers.list\" is no list, expected lines like \"- name: gpu0\"");
    return;
  }
  std::vector<WorkerConfig> workers;
  for (const YamlNode& item : node.items) {
    if (item.kind != YamlNode::Kind::kMap) {
      faults.Add(item.line, "a worker is a section, expected \"- name: gpu0\" and its keys below");
      continue;
    }
    WorkerConfig worker;
    const std::string before = worker.name;
    ReadPairs(item, "", WorkerSettings(), worker, faults);
    if (worker.name == before && faults.empty()) faults.Add(item.line, "a worker without a name, add \"name: gpu0\"");
    if (worker.power_watts > 0 && worker.device == "cpu")
      faults.Add(item.line, "worker \"", worker.name, "\" has power_watts: ", worker.power_watts,
                 " and device: cpu, but only a GPU has a power limit; take it out, or name the GPU as in cuda:0");
    for (const WorkerConfig& other : workers) {
      if (!worker.name.empty() && other.name == worker.name) {
        faults.Add(item.line, "a second worker \"", worker.name, "\", names are unique");
      }
    }
    workers.push_back(std::move(worker));
  }
  config.workers.list = std::move(workers);
}

std::string PrintWorkers(const ClusterConfig& config) {
  std::string all;
  for (const WorkerConfig& worker : config.workers.list) {
    std::string one;
    for (const Setting<WorkerConfig>& setting : WorkerSettings()) {
      one += (one.empty() ? "" : ", ") + setting.info.key + ": " + setting.print(worker);
    }
    all += (all.empty() ? "" : ", ") + ("{" + one + "}");
  }
  return "[" + all + "]";
}

std::vector<Setting<ClusterConfig>> MakeRootSettings() {
  using C = ClusterConfig;
  using S = C::Scheduling;
  using L = C::Limits;
  std::vector<Setting<C>> s;

  s.push_back(TextSetting<C>("master.listen", In(&C::master, &C::Master::listen),
                             "Where the master listens for workers and the atelier command. Port 0 takes a free one. "
                             "Outside loopback it speaks TLS and asks for certificates: run `atelier-master init` "
                             "first (docs/security.md).",
                             "HOST:PORT", IsHostPort));
  s.push_back(TextSetting<C>("master.address", In(&C::master, &C::Master::address),
                             "Where others reach the master, as join commands name it; \"\": what listen says, or this "
                             "machine's first address.",
                             "HOST:PORT or \"\"", [](const std::string& v) { return v.empty() || IsHostPort(v); }));
  s.push_back(TextSetting<C>(
      "master.state_dir", In(&C::master, &C::Master::state_dir),
      "Folder of the database and the blobs; \"\": $ATELIER_STATE_DIR, /var/lib/atelier where it exists and can "
      "be written, else ~/.local/state/atelier."));
  s.push_back(TextSetting<C>(
      "master.output_dir", In(&C::master, &C::Master::output_dir),
      "Folder that finished files are written to; a relative path counts from where the master starts."));
  s.push_back(TextSetting<C>("master.input_dir", In(&C::master, &C::Master::input_dir),
                             "Folder that workflows name their input files in."));

  s.push_back(ChoiceSetting<C>("store.kind", In(&C::store, &C::Store::kind),
                               "sqlite: a file in the state folder, for one master; postgres: a database that two "
                               "masters share, of which one is active and the other takes over "
                               "(docs/reliability.md). The state folder must then be the same for both.",
                               {"sqlite", "postgres"}));
  s.push_back(TextSetting<C>("store.url", In(&C::store, &C::Store::url),
                             "Of postgres: the database, as postgresql://USER@HOST/DATABASE?sslmode=verify-full. A "
                             "password does not belong here.",
                             "a connection string without a password, or \"\"", IsUrlWithoutPassword));
  s.push_back(TextSetting<C>("store.password_file", In(&C::store, &C::Store::password_file),
                             "Of postgres: file (0600) with the password; \"\": $PGPASSWORD or ~/.pgpass, if one is "
                             "asked for."));

  using Y = C::Security;
  s.push_back(ChoiceSetting<C>("security.tls", In(&C::security, &Y::tls),
                               "auto: calls on loopback need no certificate, all others do; always: those on loopback "
                               "do, too.",
                               {"auto", "always"}));
  s.push_back(NumberSetting<C>("security.worker_hours", In(&C::security, &Y::worker_hours),
                               "Life of a worker's certificate; the worker renews it when half of it is over.", 0.001,
                               8760, "hours"));
  s.push_back(NumberSetting<C>("security.person_days", In(&C::security, &Y::person_days),
                               "Life of an operator's or viewer's certificate; the atelier command renews it when half "
                               "of it is over.",
                               0.001, 3650, "days"));

  s.push_back({{"models.roots", "list of folders", "", "", "",
                "Model folders in the usual layout (checkpoints, loras, vae, ...), "
                "searched in this order."},
               ReadRoots,
               PrintRoots,
               [](C& to, const C& from) { to.models.roots = from.models.roots; }});

  s.push_back(Live(ChoiceSetting<C>("models.share", In(&C::models, &C::Models::share),
                                    "auto: models that waiting tasks lack are brought to idle workers; asked: only "
                                    "`atelier models pull` and `push --to` bring some.",
                                    {"auto", "asked"})));
  s.push_back(
      Live(BytesSetting<C>("models.bytes_per_second", In(&C::models, &C::Models::bytes_per_second),
                           "Bytes of models that the master sends a second, and that each worker it starts takes "
                           "and gives; 0: any.",
                           0, int64_t{1} << 40)));

  s.push_back(Live(TextSetting<C>(
      "workers.local", In(&C::workers, &C::Workers::local),
      "Workers that the master starts by itself when the list below is empty; auto: one per GPU, or one on the "
      "CPU; a number: so many on the CPU, 0 none.",
      "auto or 0 to 256", [](const std::string& v) { return v == "auto" || SmallNumber(v, 256) >= 0; })));
  s.push_back(Live<C>({{"workers.list", "list of workers", "", "", "",
                        "The workers by name. The number of enabled ones is the number of "
                        "replicas of a job that does not ask for another."},
                       ReadWorkers,
                       PrintWorkers,
                       [](C& to, const C& from) { to.workers.list = from.workers.list; }}));

  s.push_back(NumberSetting<C>("scheduling.heartbeat_seconds", In(&C::scheduling, &S::heartbeat_seconds),
                               "How often master and worker report; silence of three times that ends a session.", 0.1,
                               3600, "seconds"));
  s.push_back(Live(NumberSetting<C>(
      "scheduling.hung_factor", In(&C::scheduling, &S::hung_factor),
      "A task without progress for so many times its learned step time is hung and goes to another worker.", 2, 1000,
      "times")));
  s.push_back(Live(NumberSetting<C>("scheduling.hung_seconds_min", In(&C::scheduling, &S::hung_seconds_min),
                                    "But never earlier than this.", 1, 86400, "seconds")));
  s.push_back(Live(IntegerSetting<C>("scheduling.attempts_max", In(&C::scheduling, &S::attempts_max),
                                     "Tries of one task before its job fails.", 1, 100, "tries")));
  s.push_back(
      Live(IntegerSetting<C>("scheduling.poison_workers", In(&C::scheduling, &S::poison_workers),
                             "Different workers that a task may kill before its job fails.", 1, 100, "workers")));
  s.push_back(Live(TextSetting<C>(
      "scheduling.shares", In(&C::scheduling, &S::shares),
      "Weights of submitters when several wait for the same workers, as in alice=2, bob=0.5; all others have 1.",
      "NAME=WEIGHT, ...; weights 0.01 to 100", [](const std::string& v) { return ParseShares(v).has_value(); })));
  s.push_back(Live(ChoiceSetting<C>(
      "scheduling.tiles", In(&C::scheduling, &S::tiles),
      "Order of tiled upscales. exact: the same picture as one GPU doing tile after tile; independent: all tiles "
      "at once, each from the untouched picture; by-image: each picture of a batch or video by itself, whole.",
      {"exact", "independent", "by-image"})));
  s.push_back(Live(ChoiceSetting<C>(
      "scheduling.frames", In(&C::scheduling, &S::frames),
      "How videos go from a file to a file. auto: in windows, which are tasks of their own where a model works on "
      "them; "
      "windows: always tasks of their own; whole: all frames in memory at once. The files are the same.",
      {"auto", "windows", "whole"})));
  s.push_back(Live(IntegerSetting<C>("scheduling.window_frames", In(&C::scheduling, &S::window_frames),
                                     "Frames of a window; 0: as many as take 16 MiB in memory. The files are the same.",
                                     0, 16384, "frames")));
  s.push_back(
      Live(ChoiceSetting<C>("scheduling.compat", In(&C::scheduling, &S::compat),
                            "documented: inputs that the reference ignores (seam_fix_denoise) have their effect.",
                            {"reference", "documented"})));

  s.push_back(BytesSetting<C>("limits.json_bytes_max", In(&C::limits, &L::json_bytes_max), "Size of a workflow.", 1024,
                              int64_t{1} << 30));
  s.push_back(Live(IntegerSetting<C>("limits.image_pixels_max", In(&C::limits, &L::image_pixels_max),
                                     "Pixels of one picture, checked before memory is taken.", 4096, int64_t{1} << 34,
                                     "pixels")));
  s.push_back(BytesSetting<C>("limits.blob_bytes_max", In(&C::limits, &L::blob_bytes_max), "Size of one value or file.",
                              1 << 20, int64_t{1} << 42));
  s.push_back(Live(IntegerSetting<C>("limits.replicas_max", In(&C::limits, &L::replicas_max), "Replicas of one job.", 1,
                                     65536, "replicas")));
  s.push_back(Live(IntegerSetting<C>("limits.jobs_waiting_max", In(&C::limits, &L::jobs_waiting_max),
                                     "Jobs accepted and not ended; more are refused.", 1, 10'000'000, "jobs")));
  s.push_back(Live(IntegerSetting<C>(
      "limits.identity_jobs_max", In(&C::limits, &L::identity_jobs_max),
      "Jobs accepted and not ended of one identity (docs/security.md); more are refused.", 1, 10'000'000, "jobs")));
  s.push_back(Live(BytesSetting<C>("limits.identity_input_bytes_max", In(&C::limits, &L::identity_input_bytes_max),
                                   "Input files of such jobs of one identity.", 1 << 20, int64_t{1} << 50)));
  s.push_back(Live(IntegerSetting<C>(
      "limits.identity_calls_per_second", In(&C::limits, &L::identity_calls_per_second),
      "Calls of one identity, persons and workers alike; twice as many may come at once.", 1, 10'000'000, "calls")));
  s.push_back(Live(BytesSetting<C>("limits.disk_free_bytes_min", In(&C::limits, &L::disk_free_bytes_min),
                                   "Below this free space the master accepts no new job, and no file that would leave "
                                   "less: it is kept for the master's own records.",
                                   0, int64_t{1} << 50)));
  s.push_back(Live(IntegerSetting<C>("limits.log_lines_max", In(&C::limits, &L::log_lines_max),
                                     "Log lines kept per worker and per job.", 10, 10'000'000, "lines")));

  s.push_back(Live(ChoiceSetting<C>("log.level", In(&C::log, &C::Log::level), "Lines below this level are not written.",
                                    {"debug", "info", "warning", "error"})));

  s.push_back(Live(ChoiceSetting<C>("log.format", In(&C::log, &C::Log::format),
                                    "text: a line for people; json: one object a line, with time, level, message, job, "
                                    "task, attempt, worker and trace.",
                                    {"text", "json"})));

  using R = C::Retention;
  s.push_back(Live(NumberSetting<C>("retention.history_days", In(&C::retention, &R::history_days),
                                    "Ended jobs are forgotten after so many days; 0: never.", 0, 36'500, "days")));
  s.push_back(Live(IntegerSetting<C>("retention.history_jobs", In(&C::retention, &R::history_jobs),
                                     "Of more ended jobs than this the oldest are forgotten; 0: none.", 0, 10'000'000,
                                     "jobs")));
  s.push_back(Live(NumberSetting<C>("retention.outputs_days", In(&C::retention, &R::outputs_days),
                                    "Output files of known jobs are deleted after so many days; 0: never.", 0, 36'500,
                                    "days")));
  s.push_back(Live(BytesSetting<C>("retention.outputs_bytes", In(&C::retention, &R::outputs_bytes),
                                   "Of more bytes of output files than this those of the oldest jobs are deleted; 0: "
                                   "none.",
                                   0, int64_t{1} << 50)));
  s.push_back(Live(NumberSetting<C>("retention.blobs_minutes", In(&C::retention, &R::blobs_minutes),
                                    "Values and files that no open job needs are kept so long after their last use.", 1,
                                    5'256'000, "minutes")));
  s.push_back(Live(BytesSetting<C>("retention.blobs_bytes", In(&C::retention, &R::blobs_bytes),
                                   "Of more such bytes than this the least recently used go first, but none that was "
                                   "used within a minute; 0: any number.",
                                   0, int64_t{1} << 50)));

  s.push_back(TextSetting<C>("metrics.listen", In(&C::metrics, &C::Metrics::listen),
                             "HOST:PORT of /metrics, /healthz and /readyz; \"\": none. Outside loopback they speak TLS "
                             "and ask for the key in STATE/authority/http.key (Authorization: Bearer KEY).",
                             "HOST:PORT or \"\"", [](const std::string& v) { return v.empty() || IsHostPort(v); }));

  s.push_back(FlagSetting<C>("discovery.publish", In(&C::discovery, &C::Discovery::publish),
                             "yes: the master offers itself in the local network (DNS-SD, through Avahi), with the "
                             "fingerprint of its authority; `atelier workers --discover` lists such offers. Joining "
                             "needs a token all the same."));

  const C defaults;
  for (Setting<C>& setting : s) setting.info.default_value = setting.print(defaults);
  return s;
}

}  // namespace

const std::vector<Setting<WorkerConfig>>& WorkerSettings() {
  static const auto* const settings = new std::vector<Setting<WorkerConfig>>(MakeWorkerSettings());
  return *settings;
}

const std::vector<Setting<ClusterConfig>>& RootSettings() {
  static const auto* const settings = new std::vector<Setting<ClusterConfig>>(MakeRootSettings());
  return *settings;
}

std::string_view SectionHelp(std::string_view section) {
  static const auto* const help = new std::map<std::string_view, std::string_view>{
      {"master", "The master: where it listens and what it writes."},
      {"store", "Where jobs and results are on record."},
      {"security", "Who may call the master: certificates of its own authority (docs/security.md)."},
      {"models", "Where models lie."},
      {"workers", "The workers of the cluster."},
      {"scheduling", "How tasks are given out, and when a worker counts as gone."},
      {"limits", "What is refused. Each is checked before memory is taken."},
      {"log", "What is logged, to stderr."},
      {"retention", "What is kept of jobs that have ended. Nothing of a job that has not ended is ever removed."},
      {"metrics", "Figures for Prometheus, and whether the master is well."},
      {"discovery", "Whether machines of the local network find the master by themselves."}};
  auto it = help->find(section);
  return it == help->end() ? std::string_view() : it->second;
}

std::string Nearest(std::string_view word, const std::vector<std::string>& names) {
  std::string best;
  if (word.size() > 64) return best;
  size_t best_distance = std::max<size_t>(2, word.size() / 3) + 1;
  for (const std::string& name : names) {
    // Edit distance with swapped neighbours as one step.
    std::vector<std::vector<size_t>> d(word.size() + 1, std::vector<size_t>(name.size() + 1));
    for (size_t i = 0; i <= word.size(); ++i) {
      for (size_t j = 0; j <= name.size(); ++j) {
        if (i == 0 || j == 0) {
          d[i][j] = i + j;
          continue;
        }
        d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (word[i - 1] == name[j - 1] ? 0 : 1)});
        if (i > 1 && j > 1 && word[i - 1] == name[j - 2] && word[i - 2] == name[j - 1])
          d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
    if (d[word.size()][name.size()] < best_distance) {
      best_distance = d[word.size()][name.size()];
      best = name;
    }
  }
  return best;
}

}  // namespace atelier
