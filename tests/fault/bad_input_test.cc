// Faults of people and machines: each one sentence that names the thing and the remedy; the daemons stay up.
#include <catch2/catch.hpp>
#include <chrono>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <thread>

#include "tests/fault/fake_nodes.h"
#include "tests/harness/cluster.h"
#include "worker/session/session.h"

namespace atelier::test {
namespace {

// One line, not empty, with each of `parts`.
void CheckSentence(const std::string& text, const std::vector<std::string>& parts) {
  INFO(text);
  for (const std::string& part : parts) {
    INFO("expected: " << part);
    CHECK(text.find(part) != std::string::npos);
  }
  CHECK_FALSE(text.empty());
}

void CheckAlive(Cluster& cluster) {
  CHECK(cluster.client().GetServer().ok());
  CHECK(cluster.master().Running());
  CHECK(cluster.WaitJob(cluster.Submit(ReplicaPrompt(1), 1), 60).state() == "done");
}

TEST_CASE("a port in use") {
  Cluster cluster(FakeNodes());
  cluster.StartWorker("w1");
  TempDir dir;
  Process second({BinDir() + "/atelier-master", "--listen", cluster.address(), "--state", dir / "state",
                  "--local-workers", "0", "--catalog", cluster.dir() / "catalog.json"},
                 dir / "second.log", {{"ATELIER_DATA_DIR", ATELIER_SOURCE_DIR "/config"}});
  REQUIRE(second.WaitEnd(30));
  CHECK(second.exit_code() != 0);
  CheckSentence(second.Log(), {"atelier-master: cannot listen on " + cluster.address(), "in use", "--listen"});
  CheckAlive(cluster);
}

TEST_CASE("a state folder that another master has open") {
  Cluster cluster(FakeNodes());
  cluster.StartWorker("w1");
  TempDir dir;
  Process second({BinDir() + "/atelier-master", "--listen", "127.0.0.1:0", "--state", cluster.state_dir(),
                  "--local-workers", "0", "--catalog", cluster.dir() / "catalog.json"},
                 dir / "second.log", {{"ATELIER_DATA_DIR", ATELIER_SOURCE_DIR "/config"}});
  REQUIRE(second.WaitEnd(30));
  CHECK(second.exit_code() != 0);
  CheckSentence(second.Log(), {cluster.state_dir()});
  CheckAlive(cluster);
}

TEST_CASE("a wrong key in the configuration") {
  TempDir dir;
  std::ofstream(dir / "cluster.yaml") << "master:\n  listen: 127.0.0.1:0\nwrokers:\n  local: 2\n";
  Process master({BinDir() + "/atelier-master", "--config", dir / "cluster.yaml", "--state", dir / "state"},
                 dir / "log", {{"ATELIER_DATA_DIR", ATELIER_SOURCE_DIR "/config"}});
  REQUIRE(master.WaitEnd(30));
  CHECK(master.exit_code() != 0);
  CheckSentence(master.Log(), {"cluster.yaml:3", "\"wrokers\"", "did you mean \"workers\""});
  Process check({BinDir() + "/atelier", "config", "check", "--config", dir / "cluster.yaml"}, dir / "check.log");
  REQUIRE(check.WaitEnd(30));
  CHECK(check.exit_code() == 2);
  CheckSentence(check.Log(), {"cluster.yaml:3", "\"wrokers\"", "did you mean \"workers\""});
}

TEST_CASE("an unknown node") {
  Cluster cluster(FakeNodes());
  cluster.StartWorker("w1");
  Json prompt = ReplicaPrompt(0);
  prompt["2"]["class_type"] = "NoSuchNode";
  CheckSentence(cluster.SubmitRefused(prompt), {"NoSuchNode"});
  CheckAlive(cluster);
}

TEST_CASE("a missing model, and one that disappears") {
  Cluster cluster(FakeNodes());
  std::filesystem::create_directory(cluster.models_dir() + "/checkpoints");
  std::ofstream(cluster.models_dir() + "/checkpoints/there.safetensors") << "bytes";
  Json prompt = ReplicaPrompt(5);
  prompt["9"] = Json{{"class_type", "FakeLoad"}, {"inputs", {{"ckpt_name", "absent.safetensors"}}}};
  prompt["2"]["inputs"]["model"] = Json::array({"9", 0});
  CheckSentence(cluster.SubmitRefused(prompt), {"node 9 (FakeLoad)", "absent.safetensors"});
  cluster.StartWorker("w1");
  CheckAlive(cluster);
}

TEST_CASE("a disk that is full") {
  SECTION("before the job") {
    ClusterOptions options = FakeNodes();
    options.config = "limits:\n  disk_free_bytes_min: 4TiB\n";
    Cluster cluster(options);
    CheckSentence(cluster.SubmitRefused(ReplicaPrompt(0)), {cluster.state_dir(), "full", "disk_free_bytes_min"});
    CHECK(cluster.client().GetServer().ok());
  }
  SECTION("in the middle") {
    ClusterOptions options = FakeNodes();
    options.master_limits.file_bytes_max = 2 << 20;
    Cluster cluster(options);
    cluster.StartWorker("w1");
    const v1::Job ended = cluster.WaitJob(cluster.Submit(ReplicaPrompt(5, 1, 1200), 1), 120);
    CHECK(ended.state() == "failed");
    CheckSentence(ended.error(), {"disk"});
    CheckAlive(cluster);
  }
}

TEST_CASE("a worker of another protocol version") {
  Cluster cluster(FakeNodes());
  cluster.StartWorker("good");
  SessionOptions options;
  options.master = cluster.address();
  options.name = "other";
  options.protocol = 999;
  std::mutex mutex;
  std::condition_variable told;
  std::string line;
  SetLogSink([&](LogLevel level, const std::string& text) {
    if (level < LogLevel::kWarning) return;
    std::lock_guard lock(mutex);
    if (line.find("protocol 999") == std::string::npos) line = text;
    told.notify_all();
  });
  Session session(options);
  std::thread runner([&] { (void)session.Run().ok(); });
  {
    std::unique_lock lock(mutex);
    CHECK(
        told.wait_for(lock, std::chrono::seconds(30), [&] { return line.find("protocol 999") != std::string::npos; }));
  }
  session.Drain("the test is over", 1000);
  runner.join();
  SetLogSink({});
  CheckSentence(line, {"\"other\"", "protocol 999", "version"});
  CheckAlive(cluster);
}

TEST_CASE("input that is no workflow") {
  Cluster cluster(FakeNodes());
  cluster.StartWorker("w1");
  for (const char* text : {"", "{", "[]", "3", "{\"1\":3}", "{\"a\":{\"b\":NaN}}"}) {
    v1::SubmitRequest request;
    request.set_workflow(text);
    const auto reply = cluster.client().Submit(request);
    INFO(text);
    CHECK((!reply.ok() || reply->job_id().empty()));
    CHECK((reply.ok() ? reply->report_json() : Message(reply.status())).size() > 10);
  }
  CheckAlive(cluster);
}

}  // namespace
}  // namespace atelier::test
