// atelier-worker (and, with other node types linked in, atelier-worker-fake): one device of the cluster.
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "common/base/log.h"
#include "common/base/log_fields.h"
#include "common/base/tags.h"
#include "common/discovery/discovery.h"
#include "common/files/data_dir.h"
#include "common/obs/notify.h"
#include "common/obs/probe_server.h"
#include "common/rpc/join.h"
#include "common/rpc/protocol.h"
#include "worker/engine_startup/startup.h"
#include "worker/machine/desktop.h"
#include "worker/machine/power_limit.h"
#include "worker/session/identity_keeper.h"
#include "worker/session/session.h"

namespace atelier {
namespace {

constexpr int64_t kEndMs = 4000;  // for running tasks after SIGTERM; a second signal ends at once

// Bytes of a line of /proc/meminfo, "MemTotal" or "MemAvailable"; 0 when it is not there.
uint64_t HostMemory(const std::string& key) {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);)
    if (line.compare(0, key.size() + 1, key + ":") == 0)
      return std::strtoull(line.c_str() + key.size() + 1, nullptr, 10) * 1024;
  return 0;
}

// `lasting`: the same at each start, since a certificate carries it.
std::string DefaultName(const std::string& device, bool lasting) {
  char host[HOST_NAME_MAX + 1] = "worker";
  gethostname(host, sizeof(host) - 1);
  std::string name = Cat(host, "-", device);
  if (!lasting) return device == "cpu" ? Cat(name, "-", getpid()) : name;
  for (char& c : name)
    if (!IsIdentityName({&c, 1})) c = '-';
  return name;
}

// The stored identity, or one that the token gives; null for a master on loopback when there is neither. A token that
// the stored one was got with is done with, so that a restart with the same command line goes on.
StatusOr<std::unique_ptr<IdentityKeeper>> FindIdentity(const std::string& master, const std::string& name,
                                                       const std::string& path, const std::string& token_text) {
  StatusOr<Identity> stored = LoadIdentity(path);
  if (!stored.ok() && stored.status().code() != StatusCode::kNotFound) return stored.status();
  if (!token_text.empty()) {
    ASSIGN_OR_RETURN(const JoinToken token, ParseToken(token_text));
    if (!stored.ok() || stored->token_hash != HashSecret(token.secret)) {
      stored = Join(master, token, name);
      if (!stored.ok()) return Annotate(stored.status(), "this worker could not join");
      RETURN_IF_ERROR(SaveIdentity(path, *stored));
      LogInfo("joined the cluster of ", master, " as \"", name, "\"; the identity is kept in ", path);
    }
  }
  if (!stored.ok()) {
    if (OnLoopback(master)) return std::unique_ptr<IdentityKeeper>();
    return FailedPrecondition("there is no identity for the master at ", master, " (", path,
                              "); run `atelier-master token` there, and here the command that it prints");
  }
  ASSIGN_OR_RETURN(const IdentityInfo info, ReadCertificate(stored->certificate));
  if (info.name != name)
    return FailedPrecondition("the identity in ", path, " is that of \"", info.name, "\"; start with --name ",
                              info.name, ", or join as \"", name, "\" with a new token");
  if (info.Expired(std::time(nullptr)))
    return FailedPrecondition("the certificate in ", path,
                              " has expired; run `atelier-master token` on the master's machine, and here the command "
                              "that it prints");
  return std::make_unique<IdentityKeeper>(master, path, *std::move(stored));
}

// The address of the master that the token is of, or, without a token, the list of all that offer themselves.
StatusOr<std::string> FindMaster(const std::string& token_text) {
  ASSIGN_OR_RETURN(const std::vector<Offer> offers, DiscoverMasters());
  if (token_text.empty()) return OffersText(offers);
  ASSIGN_OR_RETURN(const JoinToken token, ParseToken(token_text));
  for (const Offer& offer : offers)
    if (offer.fingerprint == token.fingerprint) return offer.address;
  return Unavailable("no master of the local network offers itself as the one of this token; name it with --master");
}

int Main(int argc, char** argv) {
  EngineSetup setup;
  SessionOptions options;
  bool print_catalog = false;
  std::string token, token_file, identity_file, health_key_file, health_identity;
  std::string log_level = "info", log_format = "text", health_listen;
  CLI::App app("One device of an Atelier cluster: pulls tasks from the master and executes them.", "atelier-worker");
  app.add_option("--master", options.master,
                 "address of the master; of several that share a database: all of them, with commas")
      ->type_name("HOST:PORT,...")
      ->capture_default_str();
  app.add_option("--name", options.name, "name in the cluster, unique; default: host and device");
  app.add_option("--token", token,
                 "join with it (others may see an argument: better hand it over in $ATELIER_JOIN_TOKEN)")
      ->type_name("TOKEN");
  app.add_option("--token-file", token_file, "the same from the first line of a file, - for stdin")->type_name("FILE");
  app.add_option("--identity", identity_file,
                 "file with key and certificate; default: in the state folder, by name and "
                 "master")
      ->type_name("FILE");
  app.add_option("--device", setup.device, "auto, cpu or cuda:N")->capture_default_str();
  app.add_option("--models", setup.model_roots,
                 "models folder in the reference's layout; several are searched in order")
      ->type_name("DIR")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--threads", setup.threads, "CPU threads of one operation; 0: the machine's cores")
      ->check(CLI::Range(0, 1024));
  app.add_option("--models-bytes-max", setup.models_bytes_max,
                 "bytes of models kept loaded, larger ones are streamed; 0: three quarters of the device's memory")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--cache-bytes-max", options.executor.cache_bytes_max,
                 "bytes of nodes' outputs kept for later tasks; 0: none")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  bool in_process = false;
  app.add_flag("--no-media-process", in_process,
               "decode videos and sound in the worker itself; for systems that have no seccomp");
  app.add_option("--log-level", log_level, "lines below it are not written")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->capture_default_str();
  app.add_option("--log-format", log_format, "text, or json: one object a line")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  app.add_option("--health-listen", health_listen, "answer /healthz and /readyz (attached to the master) over HTTP")
      ->type_name("HOST:PORT");
  app.add_option("--health-key-file", health_key_file,
                 "file (0600) with the key that callers outside loopback must give as Authorization: Bearer KEY")
      ->type_name("FILE");
  app.add_option("--state", options.state_dir,
                 "folder for what it may lose: hashes of model files; default: $STATE_DIRECTORY, $ATELIER_STATE_DIR or "
                 "~/.local/state/atelier")
      ->type_name("DIR");
  app.add_option("--health-identity", health_identity,
                 "file (0600) with key, certificate and authority (PEM) for HTTPS, which callers outside loopback need")
      ->type_name("FILE");
  app.add_option("--tags", options.tags,
                 "jobs that ask for tags go to workers that have all of them; what the master's configuration says "
                 "about this worker goes before")
      ->type_name("TAG,...")
      ->delimiter(',')
      ->allow_extra_args(false);
  bool discover = false;
  app.add_flag("--discover", discover,
               "find the master in the local network: with a token the one that it is of, without one they are listed");
  bool no_share = false;
  app.add_flag("--no-share", no_share, "models are neither hashed nor brought here nor given to others");
  app.add_option("--models-disk-max", options.models_disk_bytes_max,
                 "bytes of models that were brought and stay on the disk; 0: what the disk has");
  app.add_option("--models-bytes-per-second", options.models_bytes_per_second,
                 "bytes of models taken, and given to others, a second; 0: any");
  app.add_option("--peer-listen", options.peer_listen,
                 "give chunks of models to other workers, which reach it by this address, e.g. 192.168.1.20:50190; "
                 "127.0.0.1:0: those of this machine")
      ->type_name("HOST:PORT");
  app.add_flag("--print-catalog", print_catalog, "print the declarations of all node types as JSON and end");
  app.set_version_flag("--version", Cat("atelier-worker ", kProgramVersion, ", protocol ", kProtocolVersion));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  for (int i = 1; i < argc && !token.empty(); ++i)  // out of the process list as soon as it is read
    if (char* at = std::strstr(argv[i], token.c_str()); at != nullptr) std::memset(at, 'x', token.size());
  if (print_catalog) {
    std::printf("%s\n", RegisteredCatalog().ToJson().dump(1).c_str());
    return 0;
  }
  SetLogLevel(log_level == "debug"     ? LogLevel::kDebug
              : log_level == "warning" ? LogLevel::kWarning
              : log_level == "error"   ? LogLevel::kError
                                       : LogLevel::kInfo);
  SetLogFormat(log_format == "json" ? LogFormat::kJson : LogFormat::kText);
  // Signals are taken by one thread; all others are started after this and inherit the mask.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);

  for (std::string& root : setup.model_roots)
    while (root.size() > 1 && root.back() == '/') root.pop_back();
  setup.media_process = !in_process;
  StatusOr<EngineInfo> engine = StartEngine(setup);
  if (!engine.ok()) {
    LogError(Message(engine.status()));
    return 2;
  }
  options.device = engine->device;
  options.device_name = engine->device_name;
  options.memory_bytes = engine->memory_free ? engine->memory_bytes : HostMemory("MemTotal");
  options.memory_free = engine->memory_free ? engine->memory_free : [] { return HostMemory("MemAvailable"); };
  options.executor_scope = engine->executor_scope;
  options.on_cancel = engine->on_cancel;
  options.on_point = engine->on_point;
  options.model_roots = setup.model_roots;
  StatusOr<std::string> given = TakeToken(token, token_file);
  if (!given.ok()) {
    LogError("--token-file: ", Message(given.status()));
    return 2;
  }
  if (discover) {
    const StatusOr<std::string> found = FindMaster(*given);
    if (!found.ok()) {
      LogError(Message(found.status()));
      return 3;
    }
    if (given->empty()) {
      std::printf("%s", found->c_str());
      return 0;
    }
    options.master = *found;
  }
  if (options.name.empty())
    options.name =
        DefaultName(options.device, !given->empty() || !identity_file.empty() || !OnLoopback(options.master));
  if (options.state_dir.empty()) options.state_dir = KeepDir();
  if (no_share) options.state_dir.clear();

  if (const StatusOr<Tags> tags = MakeTags(options.tags); !tags.ok()) {
    LogError("--tags: ", Message(tags.status()));
    return 2;
  }
  SetLogProcess({.worker = options.name});
  if (identity_file.empty()) identity_file = IdentityPath(SplitAddresses(options.master).front(), options.name);
  StatusOr<std::unique_ptr<IdentityKeeper>> keeper = FindIdentity(options.master, options.name, identity_file, *given);
  if (!keeper.ok()) {
    LogError(Message(keeper.status()));
    return keeper.status().code() == StatusCode::kUnavailable ? 3 : 2;
  }
  if (*keeper != nullptr) options.identity = [&keeper] { return (*keeper)->Current(); };
  DesktopWatch desktop;
  options.desktop = [&desktop]() -> std::optional<DesktopReport> {
    const std::optional<DesktopUse> use = desktop.Last();
    return use ? std::optional(DesktopReport{use->idle_seconds, use->unknown}) : std::nullopt;
  };
  PowerLimit power(options.device);
  options.on_settings = [&](bool report_desktop, uint32_t power_watts) {
    desktop.Turn(report_desktop);
    if (const Status limited = power.Set(power_watts); !limited.ok())
      LogWarning("worker \"", options.name, "\": ", Message(limited));
  };
  LogInfo("worker \"", options.name, "\" on ", options.device, " (", options.device_name, "), version ",
          kProgramVersion);
  auto* session = new Session(options);  // never destroyed: a node that does not stop must not keep the process
  SetLogSink([session](LogLevel level, const std::string& text) { session->SendLog(level, text); });
  if (*keeper != nullptr) (*keeper)->Start([session] { session->Redial(); });
  std::unique_ptr<ProbeServer> probes;
  if (!health_listen.empty()) {
    std::shared_ptr<const Identity> https;
    if (!health_identity.empty()) {
      StatusOr<Identity> loaded = LoadIdentity(health_identity);
      if (!loaded.ok()) {
        LogError("--health-identity: ", Message(loaded.status()));
        return 2;
      }
      https = std::make_shared<const Identity>(*std::move(loaded));
    }
    StatusOr<ProbeGuard> guard = MakeProbeGuard(health_listen, health_key_file, std::move(https));
    if (!guard.ok()) {
      LogError("--health-listen: ", Message(guard.status()));
      return 2;
    }
    auto started = ProbeServer::Start(
        health_listen,
        [session](std::string_view path) -> ProbeReply {
          const std::string text = "text/plain; charset=utf-8";
          if (path != "/healthz" && path != "/readyz") return {404, text, "there are /healthz and /readyz\n"};
          const bool attached = session->Attached();  // also shows that the session answers
          if (path == "/readyz" && !attached) return {503, text, "not attached to the master\n"};
          return {200, text, "ok\n"};
        },
        *guard);
    if (!started.ok()) {
      LogError("--health-listen: ", Message(started.status()));
      return 2;
    }
    probes = std::move(*started);
    LogInfo("health on port ", probes->port());
  }
  NotifyManager("READY=1");
  std::atomic<bool> over = false;
  std::thread signal_thread([&] {
    const int64_t watchdog_ms = WatchdogMs();
    const int64_t beat_ms = watchdog_ms > 0 ? watchdog_ms / 2 : 3'600'000;
    const timespec beat{beat_ms / 1000, (beat_ms % 1000) * 1'000'000};
    for (bool first = true; !over;) {
      const int signal = sigtimedwait(&signals, nullptr, &beat);
      if (over) continue;
      if (signal < 0) {
        (void)session->Attached();  // a session that does not answer ends the watchdog's beat
        if (watchdog_ms > 0) NotifyManager("WATCHDOG=1");
        continue;
      }
      NotifyManager("STOPPING=1");
      session->Drain(signal == SIGINT ? "interrupted" : "asked to end", first ? kEndMs : 0);
      first = false;
    }
  });
  const Status ended = session->Run();
  if (!ended.ok()) LogWarning(Message(ended));
  LogInfo("worker \"", options.name, "\" ends");
  over = true;
  // Wakes it, as it waits for signals, to see that it is over.
  pthread_kill(signal_thread.native_handle(), SIGTERM);  // NOLINT(bugprone-bad-signal-to-kill-thread)
  signal_thread.join();
  probes.reset();
  keeper->reset();
  if (const Status restored = power.Set(0); !restored.ok()) LogWarning(Message(restored));
  SetLogSink(nullptr);
  std::fflush(nullptr);
  std::_Exit(0);
}

}  // namespace
}  // namespace atelier

int main(int argc, char** argv) { return atelier::Main(argc, argv); }
