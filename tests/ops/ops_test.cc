// What an administrator does to a running cluster: change settings, watch, drain, back up, upgrade.
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <cmath>
#include <ctime>
#include <fstream>
#include <set>
#include <sstream>

#include "atelier/v1/admin.grpc.pb.h"
#include "common/rpc/channel.h"
#include "grpcpp/generic/generic_stub.h"
#include "tests/harness/cluster.h"
#include "tests/ops/probe.h"
#include "worker/session/session.h"

namespace atelier::test {
namespace {

ClusterOptions Fake(const std::string& config = "") {
  ClusterOptions options;
  options.catalog = DumpJson(RegisteredCatalog().ToJson());
  options.config = "metrics: {listen: '127.0.0.1:0'}\n" + config;
  return options;
}

// The port that the log tells.
int ProbePort(Process& process) {
  REQUIRE(process.WaitLog("health on port ", 20));
  const std::string log = process.Log();
  return std::atoi(log.c_str() + log.find("health on port ") + 15);
}

void Rewrite(const Cluster& cluster, const std::string& config, bool in_place = false) {
  const std::string path = in_place ? cluster.config_file() : cluster.config_file() + ".new";
  std::ofstream(path, std::ios::trunc) << config;
  if (!in_place) std::filesystem::rename(path, cluster.config_file());
}

std::string StateOf(Cluster& cluster, const std::string& worker) {
  const auto workers = cluster.client().ListWorkers();
  if (!workers.ok()) return "?";
  for (const v1::Worker& one : workers->workers())
    if (one.name() == worker) return one.state();
  return "unknown";
}

// The answer of grpc.health.v1.Health/Check about the whole server, as bytes: field 1 is the status.
std::string ServingStatus(const std::string& address) {
  grpc::GenericStub stub(MakeChannel(address));
  grpc::ClientContext context;
  SetDeadline(context, 10'000);
  grpc::CompletionQueue queue;
  const grpc::ByteBuffer request(nullptr, 0);
  grpc::ByteBuffer reply;
  grpc::Status status;
  const auto call = stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check", request, &queue);
  call->StartCall();
  call->Finish(&reply, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  std::vector<grpc::Slice> slices;
  if (!status.ok() || !reply.Dump(&slices).ok()) return status.error_message();
  std::string bytes;
  for (const grpc::Slice& slice : slices) bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return bytes;
}

TEST_CASE("a changed file is taken over while jobs run, key by key") {
  Cluster cluster(Fake());
  const std::string probes = "metrics: {listen: '127.0.0.1:0'}\n";
  cluster.StartWorker("w1");
  const std::string job = cluster.Submit(ReplicaPrompt(100), 4);
  SECTION("live settings, by a new file of that name") {
    Rewrite(cluster, probes + "log: {level: debug, format: json}\nlimits: {replicas_max: 2}\n");
    REQUIRE(cluster.master().WaitLog("limits.replicas_max: 1024 -> 2", 20));
    REQUIRE(cluster.master().WaitLog("log.level: info -> debug", 20));
    v1::SubmitRequest three;
    three.set_workflow(DumpJson(ReplicaPrompt(1)));
    three.set_replicas(3);
    CHECK(Message(cluster.client().Submit(three).status()).find("limit of 2") != std::string::npos);
    // From now on lines are objects, with the job's trace id.
    const std::string second = cluster.Submit(ReplicaPrompt(1), 1);
    cluster.WaitJob(second);
    REQUIRE(cluster.master().WaitLog("job " + second + " done", 20));
    const auto described = cluster.client().GetJob(second);
    REQUIRE(described.ok());
    CHECK(described->trace_id().size() == 32);
    std::istringstream lines(cluster.master().Log());
    int objects = 0, about = 0, leases = 0;
    for (std::string line; std::getline(lines, line);) {
      if (!line.starts_with("{")) continue;
      auto json = ParseJson(line);
      INFO(line);
      REQUIRE(json.ok());
      ++objects;
      if (json->value("job", "") != second) continue;
      ++about;
      CHECK(json->value("trace", "") == described->trace_id());
      if (json->contains("worker") && json->contains("attempt") && json->contains("task")) ++leases;
    }
    CHECK(objects > 3);
    CHECK(about >= 3);
    CHECK(leases >= 1);
  }
  SECTION("in place, and by SIGHUP") {
    Rewrite(cluster, probes + "scheduling: {tiles: independent}\n", true);
    REQUIRE(cluster.master().WaitLog("scheduling.tiles: exact -> independent", 20));
    cluster.master().Signal(SIGHUP);
    REQUIRE(cluster.master().WaitLog("the configuration was read again; nothing differs", 20));
    const std::string tiles = cluster.Submit(TilePrompt(1));
    CHECK(cluster.client().GetJob(tiles)->tiles() == "independent");
  }
  SECTION("what needs a restart is named and not done") {
    Rewrite(cluster, probes + "master: {listen: '127.0.0.1:1'}\nlimits: {jobs_waiting_max: 7}\n");
    REQUIRE(cluster.master().WaitLog("master.listen: 127.0.0.1:50188 -> 127.0.0.1:1 needs a restart", 20));
    REQUIRE(cluster.master().WaitLog("limits.jobs_waiting_max: 10000 -> 7", 20));
    CHECK(cluster.client().GetServer().ok());
  }
  SECTION("a file with faults changes nothing; each is told by its line") {
    Rewrite(cluster, probes + "limits: {replicas_max: 2}\nlog:\n  level: loud\nwrokers: 1\n");
    REQUIRE(cluster.master().WaitLog("refused, the running one stays: cluster.yaml:4: \"log.level\" is \"loud\"", 20));
    REQUIRE(cluster.master().WaitLog("cluster.yaml:5: unknown key \"wrokers\"", 20));
    v1::SubmitRequest three;
    three.set_workflow(DumpJson(ReplicaPrompt(1)));
    three.set_replicas(3);
    CHECK(cluster.client().Submit(three).ok());
    CHECK(Metric(Get(ProbePort(cluster.master()), "/metrics"), "atelier_config_reloads_total{result=\"refused\"}") ==
          1);
  }
  CHECK(cluster.WaitJob(job).state() == "done");
}

TEST_CASE("local workers are started and ended as the file says") {
  const std::string probes = "metrics: {listen: '127.0.0.1:0'}\n";
  ClusterOptions options = Fake("workers:\n  list:\n    - {name: a, device: cpu}\n    - {name: b, device: cpu}\n");
  options.master_flags = {"--worker-binary", BinDir() + "/atelier-worker-fake"};
  Cluster cluster(options);
  const auto state = [&](const char* name) { return StateOf(cluster, name); };
  REQUIRE(Until([&] { return state("a") == "connected" && state("b") == "connected"; }));

  Rewrite(cluster,
          probes +
              "workers:\n  list:\n    - {name: a, device: cpu, threads: 3}\n    - {name: b, device: cpu, enabled: "
              "no}\n    - {name: c, device: cpu}\n");
  REQUIRE(cluster.master().WaitLog("workers.list.b.enabled: yes -> no", 20));
  REQUIRE(cluster.master().WaitLog("worker \"a\" is ended: it is started again with other settings", 20));
  REQUIRE(Until([&] { return state("a") == "connected" && state("b") == "disabled" && state("c") == "connected"; }));
  // Two replicas by themselves: the enabled ones.
  CHECK(cluster.WaitJob(cluster.Submit(ReplicaPrompt(1))).replicas() == 2);

  Rewrite(cluster, probes + "workers:\n  list:\n    - {name: c, device: cpu}\n");
  REQUIRE(cluster.master().WaitLog("worker \"a\" is ended: it is no longer wanted here", 20));
  REQUIRE(Until([&] { return state("a") == "disabled" && state("c") == "connected"; }));
  CHECK(cluster.WaitJob(cluster.Submit(ReplicaPrompt(2))).replicas() == 1);
  CHECK(cluster.master().Log().find("a change of state was refused") == std::string::npos);
}

TEST_CASE("a worker outside its hours rests, and works when they begin") {
  const std::string probes = "metrics: {listen: '127.0.0.1:0'}\n";
  const std::time_t later = std::time(nullptr) + 3 * 3600;
  char hours[] = "HH:MM-HH:MM";
  std::tm local{};
  std::strftime(hours, sizeof hours, "%H:%M", localtime_r(&later, &local));
  const std::time_t end = later + 3600;
  std::strftime(hours + 6, sizeof hours - 6, "%H:%M", localtime_r(&end, &local));
  hours[5] = '-';
  Cluster cluster(Fake(Cat("workers:\n  list:\n    - {name: a, start: no, hours: '", hours, "'}\n")));
  cluster.StartWorker("a");
  REQUIRE(Until([&] { return StateOf(cluster, "a") == "resting"; }));
  const std::string job = cluster.Submit(ReplicaPrompt(1));
  CHECK(cluster.client().GetJob(job)->replicas() == 1);  // who rests counts as a replica
  cluster.StartWorker("b");
  REQUIRE(Until([&] { return StateOf(cluster, "b") == "connected"; }));
  const v1::Job ended = cluster.WaitJob(job);
  CHECK(ended.state() == "done");
  for (const v1::Task& task : ended.tasks()) CHECK(task.worker() == "b");
  cluster.worker("b").Kill();
  const std::string waits = cluster.Submit(ReplicaPrompt(2));
  Rewrite(cluster, probes + "workers:\n  list:\n    - {name: a, start: no}\n");
  CHECK(cluster.WaitJob(waits).state() == "done");
  CHECK(StateOf(cluster, "a") == "connected");
}

TEST_CASE("health, readiness and figures") {
  Cluster cluster(Fake());
  const int port = ProbePort(cluster.master());
  CHECK(Get(port, "/healthz").starts_with("HTTP/1.1 200 OK"));
  CHECK(Get(port, "/readyz").ends_with("\r\n\r\nok\n"));
  CHECK(Get(port, "/state/atelier.db").starts_with("HTTP/1.1 404"));
  cluster.StartWorker("w1");
  cluster.StartWorker("w2");
  cluster.WaitJob(cluster.Submit(TilePrompt(1), 0, "exact"));
  REQUIRE(Until([&] { return Metric(Get(port, "/metrics"), "atelier_jobs{state=\"saving\"}") == 0; }));
  const std::string page = Get(port, "/metrics");
  CHECK(page.find("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n") != std::string::npos);
  CHECK(Metric(page, "atelier_jobs_ended_total{state=\"done\"}") == 1);
  CHECK(Metric(page, "atelier_jobs{state=\"running\"}") == 0);
  CHECK(Metric(page, "atelier_workers{state=\"connected\"}") == 2);
  CHECK(Metric(page, "atelier_results_total") == 11);
  CHECK(Metric(page, "atelier_leases_total") >= 11);
  CHECK(Metric(page, "atelier_job_seconds_count") == 1);
  CHECK(Metric(page, "atelier_task_seconds_count") == 11);
  CHECK(Metric(page, "atelier_refused_transitions_total") == 0);
  CHECK(Metric(page, "atelier_disk_free_bytes") > 1e6);
  CHECK(Metric(page, "process_resident_memory_bytes") > 1e6);
  CHECK(page.find("atelier_build_info{version=\"") != std::string::npos);
  // Labels are few and fixed: a second job adds no line.
  const auto lines = [](const std::string& text) { return std::count(text.begin(), text.end(), '\n'); };
  cluster.WaitJob(cluster.Submit(ReplicaPrompt(1), 3));
  CHECK(lines(Get(port, "/metrics")) == lines(page));
  CHECK(page.find(cluster.dir() / "") == std::string::npos);  // no path of this machine
}

TEST_CASE("a disk below its bound is told by readiness, the master stays alive") {
  Cluster cluster(Fake("limits: {disk_free_bytes_min: 1024TiB}\n"));
  const int port = ProbePort(cluster.master());
  CHECK(Get(port, "/healthz").starts_with("HTTP/1.1 200"));
  const std::string ready = Get(port, "/readyz");
  CHECK(ready.starts_with("HTTP/1.1 503"));
  CHECK(ready.find("limits.disk_free_bytes_min") != std::string::npos);
}

TEST_CASE("SIGTERM in the middle of a job: the master ends in time, the job goes on after the next start") {
  std::string expected;
  {
    Cluster cluster(Fake());
    cluster.StartWorker("alone");
    expected = cluster.OutputHash(cluster.WaitJob(cluster.Submit(TilePrompt(100), 0, "independent")));
  }
  Cluster cluster(Fake());
  cluster.StartWorker("w1");
  cluster.StartWorker("w2");
  const std::string job = cluster.Submit(TilePrompt(100), 0, "independent");
  REQUIRE(cluster.WaitEvent(job, [](const v1::JobEvent& event) { return event.job().tasks_done() >= 2; }));
  const auto start = std::chrono::steady_clock::now();
  cluster.master().Signal(SIGTERM);
  REQUIRE(cluster.master().WaitEnd(25));
  CHECK(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < 10);
  CHECK(cluster.master().exit_code() == 0);
  CHECK(cluster.master().Log().find("ended") != std::string::npos);
  cluster.StartMaster();
  CHECK(cluster.OutputHash(cluster.WaitJob(job)) == expected);
}

TEST_CASE("while the master ends it refuses jobs, and its probes say so") {
  ClusterOptions options = Fake("workers: {local: 1}\n");
  options.master_flags = {"--worker-binary", BinDir() + "/atelier-worker-fake"};
  Cluster cluster(options);
  const int port = ProbePort(cluster.master());
  CHECK(ServingStatus(cluster.address()) == "\x08\x01");  // SERVING
  const std::string job = cluster.Submit(ReplicaPrompt(1500, 4), 1);
  REQUIRE(cluster.WaitEvent(job, [](const v1::JobEvent& event) { return event.task().step() > 0; }));
  cluster.master().Signal(SIGTERM);  // the local worker has 4 s for what it runs
  REQUIRE(Until([&] { return Get(port, "/readyz").find("the master is ending") != std::string::npos; }));
  CHECK(Get(port, "/healthz").starts_with("HTTP/1.1 200"));
  CHECK(Get(port, "/metrics").find("\natelier_ready 0\n") != std::string::npos);
  CHECK(ServingStatus(cluster.address()) == "\x08\x02");  // NOT_SERVING
  v1::SubmitRequest request;
  request.set_workflow(DumpJson(ReplicaPrompt(1)));
  // Asked directly: the command tells every UNAVAILABLE in its own words.
  const auto stub = v1::AdminService::NewStub(MakeChannel(cluster.address()));
  grpc::ClientContext context;
  SetDeadline(context, 10'000);
  v1::SubmitReply reply;
  const grpc::Status refused = stub->Submit(&context, request, &reply);
  CHECK(refused.error_code() == grpc::StatusCode::UNAVAILABLE);
  CHECK(refused.error_message().find("the master is ending") != std::string::npos);
  REQUIRE(cluster.master().WaitEnd(25));
  CHECK(cluster.master().exit_code() == 0);
}

TEST_CASE("SIGTERM at a worker: its task is finished or handed back, status 0") {
  Cluster cluster(Fake());
  cluster.StartWorker("w1");
  cluster.StartWorker("w2");
  const std::string job = cluster.Submit(ReplicaPrompt(100), 4);
  REQUIRE(cluster.WaitEvent(
      job, [](const v1::JobEvent& event) { return event.has_task() && event.task().worker() == "w1"; }));
  cluster.worker("w1").Signal(SIGTERM);
  REQUIRE(cluster.worker("w1").WaitEnd(10));
  CHECK(cluster.worker("w1").exit_code() == 0);
  CHECK(cluster.WaitJob(job).state() == "done");
}

// The service manager's end of the socket.
class Manager {
 public:
  explicit Manager(const std::string& path) : path_(path), fd_(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    REQUIRE(bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  }
  ~Manager() {
    close(fd_);
    unlink(path_.c_str());
  }
  bool Hears(const std::string& what) {
    return Until([&] {
      char bytes[512];
      for (ssize_t n = 0; (n = recv(fd_, bytes, sizeof bytes, MSG_DONTWAIT)) > 0;)
        heard_ += std::string(bytes, static_cast<size_t>(n)) + "\n";
      return heard_.find(what) != std::string::npos;
    });
  }

 private:
  const std::string path_;
  std::string heard_;
  const int fd_;
};

TEST_CASE("a service manager hears of start, life, reloading and end") {
  TempDir dir;
  Manager manager(dir / "notify");
  ClusterOptions options = Fake();
  options.master_environment = {{"NOTIFY_SOCKET", dir / "notify"}, {"WATCHDOG_USEC", "400000"}};
  Cluster cluster(options);
  CHECK(manager.Hears("READY=1\nSTATUS=serves on "));
  CHECK(manager.Hears("WATCHDOG=1"));
  cluster.master().Signal(SIGHUP);
  CHECK(manager.Hears("RELOADING=1\nMONOTONIC_USEC="));
  cluster.master().Signal(SIGTERM);
  CHECK(manager.Hears("STOPPING=1"));
  REQUIRE(cluster.master().WaitEnd(20));
}

TEST_CASE("a worker tells the service manager, and answers probes by whether it is attached") {
  TempDir dir;
  Manager manager(dir / "notify");
  Cluster cluster(Fake());
  Process worker({BinDir() + "/atelier-worker-fake", "--master", cluster.address(), "--name", "w1", "--models",
                  cluster.models_dir(), "--health-listen", "127.0.0.1:0"},
                 dir / "worker.log", {{"NOTIFY_SOCKET", dir / "notify"}, {"WATCHDOG_USEC", "200000"}});
  const int port = ProbePort(worker);
  CHECK(manager.Hears("READY=1"));
  CHECK(manager.Hears("WATCHDOG=1"));
  CHECK(Until([&] { return Get(port, "/readyz").starts_with("HTTP/1.1 200"); }));
  cluster.master().Kill();
  CHECK(Until([&] { return Get(port, "/readyz").starts_with("HTTP/1.1 503"); }));
  CHECK(Get(port, "/healthz").starts_with("HTTP/1.1 200"));
  worker.Signal(SIGTERM);
  CHECK(manager.Hears("STOPPING=1"));
  REQUIRE(worker.WaitEnd(10));
  CHECK(worker.exit_code() == 0);
}

TEST_CASE("a worker's lines carry the job's trace id") {
  ClusterOptions options = Fake();
  options.worker_flags = {"--health-listen", "127.0.0.1:0", "--log-format", "json", "--log-level", "debug"};
  Cluster cluster(options);
  cluster.StartWorker("w1");
  const std::string job = cluster.Submit(ReplicaPrompt(1), 1);
  cluster.WaitJob(job);
  const std::string trace = cluster.client().GetJob(job)->trace_id();
  REQUIRE(trace.size() == 32);
  REQUIRE(cluster.worker("w1").WaitLog("\"trace\":\"" + trace + "\"", 20));
  std::istringstream lines(cluster.worker("w1").Log());
  int about = 0;
  for (std::string line; std::getline(lines, line);) {
    INFO(line);
    auto json = ParseJson(line);
    REQUIRE(json.ok());
    CHECK(json->value("worker", "") == "w1");
    if (json->value("trace", "") != trace) continue;
    ++about;
    CHECK(json->value("job", "") == job);
    CHECK(json->value("task", "").starts_with(job + "/"));
    CHECK(json->contains("attempt"));
  }
  CHECK(about >= 2);
  // `atelier logs JOB` has the master's lines and the workers'.
  std::string kept;
  REQUIRE(Until([&] {
    const auto logs = cluster.client().Logs(job, 100);
    kept.clear();
    if (logs.ok())
      for (const std::string& line : logs->lines()) kept += line + "\n";
    return kept.find("w1: task ") != std::string::npos && kept.find(" accepted: ") != std::string::npos;
  }));
}

TEST_CASE("backup and restore: a job goes on in another state folder") {
  std::string expected;
  {
    Cluster cluster(Fake());
    cluster.StartWorker("alone");
    expected = cluster.OutputHash(cluster.WaitJob(cluster.Submit(TilePrompt(60), 0, "exact")));
  }
  Cluster cluster(Fake());
  cluster.StartWorker("w1");
  const std::string job = cluster.Submit(TilePrompt(60), 0, "exact");
  REQUIRE(cluster.WaitEvent(job, [](const v1::JobEvent& event) { return event.job().tasks_done() >= 3; }));
  const std::string copy = cluster.dir() / "copies/one", later = cluster.dir() / "copies/two";
  {
    Process running(
        {BinDir() + "/atelier-master", "--listen", cluster.address(), "--state", cluster.state_dir(), "backup", copy},
        cluster.dir() / "backup.log");
    REQUIRE(running.WaitEnd(30));
    INFO(running.Log());
    CHECK(running.exit_code() == 0);
    CHECK(running.Log().find("backed up to " + copy) != std::string::npos);
  }
  cluster.master().Kill();
  {  // without a master the state is read directly
    Process stopped(
        {BinDir() + "/atelier-master", "--listen", cluster.address(), "--state", cluster.state_dir(), "backup", later},
        cluster.dir() / "backup2.log");
    REQUIRE(stopped.WaitEnd(30));
    INFO(stopped.Log());
    CHECK(stopped.exit_code() == 0);
    Process again({BinDir() + "/atelier-master", "--state", cluster.state_dir(), "backup", later},
                  cluster.dir() / "backup3.log");
    REQUIRE(again.WaitEnd(30));
    CHECK(again.exit_code() == 1);
    CHECK(again.Log().find("already; name a folder that is not there") != std::string::npos);
  }
  for (const std::string& from : {copy, later}) {
    INFO(from);
    // The state folder is lost; the copy takes its place.
    cluster.master().Kill();
    std::filesystem::remove_all(cluster.state_dir());
    std::filesystem::remove_all(cluster.output_dir());
    std::filesystem::rename(from, cluster.state_dir());
    cluster.StartMaster();
    CHECK(cluster.OutputHash(cluster.WaitJob(job)) == expected);
  }
}

TEST_CASE("retention: old jobs are forgotten, old outputs deleted, open jobs never") {
  Cluster cluster(Fake("retention: {history_jobs: 2}\n"));
  cluster.StartWorker("w1");
  std::vector<std::string> jobs;
  for (int i = 0; i < 4; ++i) {
    jobs.push_back(cluster.Submit(ReplicaPrompt(0, 1, 64 + 8 * i), 1));
    cluster.WaitJob(jobs.back());
  }
  const auto known = [&] {
    std::set<std::string> ids;
    const auto jobs_now = cluster.client().ListJobs(100);
    if (jobs_now.ok())
      for (const v1::Job& job : jobs_now->jobs()) ids.insert(job.id());
    return ids;
  };
  CHECK(known().size() == 4);
  cluster.worker("w1").Kill();
  const std::string open = cluster.Submit(ReplicaPrompt(0), 1);
  cluster.master().Kill();
  cluster.StartMaster();  // retention is looked at when it starts, and every minute
  REQUIRE(Until([&] { return known() == std::set<std::string>{jobs[2], jobs[3], open}; }));
  const auto count_files = [&] {
    int files = 0;
    for (const auto& file : std::filesystem::recursive_directory_iterator(cluster.output_dir()))
      files += file.is_regular_file() ? 1 : 0;
    return files;
  };
  CHECK(count_files() == 4);  // files of forgotten jobs are the user's

  Rewrite(cluster, "metrics: {listen: '127.0.0.1:0'}\nretention: {outputs_bytes: 1}\n");
  cluster.master().Kill();
  cluster.StartMaster();
  REQUIRE(Until([&] { return count_files() == 2; }));  // of the two jobs that it still knew
  REQUIRE(Until([&] {
    const auto job = cluster.client().GetJob(jobs[3]);
    return job.ok() && job->outputs_size() == 0;
  }));
  cluster.StartWorker("w1");
  CHECK(cluster.WaitJob(open).state() == "done");
}

}  // namespace
}  // namespace atelier::test
