// atelier-master: flags, config, wiring. Shutdown order: no new calls, streams cut, local workers ended, core stopped.
#include <fcntl.h>
#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/grpcpp.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <optional>
#include <thread>

#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/config/cluster_config.h"
#include "common/discovery/discovery.h"
#include "common/files/data_dir.h"
#include "common/files/file_watch.h"
#include "common/files/files.h"
#include "common/media/process.h"
#include "common/obs/notify.h"
#include "common/obs/probe_client.h"
#include "common/obs/probe_server.h"
#include "common/rpc/channel.h"
#include "common/rpc/protocol.h"
#include "master/fleet/fleet.h"
#include "master/gateway/backup.h"
#include "master/gateway/core.h"
#include "master/gateway/probes.h"
#include "master/gateway/reload.h"
#include "master/gateway/security.h"
#include "master/gateway/services.h"
#include "master/gateway/standby.h"
#include "master/gateway/supervisor.h"
#include "master/models/server.h"
#include "master/store/files.h"

namespace atelier {
namespace {

constexpr size_t kReceivedBytesMax = size_t{1} << 30;  // of messages that are coming in, all connections together
constexpr int kThreadsMax = 2048;                      // of gRPC's own
constexpr int kStreamsOfConnectionMax = 128;
constexpr int kLostStatus = 75;  // EX_TEMPFAIL

struct Flags {
  std::string config, listen, state, input, output, device = "auto", port_file, worker_binary, catalog, backup_to;
  std::string health_path, role = "worker", init_listen = "0.0.0.0:50188";
  int64_t minutes = 10, uses = 1;
  bool init = false, token = false;
  std::vector<std::string> models;
  int local_workers = -1;
  int parent_pid = 0;
  bool private_master = false;
};

int Fail(const Status& status) {
  std::cerr << "atelier-master: " << Message(status) << "\n";
  return 1;
}

int CountGpus() {
  std::error_code error;
  int count = 0;
  for (std::filesystem::directory_iterator it("/proc/driver/nvidia/gpus", error), end; !error && it != end;
       it.increment(error))
    ++count;
  return count;
}

// The workers that this master starts, and all names that the configuration knows.
// `identity` gives the file with a worker's identity; null: without TLS.
Status PlanWorkers(const ClusterConfig& config, const Flags& flags, const std::string& address,
                   const std::string& binary, const std::vector<std::string>& roots, const std::string& state_dir,
                   const std::function<StatusOr<std::string>(const std::string&)>& identity, CoreOptions& core,
                   std::vector<LocalWorker>& local) {
  core.configured_workers.clear();
  core.disabled_workers.clear();
  local.clear();
  std::vector<WorkerConfig> workers = config.workers.list;
  if (flags.local_workers >= 0 || workers.empty()) {
    workers.clear();
    const int gpus = flags.device == "auto" ? CountGpus() : 0;
    int count = flags.local_workers;
    if (count < 0 && config.workers.local != "auto") count = std::stoi(config.workers.local);
    if (count < 0) count = std::max(1, gpus);
    for (int i = 0; i < count; ++i) {
      WorkerConfig worker;
      worker.name = Cat("local-", i + 1);
      worker.device = flags.device != "auto" ? flags.device : gpus > 0 ? Cat("cuda:", i % gpus) : "cpu";
      workers.push_back(std::move(worker));
    }
  }
  for (const WorkerConfig& worker : workers) {
    (worker.enabled ? core.configured_workers : core.disabled_workers).push_back(worker.name);
    if (!worker.start || !worker.enabled) continue;
    LocalWorker made{worker.name, {binary, "--master", address, "--name", worker.name, "--device", worker.device}};
    if (identity) {
      ASSIGN_OR_RETURN(const std::string file, identity(worker.name));
      made.arguments.push_back("--identity");
      made.arguments.push_back(file);
    }
    for (const std::string& root : roots) {
      made.arguments.push_back("--models");
      made.arguments.push_back(root);
    }
    // Of the machine alone, never of the number of workers: the bytes of a picture may depend on it.
    const int64_t threads = worker.threads > 0 ? worker.threads : std::max(1U, std::thread::hardware_concurrency() / 2);
    made.arguments.push_back("--threads");
    made.arguments.push_back(std::to_string(threads));
    if (worker.models_bytes_max > 0) {
      made.arguments.push_back("--models-bytes-max");
      made.arguments.push_back(std::to_string(worker.models_bytes_max));
    }
    made.arguments.push_back("--cache-bytes-max");
    made.arguments.push_back(std::to_string(worker.cache_bytes_max));
    if (flags.private_master) made.arguments.push_back("--no-share");
    if (worker.models_disk_max > 0) {
      made.arguments.push_back("--models-disk-max");
      made.arguments.push_back(std::to_string(worker.models_disk_max));
    }
    if (config.models.bytes_per_second > 0) {
      made.arguments.push_back("--models-bytes-per-second");
      made.arguments.push_back(std::to_string(config.models.bytes_per_second));
    }
    if (!worker.peer_listen.empty()) {
      made.arguments.push_back("--peer-listen");
      made.arguments.push_back(worker.peer_listen);
    }
    if (!state_dir.empty()) {  // hashes are shared with the master
      made.arguments.push_back("--state");
      made.arguments.push_back(state_dir);
    }
    for (const auto& [flag, value] :
         {std::pair("--log-level", config.log.level), {"--log-format", config.log.format}}) {
      made.arguments.push_back(flag);
      made.arguments.push_back(value);
    }
    local.push_back(std::move(made));
  }
  return OkStatus();
}

// TLS that asks for the client's certificate; what it is worth is the gate's to say, at each call.
std::shared_ptr<grpc::ServerCredentials> Credentials(const Security& security) {
  grpc::SslServerCredentialsOptions options(GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_BUT_DONT_VERIFY);
  options.pem_root_certs = security.authority.certificate();
  options.pem_key_cert_pairs.push_back({security.server.key, security.server.certificate + security.server.authority});
  auto credentials = grpc::SslServerCredentials(options);
  credentials->SetAuthMetadataProcessor(security.gate);
  return credentials;
}

// Of a master that is not the active one any more, or cannot know: nothing that it still tells or writes may count, so
// it ends as if killed. Whoever watches it starts it again, and it stands by.
void EndAsLost(const Status& why) {
  LogError(Message(why), "; this master ends at once");
  _exit(kLostStatus);
}

std::string Absolute(const std::string& path) { return std::filesystem::absolute(path).lexically_normal().string(); }

// What the settings and flags say about where this master is.
struct Place {
  ClusterConfig config = DefaultClusterConfig();
  std::string state_dir, listen;
};

StatusOr<Place> FindPlace(const Flags& flags) {
  Place place;
  if (!flags.config.empty()) {
    ASSIGN_OR_RETURN(place.config, LoadClusterConfig(flags.config));
  }
  place.state_dir = Absolute(!flags.state.empty()                     ? flags.state
                             : !place.config.master.state_dir.empty() ? place.config.master.state_dir
                                                                      : StateDir());
  place.listen = !flags.listen.empty() ? flags.listen : place.config.master.listen;
  return place;
}

// `atelier-master init`, `token` and `backup DIR`: what they print.
StatusOr<std::string> RunOnce(const Flags& flags) {
  if (flags.init) {
    const char* home = std::getenv("HOME");
    InitOptions options{flags.state, flags.config, flags.listen.empty() ? flags.init_listen : flags.listen};
    if (options.config_path.empty())
      options.config_path = Cat(home == nullptr ? "" : home, "/.config/atelier/cluster.yaml");
    std::error_code error;
    if (options.state_dir.empty() && std::filesystem::exists(options.config_path, error)) {
      ASSIGN_OR_RETURN(const ClusterConfig config, LoadClusterConfig(options.config_path));
      options.state_dir = config.master.state_dir;
    }
    options.state_dir = Absolute(options.state_dir.empty() ? StateDir() : options.state_dir);
    return InitSecurity(options);
  }
  ASSIGN_OR_RETURN(const Place place, FindPlace(flags));
  if (flags.token) {
    ASSIGN_OR_RETURN(const Role role, ParseRole(flags.role));
    return MakeJoinCommand(place.state_dir, place.config, place.listen, role, flags.minutes, flags.uses);
  }
  if (place.config.store.kind == "postgres")
    return FailedPrecondition(
        "the jobs are in PostgreSQL (store.kind): back them up with pg_dump, then copy the folders ", place.state_dir,
        "/blobs and /authority (docs/reliability.md)");
  BackupOptions options{place.state_dir, place.listen, Absolute(flags.backup_to)};
  Identity identity;
  if (UsesTls(place.config, place.listen)) {
    ASSIGN_OR_RETURN(identity, LocalOperator(place.state_dir, place.config));
    options.identity = &identity;
  }
  return BackUp(options);
}

// `atelier-master health`: asks the running master of this configuration, for probes; 0 when it answers 200.
int AskHealth(const Flags& flags) {
  const auto place = FindPlace(flags);
  if (!place.ok()) return Fail(place.status());
  const std::string& listen = place->config.metrics.listen;
  if (listen.empty()) return Fail(FailedPrecondition("metrics.listen is \"\": this master answers no probes"));
  std::string address = listen, key, authority;
  if (const std::string any = listen.substr(0, listen.rfind(':')); any == "0.0.0.0" || any == "[::]")
    address = "127.0.0.1" + listen.substr(listen.rfind(':'));
  if (!IsLoopback(listen)) {
    const auto server = LoadIdentity(place->state_dir + "/authority/server.pem");
    const auto secret = ReadSecretFile(place->state_dir + "/authority/http.key");
    if (!server.ok()) return Fail(server.status());
    if (!secret.ok()) return Fail(secret.status());
    authority = server->authority;
    key = secret->substr(0, secret->find_first_of("\r\n"));
  }
  const auto reply = AskProbe(address, flags.health_path, key, authority);
  if (!reply.ok()) return Fail(reply.status());
  std::cout << reply->body;
  return reply->status == 200 ? 0 : 1;
}

int Run(const Flags& flags) {
  if (!flags.health_path.empty()) return AskHealth(flags);
  if (flags.init || flags.token || !flags.backup_to.empty()) {
    const StatusOr<std::string> done = RunOnce(flags);
    if (!done.ok()) return Fail(done.status());
    std::cout << *done << "\n";
    if (flags.token)
      std::cerr << (flags.uses == 1 ? "good once" : Cat("good for ", flags.uses, " joins")) << ", within "
                << flags.minutes << " minutes; whoever has it can join as " << flags.role << "\n";
    return 0;
  }
  // Signals are read by this thread alone.
  sigset_t signals;
  sigemptyset(&signals);
  for (int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) sigaddset(&signals, signal);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  if (flags.parent_pid > 0) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != flags.parent_pid)
      return Fail(FailedPrecondition("the process that asked for this master has ended"));
  }

  const auto place = FindPlace(flags);
  if (!place.ok()) return Fail(place.status());
  const ClusterConfig config = place->config;
  ApplyLogSettings(config.log);
  if (const Status armed = ArmFailpoints(); !armed.ok()) return Fail(armed);

  CoreOptions options;
  options.config = config;
  options.state_dir = place->state_dir;
  options.output_dir = Absolute(!flags.output.empty() ? flags.output : config.master.output_dir);
  options.input_dir = Absolute(!flags.input.empty() ? flags.input : config.master.input_dir);
  for (const std::string& root : flags.models.empty() ? config.models.roots : flags.models)
    options.model_roots.push_back(Absolute(root));
  const std::string listen = place->listen;
  const std::string host = listen.substr(0, listen.rfind(':'));
  if (const Status rules = CheckAccessRules(); !rules.ok()) return Fail(rules);
  std::unique_ptr<Security> security;
  if (UsesTls(config, listen)) {
    auto opened = OpenSecurity(options.state_dir, config);
    if (!opened.ok()) return Fail(Annotate(opened.status(), Cat("this master is to listen on ", listen)));
    security = std::move(*opened);
  }
  options.share_models = !flags.private_master;
  std::error_code error;
  std::filesystem::create_directories(options.state_dir, error);
  if (error)
    return Fail(FailedPrecondition("the state folder ", options.state_dir, " cannot be made: ", error.message()));

  auto data = DataDir();
  if (!data.ok()) return Fail(data.status());
  auto catalog = Catalog::Load(flags.catalog.empty() ? *data + "/catalog.json" : flags.catalog);
  if (!catalog.ok()) return Fail(catalog.status());
  options.catalog = std::move(*catalog);
  auto widgets = WidgetTable::Load(*data + "/widgets.json");
  if (!widgets.ok()) return Fail(widgets.status());
  options.widgets = std::move(*widgets);

  // On loopback as plain as the calls there.
  auto guard = MakeProbeGuard(
      config.metrics.listen, security != nullptr && !IsLoopback(config.metrics.listen) ? security->http_key_file : "",
      security == nullptr || IsLoopback(config.metrics.listen) ? nullptr
                                                               : std::make_shared<const Identity>(security->server));
  if (!config.metrics.listen.empty() && !flags.private_master) {
    if (!guard.ok()) return Fail(Annotate(guard.status(), "metrics.listen"));
    guard->hosts.push_back(config.master.address.substr(0, config.master.address.rfind(':')));
    guard->hosts.emplace_back(kMasterName);
  }
  const auto credentials = [&] {
    return security == nullptr ? grpc::InsecureServerCredentials() : Credentials(*security);
  };
  std::unique_ptr<JobStore> store;  // null: a file in the state folder
  bool stood_by = false;
  if (config.store.kind == "postgres") {
    if (listen.ends_with(":0"))
      return Fail(
          InvalidArgument("master.listen is ", listen,
                          ": a master that shares its database is found by others, so it needs a port of its own"));
    auto database = PostgresOptionsOf(config, ReachableAddress(config, listen), EndAsLost);
    if (!database.ok()) return Fail(Annotate(database.status(), "store.password_file"));
    auto taken = StandBy({*std::move(database), listen, config.metrics.listen, guard.ok() ? *guard : ProbeGuard(),
                          credentials(), [&] { stood_by = true; }});
    if (!taken.ok()) return Fail(taken.status());
    if (*taken == nullptr) return 0;
    store = std::move(*taken);
  }
  auto self = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  const std::string binary =
      flags.worker_binary.empty() ? (self / "atelier-worker").string() : Absolute(flags.worker_binary);
  std::vector<LocalWorker> local;
  // Names first: the core counts them as replicas. The address is known once the port is.
  std::function<StatusOr<std::string>(const std::string&)> identity;
  if (security != nullptr)
    identity = [&security, folder = options.state_dir](const std::string& worker) {
      return LocalWorkerIdentity(*security, folder, worker);
    };
  Status planned =
      PlanWorkers(config, flags, "", binary, options.model_roots, options.state_dir, identity, options, local);
  if (!planned.ok()) return Fail(planned);
  CoreOptions names;  // the workers' part, made anew at each change of the configuration
  const std::vector<std::string> roots = options.model_roots;
  const std::string state_dir = options.state_dir;
  auto opened = Core::Open(std::move(options), std::move(store));
  if (!opened.ok()) return Fail(opened.status());
  Core& core = **opened;

  FleetOptions fleet_options;
  fleet_options.heartbeat_ms = static_cast<uint32_t>(config.scheduling.heartbeat_seconds * 1000);
  fleet_options.silent_ms_max = std::max(fleet_options.heartbeat_ms * 5 / 2, 500u);
  if (security != nullptr)
    fleet_options.admit = [gate = security->gate](const grpc::AuthContext& peer, const std::string& name) {
      return gate->Admit(peer, name);
    };
  Fleet fleet(fleet_options, core.fleet_events());
  core.SetFleet(&fleet);
  SetLogSink([&core](LogLevel, const std::string& text) {
    const LogFields about = CurrentLogFields();
    core.KeepLine("", text);
    if (!about.job.empty()) core.KeepLine(about.job, text);
  });

  AdminServer admin(&core, [] { kill(getpid(), SIGTERM); });
  BlobServer blobs(&core.blobs(), [&core] { return core.config()->limits.disk_free_bytes_min; });
  ModelServer models(&core.models());
  if (security != nullptr) {
    const CallerOf caller = [gate = security->gate](const grpc::AuthContext& peer) -> StatusOr<std::string> {
      ASSIGN_OR_RETURN(const IdentityInfo who, gate->Identify(peer));
      return who.name;
    };
    admin.set_caller(caller);
    blobs.set_caller(caller);
    models.set_caller(caller);
    security->gate->SetCallsPerSecond([&core] { return core.config()->limits.identity_calls_per_second; });
  }
  IdentityServer identities(security.get(), [&](const std::string& name) {
    fleet.EndRefused();
    core.ForgetWorker(name);
  });
  grpc::EnableDefaultHealthCheckService(true);  // grpc.health.v1
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(listen, credentials(), &port);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1'000);
  for (const auto& [name, value] : BulkArguments()) builder.AddChannelArgument(name, value);
  // Nobody, known or not, may make the process hold more than this of messages that are still coming in.
  grpc::ResourceQuota quota("master");
  quota.Resize(kReceivedBytesMax);
  quota.SetMaxThreads(kThreadsMax);
  builder.SetResourceQuota(quota);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kStreamsOfConnectionMax);
  // Of every method: what is larger comes in chunks.
  builder.SetMaxReceiveMessageSize(static_cast<int>(limits::kMessageBytesMax) + (1 << 20));
  builder.RegisterService(&fleet);
  builder.RegisterService(&admin);
  builder.RegisterService(&blobs);
  builder.RegisterService(&models);
  builder.RegisterService(&identities);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0)
    return Fail(Unavailable(
        "cannot listen on ", listen,
        ": the port is in use or the address is not this machine's; give another with --listen or master.listen"));
  const std::string address = Cat(host == "0.0.0.0" || host == "[::]" ? "127.0.0.1" : host, ":", port);
  admin.set_address(address);
  core.Start();
  Supervisor supervisor(
      [&core](const std::string& name, const std::string& note) { core.NoteLocalWorker(name, note); });
  for (LocalWorker& worker : local) {
    worker.arguments[2] = address;
    core.NoteLocalWorker(worker.name, "is being started");
  }
  supervisor.Start(local, state_dir);
  if (!flags.port_file.empty()) {
    Status written = WriteFileAtomic(flags.port_file, address + "\n");
    if (!written.ok()) return Fail(written);
  }
  LogInfo("atelier-master ", kProgramVersion, " serves on ", address, ", state in ", state_dir);
  if (Status media = media::CheckMediaProgram(); !media.ok())
    LogWarning("videos and sound are saved without their workflow: ", Message(media));

  std::unique_ptr<ProbeServer> probes;
  if (!config.metrics.listen.empty() && !flags.private_master) {
    auto started = ProbeServer::Start(
        config.metrics.listen, [&core](std::string_view path) { return AnswerProbe(core, path); }, *guard);
    if (started.ok()) {
      probes = std::move(*started);
      LogInfo("metrics and health on port ", probes->port());
    } else {
      LogWarning("no metrics and health: ", Message(started.status()), "; set metrics.listen");
    }
  }
  Reloader reloader(flags.config, config, &core, [&](const ClusterConfig& now) {
    const Status replanned = PlanWorkers(now, flags, address, binary, roots, state_dir, identity, names, local);
    if (!replanned.ok()) {
      LogError(Message(replanned));
      return;
    }
    core.SetConfiguredWorkers(names.configured_workers, names.disabled_workers);
    for (const LocalWorker& worker : local) core.NoteLocalWorker(worker.name, "is being started");
    supervisor.SetWorkers(local);
  });
  std::optional<FileWatch> watch;
  if (!flags.config.empty()) {
    auto begun = FileWatch::Begin(flags.config);
    if (begun.ok())
      watch.emplace(std::move(*begun));
    else
      LogWarning("changes of the configuration are taken over at SIGHUP only: ", Message(begun.status()));
  }
  const auto reload = [&] {
    if (flags.config.empty()) return;
    NotifyReloading();
    reloader.Reload();
    NotifyManager("READY=1");
  };
  std::optional<Publisher> publisher;
  if (config.discovery.publish && security != nullptr) {
    char name[HOST_NAME_MAX + 1] = "";
    gethostname(name, sizeof name - 1);
    publisher.emplace(Cat("Atelier on ", name), static_cast<uint16_t>(port), security->authority.fingerprint());
  } else if (config.discovery.publish) {
    LogWarning("discovery.publish: this master listens on loopback alone, so it is not offered to other machines");
  }
  if (stood_by) reload();  // what has changed since it was read
  NotifyManager(Cat("READY=1\nSTATUS=serves on ", address));

  const int signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signal_fd < 0) return Fail(Internal("signalfd: ", std::strerror(errno)));
  const auto now_ms = [] {
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
  };
  const int64_t watchdog_ms = WatchdogMs();
  int64_t tick_ms = std::max<int64_t>(fleet_options.heartbeat_ms / 4, 50);
  if (watchdog_ms > 0) tick_ms = std::min(tick_ms, watchdog_ms / 2);
  int64_t next_tick_ms = now_ms() + tick_ms;
  for (bool ending = false; !ending;) {
    pollfd fds[] = {{signal_fd, POLLIN, 0}, {watch ? watch->fd() : -1, POLLIN, 0}};
    poll(fds, 2, static_cast<int>(std::clamp<int64_t>(next_tick_ms - now_ms(), 0, tick_ms)));
    signalfd_siginfo signal{};
    while (read(signal_fd, &signal, sizeof signal) == sizeof signal) {
      if (signal.ssi_signo == SIGHUP) reload();
      ending |= signal.ssi_signo == SIGTERM || signal.ssi_signo == SIGINT;
    }
    if (watch && fds[1].revents != 0 && watch->Changed()) reload();
    if (now_ms() < next_tick_ms) continue;
    next_tick_ms = now_ms() + tick_ms;
    fleet.Tick();
    blobs.Tick();
    if (publisher)
      if (const Status offered = publisher->Tick(); !offered.ok())
        LogWarning("discovery.publish: ", Message(offered), "; tried again each half minute");
    if (watchdog_ms > 0 && core.CheckHealth().alive) NotifyManager("WATCHDOG=1");
  }
  NotifyManager("STOPPING=1");
  publisher.reset();
  core.BeginDrain();
  if (auto* health = server->GetHealthCheckService(); health != nullptr) health->SetServingStatus(false);
  LogInfo("ending");
  supervisor.Stop(flags.private_master ? 2 : 20);
  fleet.Shutdown();
  core.Stop();
  server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2));
  server->Wait();
  SetLogSink(nullptr);
  LogInfo("ended");
  return 0;
}

}  // namespace
}  // namespace atelier

int main(int argc, char** argv) {
  atelier::Flags flags;
  CLI::App app{
      "The master of an Atelier cluster: takes jobs, plans them, leases tasks to workers, writes the outputs."};
  app.set_version_flag("--version", atelier::kProgramVersion);
  app.add_option("--config", flags.config, "YAML file; config/cluster.yaml documents every key");
  app.add_option("--listen", flags.listen, "HOST:PORT of the gRPC services (port 0: any free one)");
  app.add_option("--state", flags.state, "folder of the database and the blobs");
  app.add_option("--models", flags.models, "models folder in ComfyUI's layout; may be repeated");
  app.add_option("--input", flags.input, "folder of input files");
  app.add_option("--output", flags.output, "folder of output files");
  app.add_option("--local-workers", flags.local_workers, "how many workers to start on this machine");
  app.add_option("--device", flags.device, "device of the local workers: auto, cpu, cuda:N");
  app.add_option("--worker-binary", flags.worker_binary,
                 "the worker to start (default: atelier-worker beside this command)");
  app.add_option("--catalog", flags.catalog, "declarations of the node types (default: config/catalog.json)");
  app.add_option("--port-file", flags.port_file, "file that gets HOST:PORT once the master serves");
  app.add_option("--parent-pid", flags.parent_pid, "end when this parent process ends");
  app.add_flag("--private", flags.private_master, "a master of one `atelier run`");
  auto* backup = app.add_subcommand("backup", "copy the state of a master, running or not, into a fresh folder");
  backup->add_option("DIR", flags.backup_to, "folder to make; a master can be started on it with --state")->required();
  backup->fallthrough();
  auto* init = app.add_subcommand("init",
                                  "make an authority, an operator's certificate for you and a configuration that "
                                  "listens outside loopback; what is there stays");
  init->fallthrough();
  auto* token = app.add_subcommand("token", "print the command with which a machine or person joins, good once");
  token->add_option("--role", flags.role, "what the joiner may do")
      ->check(CLI::IsMember({"worker", "operator", "viewer"}))
      ->capture_default_str();
  token->add_option("--minutes", flags.minutes, "how long it is good")
      ->check(CLI::Range(1, 525'600))
      ->capture_default_str();
  token->add_option("--uses", flags.uses, "how many may join with it; more than one is a standing secret")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  token->fallthrough();
  auto* health = app.add_subcommand("health", "ask the running master how it is; status 0: well");
  std::string health_path = "/readyz";
  health->add_option("PATH", health_path, "/readyz, /healthz or /metrics")->capture_default_str();
  health->fallthrough();
  CLI11_PARSE(app, argc, argv);
  if (health->parsed()) flags.health_path = health_path;
  flags.init = init->parsed();
  flags.token = token->parsed();
  return atelier::Run(flags);
}
