// Two real masters on one real PostgreSQL: one works, the other goes on when it dies, stops, or loses the database.
#include <catch2/catch.hpp>
#include <fstream>
#include <iostream>

#include "common/base/hash.h"
#include "tests/harness/cluster.h"
#include "tests/harness/postgres.h"
#include "tests/ops/probe.h"
#include "worker/session/session.h"

namespace atelier::test {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kLost = 75;  // a master's exit status when another one has taken over

double Since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Masters 0 and 1 with one database and one state folder, and workers that know both.
class Pair {
 public:
  Pair() : server_(*PostgresServer::Get()), url_(server_.NewSchema()) {
    for (const char* folder : {"state", "models", "input", "output"})
      std::filesystem::create_directory(dir_.path() / folder);
    std::ofstream(dir_ / "catalog.json") << DumpJson(RegisteredCatalog().ToJson());
    for (int i = 0; i < 2; ++i) {
      ports_[i] = FreePort();
      probes_[i] = FreePort();
      UseDatabase(i, url_);
    }
  }
  void UseDatabase(int i, const std::string& url) const {
    std::ofstream(Config(i)) << "master:\n  listen: " << Address(i) << "\nstore:\n  kind: postgres\n  url: " << url
                             << "\nmetrics:\n  listen: 127.0.0.1:" << probes_[i]
                             << "\nscheduling:\n  heartbeat_seconds: 0.5\n";
  }
  std::string Address(int i) const { return Cat("127.0.0.1:", ports_[i]); }
  Process& master(int i) { return *masters_[i]; }
  cli::Client& client(int i) { return *clients_[i]; }
  const std::string& url() const { return url_; }
  std::string Sql(const std::string& sql) const { return server_.Sql(sql, url_); }

  void Start(int i) {
    masters_[i].reset();
    masters_[i] = std::make_unique<Process>(
        std::vector<std::string>{BinDir() + "/atelier-master", "--config", Config(i), "--state", dir_ / "state",
                                 "--models", dir_ / "models", "--input", dir_ / "input", "--output", dir_ / "output",
                                 "--catalog", dir_ / "catalog.json", "--local-workers", "0"},
        dir_ / Cat("master-", i, "-", ++starts_, ".log"),
        std::map<std::string, std::string>{{"ATELIER_DATA_DIR", ATELIER_SOURCE_DIR "/config"}});
    clients_[i] = std::make_unique<cli::Client>(Address(i));
  }
  bool Serves(int i, double seconds) {
    const auto start = Clock::now();
    std::string answers;  // each other one, with its time
    const bool serves = Until(
        [&] {
          Status answer = clients_[i]->WaitReachable(0.2);
          if (answer.ok()) answer = clients_[i]->GetServer().status();
          if (!answers.ends_with(Message(answer) + "\n")) answers += Cat(Since(start), " s: ", Message(answer), "\n");
          return answer.ok();
        },
        seconds);
    if (!serves) KeepForFailure(Cat("answers of master ", i), answers);
    return serves;
  }
  // The first serves, the second stands by.
  void StartBoth() {
    Start(0);
    REQUIRE(Serves(0, 30));
    Start(1);
    REQUIRE(master(1).WaitLog("stands by; the active one is at " + Address(0), 30));
  }
  void StartWorker(const std::string& name) {
    workers_.push_back(std::make_unique<Process>(
        std::vector<std::string>{BinDir() + "/atelier-worker-fake", "--master", Address(0) + "," + Address(1), "--name",
                                 name, "--models", dir_ / "models"},
        dir_ / Cat("worker-", name, ".log"),
        std::map<std::string, std::string>{{"ATELIER_STATE_DIR", dir_ / ("state-" + name)}}));
  }
  std::string Submit(int i, const Json& prompt) {
    v1::SubmitRequest request;
    request.set_workflow(DumpJson(prompt));
    request.set_tiles("exact");
    const auto reply = clients_[i]->Submit(request);
    INFO(Message(reply.status()));
    REQUIRE(reply.ok());
    REQUIRE_FALSE(reply->job_id().empty());
    return reply->job_id();
  }
  // What is accepted of a job, in order: task, worker, attempt.
  std::string Accepted(const std::string& job) const {
    return Sql(
        "SELECT coalesce(string_agg(convert_from(task_id, 'UTF8') || ' ' || convert_from(worker, 'UTF8') || ' ' || "
        "attempt, ';' ORDER BY number), '') FROM accepted_tasks WHERE job_id = convert_to('" +
        job + "', 'UTF8')");
  }
  int AcceptedCount(const std::string& job) const {
    return std::stoi(Sql("SELECT count(*) FROM accepted_tasks WHERE job_id = convert_to('" + job + "', 'UTF8')"));
  }
  v1::Job WaitDone(int i, const std::string& job) {
    v1::Job last;
    Until(
        [&] {
          const auto now = clients_[i]->GetJob(job);
          if (now.ok()) last = *now;
          return now.ok() && (now->state() == "done" || now->state() == "failed");
        },
        120);
    INFO(last.DebugString() << masters_[i]->Log());
    REQUIRE(last.state() == "done");
    REQUIRE(static_cast<uint32_t>(AcceptedCount(job)) == last.tasks_total());
    return last;
  }
  int probes(int i) const { return probes_[i]; }

 private:
  std::string Config(int i) const { return dir_ / Cat("cluster-", i, ".yaml"); }

  PostgresServer& server_;
  const std::string url_;
  TempDir dir_;
  int ports_[2], probes_[2];
  int starts_ = 0;
  std::unique_ptr<cli::Client> clients_[2];
  std::vector<std::unique_ptr<Process>> workers_;
  std::unique_ptr<Process> masters_[2];
};

std::string HashOf(const v1::Job& job) {
  REQUIRE(job.outputs_size() == 1);
  std::ifstream file(job.outputs(0).path(), std::ios::binary);
  Sha256 hash;
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  REQUIRE_FALSE(bytes.empty());
  hash.Update(bytes);
  return hash.HexDigest();
}

Json Work() { return TilePrompt(120, 4); }

// What one master with a file of its own and one worker make of it.
std::string Undisturbed() {
  static const std::string hash = [] {
    ClusterOptions options;
    options.catalog = DumpJson(RegisteredCatalog().ToJson());
    Cluster cluster(options);
    cluster.StartWorker("alone");
    return cluster.OutputHash(cluster.WaitJob(cluster.Submit(Work(), 0, "exact")));
  }();
  return hash;
}

bool Missing() {
  if (PostgresServer::Get() != nullptr) return false;
  WARN("SKIPPED: Debian's package postgresql is not installed (deploy/deps --checks)");
  return true;
}

TEST_CASE("the standby goes on within 5 s of the active master's death, with the same bytes and nothing done twice") {
  if (Missing()) return;
  const std::string expected = Undisturbed();
  for (const int signal : {SIGKILL, SIGSTOP}) {
    INFO("signal " << signal);
    Pair pair;
    pair.StartBoth();
    // Who asks the one that stands by is told where to go.
    const auto refused = pair.client(1).ListJobs(1);
    CHECK(refused.status().code() == StatusCode::kUnavailable);
    CHECK(Message(refused.status()).find("the active one is at " + pair.Address(0)) != std::string::npos);
    CHECK(Get(pair.probes(1), "/healthz").find("200 OK") != std::string::npos);
    CHECK(Get(pair.probes(1), "/readyz").find("503") != std::string::npos);
    CHECK(Get(pair.probes(1), "/readyz").find("standby: ") != std::string::npos);
    CHECK(Metric(Get(pair.probes(1), "/metrics"), "atelier_standby") == 1);
    CHECK(Until([&] { return Get(pair.probes(0), "/readyz").find("200 OK") != std::string::npos; }));

    pair.StartWorker("w1");
    pair.StartWorker("w2");
    const std::string job = pair.Submit(0, Work());
    REQUIRE(Until([&] { return pair.AcceptedCount(job) >= 4; }, 60));
    const auto start = Clock::now();
    pair.master(0).Signal(signal);
    const std::string before = pair.Accepted(job);
    INFO(pair.master(1).Log());
    REQUIRE(pair.Serves(1, 30));
    const double seconds = Since(start);
    std::cout << "took over " << seconds << " s after signal " << signal << "\n";
    CHECK(seconds < TakeoverSecondsMax());
    // A master opens its calls first, its probes then.
    CHECK(Until([&] { return Get(pair.probes(1), "/readyz").find("200 OK") != std::string::npos; }));
    const v1::Job ended = pair.WaitDone(1, job);
    CHECK(HashOf(ended) == expected);
    if (signal == SIGSTOP) pair.master(0).Signal(SIGCONT);
    REQUIRE(pair.master(0).WaitEnd(15));
    if (signal == SIGSTOP) {
      CHECK(pair.master(0).exit_code() == kLost);
      CHECK(pair.master(0).Log().find("this master ends at once") != std::string::npos);
    }
    // What the dead one had accepted stands as it was: nothing was done again, nothing changed.
    const std::string after = pair.Accepted(job);
    CHECK(after.starts_with(before));
    CHECK(pair.client(1).GetJob(job)->state() == "done");
    // Started again it stands by.
    pair.Start(0);
    REQUIRE(pair.master(0).WaitLog("the active one is at " + pair.Address(1), 30));
    CHECK(pair.WaitDone(1, pair.Submit(1, ReplicaPrompt(1))).state() == "done");
  }
}

TEST_CASE("masters that die one after the other in the middle of a job") {
  if (Missing()) return;
  const std::string expected = Undisturbed();
  Pair pair;
  pair.StartBoth();
  pair.StartWorker("w1");
  pair.StartWorker("w2");
  const std::string job = pair.Submit(0, Work());
  int active = 0;
  for (int round = 1; round <= 4; ++round) {
    INFO("round " << round);
    REQUIRE(Until([&] { return pair.AcceptedCount(job) >= 3 * round; }, 60));
    const std::string before = pair.Accepted(job);
    pair.master(active).Kill();
    REQUIRE(pair.Serves(1 - active, 30));
    CHECK(pair.Accepted(job).starts_with(before));
    pair.Start(active);
    active = 1 - active;
  }
  CHECK(HashOf(pair.WaitDone(active, job)) == expected);
  // More when a busy machine kept a living one from its beat, which changes nothing above.
  CHECK(std::stoi(pair.Sql("SELECT term FROM leader")) >= 5);
}

TEST_CASE("the command line knows both masters, and goes on watching a job at the next one") {
  if (Missing()) return;
  const std::string expected = Undisturbed();
  Pair pair;
  pair.StartBoth();
  pair.StartWorker("w1");
  pair.StartWorker("w2");
  const int signal = GENERATE(SIGKILL, SIGSTOP);
  INFO("signal " << signal);
  // The one that stands by is named first.
  const std::string both = Cat(pair.Address(1), ",", pair.Address(0));
  CHECK(cli::Client(both).ListWorkers().ok());
  TempDir dir;
  std::ofstream(dir / "work.json") << DumpJson(Work());
  Process submit({BinDir() + "/atelier", "submit", dir / "work.json", "--tiles", "exact", "--wait", "--json"},
                 dir / "submit.log", {{"ATELIER_MASTER_ADDRESS", both}});
  REQUIRE(Until([&] { return std::stoi(pair.Sql("SELECT count(*) FROM accepted_tasks")) >= 4; }, 60));
  pair.master(0).Signal(signal);
  const bool ended = submit.WaitEnd(120);
  INFO(submit.Log() << pair.master(1).Log());
  REQUIRE(ended);
  CHECK(submit.exit_code() == 0);
  CHECK(submit.Log().find("went away; waiting for it") != std::string::npos);
  const auto jobs = cli::Client(both).ListJobs(10);
  REQUIRE(jobs.ok());
  REQUIRE(jobs->jobs_size() == 1);  // submitted once
  CHECK(HashOf(jobs->jobs(0)) == expected);
  CHECK(submit.Log().find(jobs->jobs(0).outputs(0).path()) != std::string::npos);
  pair.master(0).Signal(SIGCONT);
}

TEST_CASE("a master that loses its database ends, and goes on when it is started again") {
  if (Missing()) return;
  const std::string expected = Undisturbed();
  Pair pair;
  pair.Start(0);
  REQUIRE(pair.Serves(0, 30));
  pair.StartWorker("w1");
  const std::string job = pair.Submit(0, Work());
  REQUIRE(Until([&] { return pair.AcceptedCount(job) >= 3; }, 60));
  pair.Sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'atelier-master'");
  REQUIRE(pair.master(0).WaitEnd(15));
  CHECK(pair.master(0).exit_code() == kLost);
  CHECK(pair.Sql("SELECT count(*) FROM jobs WHERE ended_unix_ms = 0") == "1");  // not ended as failed
  pair.Start(0);
  CHECK(HashOf(pair.WaitDone(0, job)) == expected);
}

TEST_CASE("a master whose database is not there waits for it, and says so") {
  if (Missing()) return;
  Pair pair;
  pair.UseDatabase(0, "host=/nowhere dbname=none");
  pair.Start(0);
  REQUIRE(pair.master(0).WaitLog("PostgreSQL does not let us in", 30));
  CHECK(Until([&] { return Get(pair.probes(0), "/readyz").find("does not let us in") != std::string::npos; }, 10));
  CHECK(Message(pair.client(0).GetServer().status()).find("store.url") != std::string::npos);
  pair.master(0).Signal(SIGTERM);
  REQUIRE(pair.master(0).WaitEnd(10));
  CHECK(pair.master(0).exit_code() == 0);
  // What no waiting mends is told at once.
  pair.UseDatabase(0, "nonsense");
  pair.Start(0);
  REQUIRE(pair.master(0).WaitEnd(10));
  CHECK(pair.master(0).exit_code() == 1);
  CHECK(pair.master(0).Log().find("store.url is no connection string") != std::string::npos);
}

TEST_CASE("a master that is asked to end hands over at once") {
  if (Missing()) return;
  Pair pair;
  pair.StartBoth();
  SECTION("the active one") {
    pair.master(0).Signal(SIGTERM);
    REQUIRE(pair.master(0).WaitEnd(30));
    CHECK(pair.master(0).exit_code() == 0);
    CHECK(pair.Serves(1, TakeoverSecondsMax()));
  }
  SECTION("the one that stands by") {
    pair.master(1).Signal(SIGTERM);
    REQUIRE(pair.master(1).WaitEnd(10));
    CHECK(pair.master(1).exit_code() == 0);
    CHECK(pair.client(0).GetServer().ok());
  }
}

}  // namespace
}  // namespace atelier::test
