// What dies on the way changes no byte and loses nothing.
#include <catch2/catch.hpp>
#include <set>

#include "tests/fault/fake_nodes.h"
#include "tests/harness/cluster.h"
#include "worker/session/session.h"

namespace atelier::test {
namespace {

struct Work {
  const char* name;
  Json prompt;
  uint32_t replicas;
  const char* tiles;
};

std::vector<Work> Works(int64_t delay_ms) {
  return {{"replicas", ReplicaPrompt(delay_ms), 5, ""},
          {"exact tiles", TilePrompt(delay_ms), 0, "exact"},
          {"independent tiles", TilePrompt(delay_ms), 0, "independent"}};
}

// What one undisturbed worker makes of it.
std::string Undisturbed(const Work& work) {
  Cluster cluster(FakeNodes());
  cluster.StartWorker("alone");
  return cluster.OutputHash(cluster.WaitJob(cluster.Submit(work.prompt, work.replicas, work.tiles)));
}

// Each task was accepted once, by the store's record of a stopped master.
void CheckAcceptedOnce(Cluster& cluster, const v1::Job& job) {
  cluster.master().Kill();
  std::set<std::string> seen;
  for (const AcceptedTask& task : cluster.Accepted(job.id())) {
    INFO(task.task_id);
    CHECK(seen.insert(task.task_id).second);
  }
  CHECK(seen.size() == job.tasks_total());
}

TEST_CASE("a worker killed in the middle") {
  for (const Work& work : Works(150)) {
    INFO(work.name);
    const std::string expected = Undisturbed(work);
    Cluster cluster(FakeNodes());
    cluster.StartWorker("dies");
    cluster.StartWorker("lives");
    const std::string job = cluster.Submit(work.prompt, work.replicas, work.tiles);
    std::string held;
    REQUIRE(cluster.WaitEvent(job, [&](const v1::JobEvent& event) {
      if (!event.has_task() || event.task().worker() != "dies" || event.task().state() != "leased") return false;
      held = event.task().id();
      return event.task().step() > 0;
    }));
    cluster.worker("dies").Kill();
    const v1::Job ended = cluster.WaitJob(job);
    CHECK(cluster.OutputHash(ended) == expected);
    CheckAcceptedOnce(cluster, ended);
  }
}

TEST_CASE("a worker that dies at each point of its first task") {
  const Work work = Works(60)[0];
  const std::string expected = Undisturbed(work);
  for (const char* fault : {"crash_in_task=1", "crash_after_steps=2", "crash_executed=1", "crash_uploaded=1"}) {
    INFO(fault);
    Cluster cluster(FakeNodes());
    cluster.StartWorker("dies", fault);
    const std::string job = cluster.Submit(work.prompt, work.replicas, work.tiles);
    REQUIRE(cluster.worker("dies").WaitEnd(30));
    cluster.StartWorker("lives");
    const v1::Job ended = cluster.WaitJob(job);
    CHECK(cluster.OutputHash(ended) == expected);
    CheckAcceptedOnce(cluster, ended);
  }
}

TEST_CASE("the master killed and started again in the middle") {
  for (const Work& work : Works(150)) {
    INFO(work.name);
    const std::string expected = Undisturbed(work);
    for (uint32_t done_before : {0u, 1u, 3u}) {
      INFO("killed after " << done_before << " accepted tasks");
      Cluster cluster(FakeNodes());
      cluster.StartWorker("w1");
      cluster.StartWorker("w2");
      const std::string job = cluster.Submit(work.prompt, work.replicas, work.tiles);
      REQUIRE(cluster.WaitEvent(
          job, [&](const v1::JobEvent& event) { return event.job().tasks_done() >= done_before && event.has_task(); }));
      cluster.master().Kill();
      const std::vector<AcceptedTask> before = cluster.Accepted(job);
      CHECK(before.size() >= done_before);
      std::set<std::string> accepted;
      for (const AcceptedTask& task : before) accepted.insert(task.task_id);

      cluster.StartMaster();  // the workers find it again by themselves
      std::set<std::string> repeated;
      const v1::Job ended = cluster.WaitJob(job, 120, [&](const v1::JobEvent& event) {
        if (event.has_task() && event.task().state() == "leased" && accepted.count(event.task().id()) > 0)
          repeated.insert(event.task().id());
      });
      CHECK(repeated.empty());
      CHECK(cluster.OutputHash(ended) == expected);
      CheckAcceptedOnce(cluster, ended);
      const std::vector<AcceptedTask> after = cluster.Accepted(job);
      REQUIRE(after.size() >= before.size());
      CHECK(std::equal(before.begin(), before.end(), after.begin()));
    }
  }
}

TEST_CASE("master and worker killed together, twice") {
  const Work work = Works(150)[2];
  const std::string expected = Undisturbed(work);
  Cluster cluster(FakeNodes());
  cluster.StartWorker("w1");
  cluster.StartWorker("w2");
  const std::string job = cluster.Submit(work.prompt, work.replicas, work.tiles);
  for (uint32_t done_before : {1u, 4u}) {
    REQUIRE(cluster.WaitEvent(job, [&](const v1::JobEvent& event) { return event.job().tasks_done() >= done_before; }));
    cluster.master().Kill();
    cluster.worker("w1").Kill();
    cluster.StartWorker("w1");  // before the master: it waits for it
    cluster.StartMaster();
  }
  const v1::Job ended = cluster.WaitJob(job);
  CHECK(cluster.OutputHash(ended) == expected);
  CheckAcceptedOnce(cluster, ended);
}

TEST_CASE("a task that stands still goes to another worker") {
  ClusterOptions options = FakeNodes();
  options.config = "scheduling:\n  hung_seconds_min: 2\n  hung_factor: 2\n  heartbeat_seconds: 0.5\n";
  const Work work = Works(60)[0];
  const std::string expected = Undisturbed(work);
  Cluster cluster(options);
  cluster.StartWorker("stands", "hang_after_steps=2");
  const std::string job = cluster.Submit(work.prompt, work.replicas, work.tiles);
  REQUIRE(cluster.worker("stands").WaitLog("hang_after_steps", 30));
  cluster.StartWorker("goes");
  CHECK(cluster.OutputHash(cluster.WaitJob(job)) == expected);
}

TEST_CASE("a task that kills two workers fails its job, with the reason, and spares the third") {
  Cluster cluster(FakeNodes());
  cluster.StartWorker("a", "crash_in_task=1");
  const std::string job = cluster.Submit(ReplicaPrompt(10), 1);
  REQUIRE(cluster.worker("a").WaitEnd(30));
  cluster.StartWorker("b", "crash_in_task=1");
  REQUIRE(cluster.worker("b").WaitEnd(30));
  cluster.StartWorker("c");
  const v1::Job ended = cluster.WaitJob(job, 60);
  CHECK(ended.state() == "failed");
  INFO(ended.error());
  CHECK(ended.error().find("2") != std::string::npos);
  CHECK(cluster.worker("c").Running());
  CHECK(cluster.WaitJob(cluster.Submit(ReplicaPrompt(11), 1), 60).state() == "done");
}

}  // namespace
}  // namespace atelier::test
