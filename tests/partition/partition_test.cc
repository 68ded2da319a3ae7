// Workers behind a bad network: what it does changes no byte, loses no job and does no accepted task twice.
#define CATCH_CONFIG_EXTERNAL_INTERFACES
#include <catch2/catch.hpp>
#include <cstdlib>
#include <iostream>
#include <random>
#include <set>

#include "common/base/hash.h"
#include "master/store/job_store.h"
#include "tests/partition/link.h"
#include "tests/security/tls_cluster.h"
#include "tests/sharing/sharing.h"

namespace atelier::test {
namespace {

using Clock = std::chrono::steady_clock;

// Namespaces are entered before there is a second thread.
class Isolated : public Catch::TestEventListenerBase {
 public:
  using TestEventListenerBase::TestEventListenerBase;
  void testRunStarting(const Catch::TestRunInfo&) override {
    const std::string missing = Link::Isolate();
    if (missing.empty()) return;
    std::cout << "skipped: " << missing << std::endl;
    std::exit(77);
  }
};
CATCH_REGISTER_LISTENER(Isolated)

double SecondsSince(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

// A master near, over TLS, with workers at both ends of a cable.
class Wide : public TlsCluster {
 public:
  explicit Wide(uint64_t seed, const std::string& config = "") : TlsCluster(config), link(seed) { Start(); }

  Process& StartFar(const std::string& name) {
    return StartWorker(name, Token(), {}, {link.Far(), Cat(Link::near_address(), ":", port())});
  }
  Process& StartNear(const std::string& name) { return StartWorker(name, Token()); }

  std::string Submit(const Json& prompt, const std::string& tiles) {
    v1::SubmitRequest request;
    request.set_workflow(DumpJson(prompt));
    request.set_tiles(tiles);
    const auto reply = client().Submit(request);
    INFO(Message(reply.status()));
    REQUIRE(reply.ok());
    INFO(reply->report_json());
    REQUIRE_FALSE(reply->job_id().empty());
    return reply->job_id();
  }
  v1::Job Job(const std::string& id) {
    const auto job = client().GetJob(id);
    REQUIRE(job.ok());
    return *job;
  }
  bool WaitEnd(const std::string& id, double seconds) {
    return Until([&] { return Job(id).state() == "done" || Job(id).state() == "failed"; }, seconds);
  }
  bool WaitTasks(const std::string& id, uint32_t done) {
    return Until([&] { return Job(id).tasks_done() >= done; }, 60);
  }
  // The job's one picture; and by the store's record, each task was accepted once.
  std::string Picture(const std::string& id) {
    const v1::Job job = Job(id);
    INFO(job.error());
    REQUIRE(job.state() == "done");
    REQUIRE(job.outputs_size() == 1);
    std::set<std::string> seen;
    uint32_t accepted = 0;
    master().Kill();
    const auto store = JobStore::Open(state_dir() + "/atelier.db");
    REQUIRE(store.ok());
    const auto tasks = (*store)->GetAcceptedTasks(id);
    REQUIRE(tasks.ok());
    for (const auto& task : *tasks) {
      seen.insert(task.task_id);
      ++accepted;
    }
    CHECK(seen.size() == accepted);
    CHECK(accepted == job.tasks_total());
    return Sha256Hex(ReadAll(dir() / "output/" + job.outputs(0).path()));
  }

  Link link;
};

// What one near worker makes, undisturbed. REQUIRES: no other cluster is up; there is one cable at a time.
const std::string& Expected() {
  static const std::string hash = [] {
    Wide calm(1);
    calm.StartNear("alone");
    const std::string job = calm.Submit(TilePrompt(1, 8, 64), "exact");
    REQUIRE(calm.WaitEnd(job, 60));
    return calm.Picture(job);
  }();
  return hash;
}

Json Tiles(int delay_ms) { return TilePrompt(delay_ms, 8, 64); }

TEST_CASE("a cable that is slow and loses packets") {
  const std::string expected = Expected();
  for (const Weather& weather : {Weather{60, 0, 0}, Weather{20, 20, 0.05}}) {
    INFO(weather.delay_ms << " ms, loss " << weather.loss);
    Wide cluster(7);
    cluster.link.Set(weather);
    cluster.StartFar("far1");
    cluster.StartFar("far2");
    REQUIRE(cluster.WaitState("far1", "connected"));
    const std::string job = cluster.Submit(Tiles(1), "exact");
    REQUIRE(cluster.WaitEnd(job, 120));
    if (weather.loss > 0) CHECK(cluster.link.lost() > 0);
    CHECK(cluster.Picture(job) == expected);
  }
}

TEST_CASE("models between machines: workers prove who they are to one another, and the master sends little") {
  Wide cluster(5, "security: {worker_hours: 0.01}\n");  // 36 s; renewed after 18
  const auto models = [&](const std::string& worker) { return cluster.dir() / ("models-" + worker); };
  const auto start = [&](const std::string& worker, const std::string& address, const Host& host) {
    std::filesystem::create_directories(models(worker) + "/checkpoints");
    cluster.StartWorker(
        worker, cluster.Token(),
        {"--models", models(worker), "--state", cluster.dir() / ("hashes-" + worker), "--peer-listen", address}, host);
    REQUIRE(cluster.WaitState(worker, "connected"));
  };
  const auto pull = [&](const std::string& worker) {
    v1::OrderModelRequest request;
    request.set_action("pull");
    request.set_name("m.safetensors");
    request.set_worker(worker);
    REQUIRE(Until([&] { return cluster.client().OrderModel(request).ok(); }, 60));
    REQUIRE(Until([&] { return std::filesystem::exists(models(worker) + "/checkpoints/m.safetensors"); }, 60));
    CHECK(Sha256Hex(ReadAll(models(worker) + "/checkpoints/m.safetensors")) ==
          Sha256Hex(ReadAll(cluster.dir() / "models/checkpoints/m.safetensors")));
  };
  WriteModel(cluster.dir() / "models/checkpoints/m.safetensors", 40 << 20, 5);
  cluster.master().Kill();
  cluster.StartMaster();  // sees the file at once
  start("near", Cat(Link::near_address(), ":0"), {});
  pull("near");
  start("far", Cat(Link::far_address(), ":0"), {cluster.link.Far(), Cat(Link::near_address(), ":", cluster.port())});
  REQUIRE(cluster.worker("near").WaitLog("certificate was renewed", 60));  // and serves with the new one
  const std::string before = cluster.worker("near").Log();
  pull("far");
  size_t given = 0;
  const std::string log = cluster.worker("near").Log();
  for (size_t at = before.size(); (at = log.find(" gave chunk ", at)) != std::string::npos; ++at) ++given;
  std::cout << given << " of 10 chunks came from the other machine's worker\n";
  CHECK(given >= 5);
}

TEST_CASE("a cable that is cut: the master notices within 6 s, others go on, the worker comes back") {
  const std::string expected = Expected();
  Wide cluster(8);
  cluster.StartNear("near");
  cluster.StartFar("far");
  REQUIRE(cluster.WaitState("far", "connected"));
  REQUIRE(cluster.WaitState("near", "connected"));
  const std::string job = cluster.Submit(Tiles(30), "independent");
  REQUIRE(cluster.WaitTasks(job, 4));
  cluster.link.Set({.to_far = false, .to_near = false});
  const auto cut = Clock::now();
  REQUIRE(cluster.WaitState("far", "offline"));
  const double noticed = SecondsSince(cut);
  std::cout << "silent drop noticed after " << noticed << " s (bound 6)\n";
  CHECK(noticed <= 6.0);
  REQUIRE(cluster.WaitEnd(job, 60));
  cluster.link.Set({});
  const auto whole = Clock::now();
  REQUIRE(cluster.WaitState("far", "connected"));
  std::cout << "back " << SecondsSince(whole) << " s after the cable was whole again\n";
  CHECK(cluster.Picture(job) == expected);
}

TEST_CASE("all workers behind the cut: the job waits for them and ends") {
  const std::string expected = Expected();
  for (const bool one_way : {false, true}) {
    INFO("one way: " << one_way);
    Wide cluster(9);
    cluster.StartFar("far1");
    cluster.StartFar("far2");
    REQUIRE(cluster.WaitState("far1", "connected"));
    REQUIRE(cluster.WaitState("far2", "connected"));
    const std::string job = cluster.Submit(Tiles(20), "exact");
    REQUIRE(cluster.WaitTasks(job, 3));
    cluster.link.Set({.to_far = one_way, .to_near = false});
    REQUIRE(cluster.WaitState("far1", "offline"));
    REQUIRE(cluster.WaitState("far2", "offline"));
    CHECK(cluster.Job(job).state() == "running");
    cluster.link.Set({});
    REQUIRE(cluster.WaitEnd(job, 90));
    CHECK(cluster.Picture(job) == expected);
  }
}

TEST_CASE("a network that changes at random") {
  const std::string expected = Expected();
  for (const uint64_t seed : {11, 12, 13}) {
    INFO("seed " << seed);
    Wide cluster(seed);
    std::mt19937_64 random(seed);
    cluster.StartFar("far1");
    cluster.StartFar("far2");
    cluster.StartNear("near");
    REQUIRE(cluster.WaitState("far1", "connected"));
    const std::string job = cluster.Submit(Tiles(250), seed % 2 == 0 ? "exact" : "independent");
    const auto pick = [&](int below) { return static_cast<int>(random() % static_cast<uint64_t>(below)); };
    int changes = 0;
    // The state is asked over loopback, which takes the time between two changes of the weather.
    while (!Until([&] { return cluster.Job(job).state() != "running" && cluster.Job(job).state() != "queued"; },
                  0.2 + pick(20) / 10.0)) {
      Weather weather{pick(80), pick(20), pick(4) == 0 ? 0.2 : 0.02 * pick(3)};
      if (pick(3) == 0) weather.to_far = weather.to_near = false;
      if (pick(5) == 0) weather.to_near = !weather.to_near;
      cluster.link.Set(weather);
      REQUIRE(++changes < 300);
    }
    CHECK(changes > 0);
    std::cout << "seed " << seed << ": " << changes << " changes, " << cluster.link.carried() << " packets carried, "
              << cluster.link.lost() << " lost\n";
    CHECK(cluster.Picture(job) == expected);
  }
}

}  // namespace
}  // namespace atelier::test
