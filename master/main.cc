// atelier-master: flags, config, wiring. Shutdown order: no new calls, streams cut, local workers ended, core stopped.
#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <thread>

#include "common/base/log.h"
#include "common/config/cluster_config.h"
#include "common/files/data_dir.h"
#include "common/files/files.h"
#include "common/rpc/channel.h"
#include "common/rpc/protocol.h"
#include "master/fleet/fleet.h"
#include "master/gateway/core.h"
#include "master/gateway/services.h"
#include "master/gateway/supervisor.h"

namespace atelier {
namespace {

struct Flags {
  std::string config, listen, state, input, output, device = "auto", port_file, worker_binary, catalog;
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
Status PlanWorkers(const ClusterConfig& config, const Flags& flags, const std::string& address,
                   const std::string& binary, const std::vector<std::string>& roots, CoreOptions& core,
                   std::vector<LocalWorker>& local) {
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
    local.push_back(std::move(made));
  }
  return OkStatus();
}

std::string Absolute(const std::string& path) { return std::filesystem::absolute(path).lexically_normal().string(); }

int Run(const Flags& flags) {
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

  ClusterConfig config = DefaultClusterConfig();
  if (!flags.config.empty()) {
    auto loaded = LoadClusterConfig(flags.config);
    if (!loaded.ok()) return Fail(loaded.status());
    config = std::move(*loaded);
  }
  if (config.log.level == "debug") SetLogLevel(LogLevel::kDebug);
  if (config.log.level == "warning") SetLogLevel(LogLevel::kWarning);
  if (config.log.level == "error") SetLogLevel(LogLevel::kError);

  CoreOptions options;
  options.config = config;
  options.state_dir = !flags.state.empty()               ? flags.state
                      : !config.master.state_dir.empty() ? config.master.state_dir
                                                         : StateDir();
  options.state_dir = Absolute(options.state_dir);
  options.output_dir = Absolute(!flags.output.empty() ? flags.output : config.master.output_dir);
  options.input_dir = Absolute(!flags.input.empty() ? flags.input : config.master.input_dir);
  for (const std::string& root : flags.models.empty() ? config.models.roots : flags.models)
    options.model_roots.push_back(Absolute(root));
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

  const std::string listen = !flags.listen.empty() ? flags.listen : config.master.listen;
  const std::string host = listen.substr(0, listen.rfind(':'));
  auto self = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  const std::string binary =
      flags.worker_binary.empty() ? (self / "atelier-worker").string() : Absolute(flags.worker_binary);
  std::vector<LocalWorker> local;
  // Names first: the core counts them as replicas. The address is known once the port is.
  Status planned = PlanWorkers(config, flags, "", binary, options.model_roots, options, local);
  if (!planned.ok()) return Fail(planned);
  const std::vector<std::string> roots = options.model_roots;
  const std::string state_dir = options.state_dir;
  auto opened = Core::Open(std::move(options));
  if (!opened.ok()) return Fail(opened.status());
  Core& core = **opened;

  FleetOptions fleet_options;
  fleet_options.heartbeat_ms = static_cast<uint32_t>(config.scheduling.heartbeat_seconds * 1000);
  fleet_options.silent_ms_max = 3 * fleet_options.heartbeat_ms;
  Fleet fleet(fleet_options, core.fleet_events());
  core.SetFleet(&fleet);

  AdminServer admin(&core, [] { kill(getpid(), SIGTERM); });
  BlobServer blobs(&core.blobs());
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(listen, grpc::InsecureServerCredentials(), &port);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1'000);
  for (const auto& [name, value] : BulkArguments()) builder.AddChannelArgument(name, value);
  builder.SetMaxReceiveMessageSize(static_cast<int>(config.limits.json_bytes_max) + (1 << 20));
  builder.RegisterService(&fleet);
  builder.RegisterService(&admin);
  builder.RegisterService(&blobs);
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
  supervisor.Start(std::move(local), state_dir);
  if (!flags.port_file.empty()) {
    Status written = WriteFileAtomic(flags.port_file, address + "\n");
    if (!written.ok()) return Fail(written);
  }
  LogInfo("atelier-master ", kProgramVersion, " serves on ", address, ", state in ", state_dir);

  timespec beat{};
  beat.tv_sec = fleet_options.heartbeat_ms / 1000;
  beat.tv_nsec = static_cast<long>(fleet_options.heartbeat_ms % 1000) * 1'000'000;
  for (;;) {
    const int signal = sigtimedwait(&signals, nullptr, &beat);
    if (signal == SIGTERM || signal == SIGINT) break;
    if (signal < 0) fleet.Tick();
  }
  LogInfo("ending");
  supervisor.Stop(flags.private_master ? 2 : 20);
  fleet.Shutdown();
  core.Stop();
  server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2));
  server->Wait();
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
  CLI11_PARSE(app, argc, argv);
  return atelier::Run(flags);
}
