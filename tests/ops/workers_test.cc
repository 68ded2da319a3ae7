// Which worker may work when: tags, desktops in use, and a GPU's power, with real processes.
#include <signal.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <set>

#include "tests/harness/cluster.h"
#include "tests/harness/fake_programs.h"
#include "tests/ops/probe.h"
#include "worker/session/session.h"

namespace atelier::test {
namespace {

ClusterOptions WorkersOptions(const std::string& workers) {
  ClusterOptions options;
  options.catalog = DumpJson(RegisteredCatalog().ToJson());
  options.config = "metrics: {listen: '127.0.0.1:0'}\nscheduling: {heartbeat_seconds: 0.2}\n" + workers;
  return options;
}

void RewriteWorkers(const Cluster& cluster, const std::string& workers) {
  std::ofstream(cluster.config_file() + ".new") << WorkersOptions(workers).config;
  std::filesystem::rename(cluster.config_file() + ".new", cluster.config_file());
}

v1::Worker Described(Cluster& cluster, const std::string& name) {
  const auto workers = cluster.client().ListWorkers();
  if (workers.ok())
    for (const v1::Worker& one : workers->workers())
      if (one.name() == name) return one;
  return {};
}

std::string SubmitTagged(Cluster& cluster, const std::vector<std::string>& tags, int seed) {
  v1::SubmitRequest request;
  request.set_workflow(DumpJson(ReplicaPrompt(seed)));
  for (const std::string& tag : tags) request.add_tags(tag);
  const auto reply = cluster.client().Submit(request);
  INFO(Message(reply.status()));
  REQUIRE(reply.ok());
  return reply->job_id();
}

std::string WhoDid(const v1::Job& job) {
  std::set<std::string> who;
  for (const v1::Task& task : job.tasks()) who.insert(task.worker());
  std::string all;
  for (const std::string& name : who) all += (all.empty() ? "" : ",") + name;
  return all;
}

TEST_CASE("a job with tags goes to workers that have them, now and after a restart of the master") {
  const std::string list =
      "workers:\n  list:\n    - {name: attic, start: no, tags: [fast, attic]}\n    - {name: plain, start: no}\n";
  ClusterOptions options = WorkersOptions(list);
  options.master_flags = {"--device", "cpu"};  // the list counts, and starts nobody
  Cluster cluster(options);
  cluster.StartWorker("plain", "", {"--tags", "fast"});  // the file names it, so it has none
  cluster.StartWorker("guest", "", {"--tags", "fast,new"});
  REQUIRE(Until([&] { return Described(cluster, "guest").state() == "connected"; }));
  REQUIRE(Until([&] { return Described(cluster, "plain").state() == "connected"; }));
  CHECK(Described(cluster, "plain").tags_size() == 0);
  REQUIRE(Described(cluster, "guest").tags_size() == 2);
  CHECK(Described(cluster, "guest").tags(1) == "new");

  const v1::Job fast = cluster.WaitJob(SubmitTagged(cluster, {"fast"}, 1));
  CHECK(fast.state() == "done");
  CHECK(fast.replicas() == 2);  // attic, which is not here, and guest
  CHECK(WhoDid(*cluster.client().GetJob(fast.id())) == "guest");
  REQUIRE(cluster.client().GetJob(fast.id())->tags_size() == 1);

  const std::string waits = SubmitTagged(cluster, {"fast", "attic"}, 2);
  const std::string reason = "no attached worker has the tags attic, fast; workers with it: attic";
  CHECK(cluster.client().GetJob(waits)->waiting() == reason);
  CHECK(cluster.client().GetJob(waits)->replicas() == 1);
  v1::SubmitRequest explain;
  explain.set_workflow(DumpJson(ReplicaPrompt(1)));
  explain.add_tags("attic");
  CHECK(cluster.client().Explain(explain)->text().find("for workers with the tag attic: attic; 0 of them attached") !=
        std::string::npos);
  explain.add_tags("not so");
  CHECK(cluster.client().Explain(explain).status().code() == StatusCode::kInvalidArgument);

  cluster.master().Signal(SIGTERM);
  REQUIRE(cluster.master().WaitEnd(30));
  cluster.StartMaster();
  CHECK(cluster.client().GetJob(waits)->tags_size() == 2);
  CHECK(cluster.client().GetJob(waits)->waiting() == reason);
  CHECK(Described(cluster, "guest").tags_size() == 2);  // known before it attaches again
  RewriteWorkers(
      cluster,
      "workers:\n  list:\n    - {name: attic, start: no, tags: [fast, attic]}\n    - {name: plain, start: no, "
      "tags: [attic, fast]}\n");
  CHECK(cluster.WaitJob(waits).state() == "done");
  CHECK(WhoDid(*cluster.client().GetJob(waits)) == "plain");
}

TEST_CASE("a worker works while nobody uses its desktop") {
  FakePrograms programs;
  programs.Set("busctl", "printf 'b false\\nt 0\\n'");
  Cluster cluster(WorkersOptions("workers:\n  list:\n    - {name: desk, start: no, idle_minutes: 10}\n"));
  cluster.StartWorker("desk");
  REQUIRE(Until([&] { return Described(cluster, "desk").note().starts_with("has somebody at its desktop"); }));
  CHECK(Described(cluster, "desk").state() == "resting");
  const std::string job = cluster.Submit(ReplicaPrompt(1));
  CHECK(cluster.client().GetJob(job)->replicas() == 1);  // who rests counts as a replica
  REQUIRE(Until([&] {
    return cluster.client().GetJob(job)->waiting().find(
               "has somebody at its desktop, or had a short while ago "
               "(workers.list[].idle_minutes is 10)") != std::string::npos;
  }));
  programs.Set("busctl", "printf 'b true\\nt %s000000\\n' $(($(date +%s) - 300))");  // for five minutes
  CHECK_FALSE(Until([&] { return Described(cluster, "desk").state() == "connected"; }, 5));
  programs.Set("busctl", "printf 'b true\\nt %s000000\\n' $(($(date +%s) - 700))");
  CHECK(cluster.WaitJob(job).state() == "done");
  // It ends what it holds when somebody comes back, and gets nothing new.
  const std::string second = cluster.Submit(ReplicaPrompt(3000), 1);
  REQUIRE(Until([&] { return Described(cluster, "desk").running_size() == 1; }));
  programs.Set("busctl", "printf 'b false\\nt 0\\n'");
  REQUIRE(Until([&] { return Described(cluster, "desk").state() == "resting"; }));
  const std::string third = cluster.Submit(ReplicaPrompt(2), 1);
  CHECK(cluster.WaitJob(second).state() == "done");
  CHECK_FALSE(Until([&] { return Described(cluster, "desk").running_size() > 0; }, 1));
  CHECK(cluster.client().GetJob(third)->waiting().find("has somebody at its desktop") != std::string::npos);
  RewriteWorkers(cluster, "workers:\n  list:\n    - {name: desk, start: no}\n");
  CHECK(cluster.WaitJob(third).state() == "done");
}

TEST_CASE("a worker sets its GPU's power limit as the file says, and gives it back at the end") {
  ClusterOptions options = WorkersOptions("workers:\n  list:\n    - {name: g, start: no, power_watts: 200}\n");
  options.worker_environment["LD_LIBRARY_PATH"] = ATELIER_FAKE_GPU;
  TempDir dir;
  options.worker_environment["ATELIER_FAKE_POWER"] = dir / "power";
  std::ofstream(dir / "power") << 280'000;
  const auto power = [&] {
    std::string text;
    std::ifstream(dir / "power") >> text;
    return text;
  };
  Cluster cluster(options);
  cluster.StartWorker("g", "", {"--device", "cuda:0"});
  REQUIRE(Until([&] { return power() == "200000"; }));
  RewriteWorkers(cluster, "workers:\n  list:\n    - {name: g, start: no, power_watts: 150}\n");
  REQUIRE(Until([&] { return power() == "150000"; }));
  RewriteWorkers(cluster, "workers:\n  list:\n    - {name: g, start: no, power_watts: 999}\n");
  REQUIRE(cluster.worker("g").WaitLog(
      "worker \"g\": the power limit of cuda:0 is not set to 999 W (it takes 100 to 300 W)", 20));
  CHECK(cluster.WaitJob(cluster.Submit(ReplicaPrompt(1))).state() == "done");
  CHECK(power() == "150000");
  cluster.worker("g").Signal(SIGTERM);
  REQUIRE(cluster.worker("g").WaitEnd(20));
  CHECK(cluster.worker("g").exit_code() == 0);
  CHECK(power() == "280000");
}

}  // namespace
}  // namespace atelier::test
