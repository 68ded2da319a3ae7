// A healthy cluster of real processes: the bytes depend on the plan alone.
#include "tests/harness/cluster.h"

#include <signal.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <set>
#include <sstream>

#include "worker/session/session.h"

namespace atelier::test {
namespace {

ClusterOptions Fake() {
  ClusterOptions options;
  options.catalog = DumpJson(RegisteredCatalog().ToJson());
  return options;
}

// Hashes of the three kinds of jobs on a cluster of `workers`.
std::vector<std::string> HashesWith(int workers) {
  Cluster cluster(Fake());
  for (int i = 1; i <= workers; ++i) cluster.StartWorker("w" + std::to_string(i));
  const std::string replicas = cluster.Submit(ReplicaPrompt(40), 4);
  const std::string exact = cluster.Submit(TilePrompt(40), 0, "exact");
  const std::string independent = cluster.Submit(TilePrompt(40), 0, "independent");
  std::vector<std::string> hashes;
  for (const std::string& job : {replicas, exact, independent}) {
    const v1::Job ended = cluster.WaitJob(job);
    CHECK(ended.outputs_size() == (job == replicas ? 4 : 1));
    hashes.push_back(cluster.OutputHash(ended));
  }
  return hashes;
}

TEST_CASE("1, 2 and 3 workers make the same bytes") {
  const std::vector<std::string> one = HashesWith(1);
  CHECK(one[1] != one[2]);  // the orders are different pictures
  CHECK(HashesWith(2) == one);
  CHECK(HashesWith(3) == one);
}

// Chess order with all seam passes, in both orders.
std::vector<std::string> SeamHashesWith(int workers) {
  Cluster cluster(Fake());
  for (int i = 1; i <= workers; ++i) cluster.StartWorker("w" + std::to_string(i));
  std::vector<std::string> jobs, hashes;
  for (const char* order : {"exact", "independent"}) {
    Json prompt = TilePrompt(5);
    prompt["2"]["inputs"]["mode_type"] = "Chess";
    prompt["2"]["inputs"]["seam_fix_mode"] = "Half Tile + Intersections";
    jobs.push_back(cluster.Submit(prompt, 0, order));
    prompt["2"]["inputs"]["order"] = order;  // the node's own wish goes before the job's
    jobs.push_back(cluster.Submit(prompt, 0, "exact"));
  }
  for (const std::string& job : jobs) {
    const v1::Job ended = cluster.WaitJob(job);
    CHECK(ended.tasks_total() >= 9 + 6 + 6 + 4);
    hashes.push_back(cluster.PixelHash(ended));
  }
  CHECK(hashes[0] == hashes[1]);
  CHECK(hashes[2] == hashes[3]);
  return hashes;
}

TEST_CASE("seam passes: 1 and 3 workers make the same bytes") {
  const std::vector<std::string> one = SeamHashesWith(1);
  CHECK(one[0] != one[2]);  // the orders are different pictures
  CHECK(SeamHashesWith(3) == one);
}

TEST_CASE("a worker that joins late takes part and changes nothing") {
  Cluster cluster(Fake());
  cluster.StartWorker("early");
  const std::string job = cluster.Submit(TilePrompt(300), 0, "independent");
  REQUIRE(cluster.WaitEvent(job, [](const v1::JobEvent& event) { return event.job().tasks_done() >= 2; }));
  cluster.StartWorker("late");
  std::set<std::string> workers;
  const v1::Job ended = cluster.WaitJob(job, 120, [&](const v1::JobEvent& event) {
    if (event.has_task() && event.task().state() == "done") workers.insert(event.task().worker());
  });
  CHECK(workers.count("late") == 1);
  const std::string together = cluster.OutputHash(ended);
  cluster.worker("late").Kill();
  CHECK(cluster.OutputHash(cluster.WaitJob(cluster.Submit(TilePrompt(300), 0, "independent"))) == together);
}

TEST_CASE("a drained worker hands back what it holds") {
  Cluster cluster(Fake());
  cluster.StartWorker("goes");
  cluster.StartWorker("stays");
  const std::string job = cluster.Submit(ReplicaPrompt(400), 6);
  REQUIRE(cluster.WaitEvent(job, [](const v1::JobEvent& event) {
    return event.has_task() && event.task().worker() == "goes" && event.task().step() > 0;
  }));
  const StatusOr<v1::Worker> drained = cluster.client().ControlWorker("goes", "drain");
  REQUIRE(drained.ok());
  CHECK(cluster.WaitJob(job).state() == "done");
  CHECK(cluster.worker("goes").WaitEnd(20));
  CHECK(cluster.worker("goes").exit_code() == 0);
}

TEST_CASE("a cancelled job ends and its worker goes on with others") {
  Cluster cluster(Fake());
  cluster.StartWorker("w1");
  const std::string job = cluster.Submit(ReplicaPrompt(60'000, 60), 1);
  REQUIRE(cluster.WaitEvent(job, [](const v1::JobEvent& event) { return event.task().state() == "leased"; }));
  REQUIRE(cluster.client().CancelJob(job).ok());
  CHECK(cluster.WaitJob(job, 20).state() == "cancelled");
  CHECK(cluster.WaitJob(cluster.Submit(ReplicaPrompt(10), 1), 30).state() == "done");
}

// `atelier run` with the fake worker in place of the real one.
class RunFixture {
 public:
  RunFixture() {
    std::ofstream(dir_ / "catalog.json") << DumpJson(RegisteredCatalog().ToJson());
    std::ofstream(dir_ / "master") << "#!/bin/sh\nexec " << BinDir() << "/atelier-master --catalog "
                                   << (dir_ / "catalog.json") << " --worker-binary " << BinDir()
                                   << "/atelier-worker-fake \"$@\"\n";
    REQUIRE(chmod((dir_ / "master").c_str(), 0700) == 0);
    for (const char* folder : {"tmp", "models", "input"}) std::filesystem::create_directory(dir_.path() / folder);
  }
  std::string Write(const std::string& name, const Json& prompt) {
    std::ofstream(dir_ / name) << DumpJson(prompt);
    return dir_ / name;
  }
  std::unique_ptr<Process> Run(const std::vector<std::string>& workflows) {
    std::vector<std::string> arguments = {
        BinDir() + "/atelier", "run",      "--json",       "--workers", "2", "--models", dir_ / "models", "--input",
        dir_ / "input",        "--output", dir_ / "output"};
    arguments.insert(arguments.end(), workflows.begin(), workflows.end());
    return std::make_unique<Process>(
        arguments, dir_ / "run.log",
        std::map<std::string, std::string>{{"ATELIER_MASTER", dir_ / "master"},
                                           {"TMPDIR", dir_ / "tmp"},
                                           {"ATELIER_DATA_DIR", ATELIER_SOURCE_DIR "/config"}});
  }
  // The JSON lines of the output.
  static std::vector<Json> Lines(const Process& process) {
    std::vector<Json> lines;
    std::stringstream text(process.Log());
    for (std::string line; std::getline(text, line);)
      if (!line.empty() && line[0] == '{') lines.push_back(*ParseJson(line));
    return lines;
  }
  // Nothing of the private master is left.
  bool Clean() const { return std::filesystem::is_empty(dir_.path() / "tmp"); }

 private:
  TempDir dir_;
};

TEST_CASE("run: a line a workflow in the order given, also for failed ones") {
  RunFixture fixture;
  Json unknown = ReplicaPrompt(0);
  unknown["2"]["class_type"] = "NoSuchNode";
  Json failing = ReplicaPrompt(0);
  failing["5"] = Json{{"class_type", "FakeFail"}, {"inputs", {{"image", Json::array({"3", 0})}, {"how", "invalid"}}}};
  failing["4"]["inputs"]["images"] = Json::array({"5", 0});
  const auto run = fixture.Run({fixture.Write("good.json", ReplicaPrompt(20)), fixture.Write("unknown.json", unknown),
                                fixture.Write("failing.json", failing), "/nonexistent.json",
                                fixture.Write("tiles.json", TilePrompt(5))});
  REQUIRE(run->WaitEnd(90));
  const std::vector<Json> lines = RunFixture::Lines(*run);
  INFO(run->Log());
  REQUIRE(lines.size() == 5);
  CHECK(lines[0]["state"] == "done");
  CHECK(lines[0]["outputs"].size() == 2);  // a replica a worker
  for (const Json& output : lines[0]["outputs"]) CHECK(std::filesystem::exists(output["path"].get<std::string>()));
  CHECK(lines[1]["state"] == "invalid");
  CHECK(lines[1]["error"].get<std::string>().find("NoSuchNode") != std::string::npos);
  CHECK(lines[2]["state"] == "failed");
  CHECK(lines[2]["error"].get<std::string>().find("the image is not wanted") != std::string::npos);
  CHECK(lines[3]["state"] == "invalid");
  CHECK(lines[4]["state"] == "done");
  CHECK(run->exit_code() == 1);
  CHECK(fixture.Clean());
}

TEST_CASE("run: an interrupt cancels, cleans up and says so") {
  RunFixture fixture;
  const auto run = fixture.Run({fixture.Write("long.json", ReplicaPrompt(120'000, 120))});
  REQUIRE(run->WaitLog("started on", 60));
  run->Signal(SIGINT);
  REQUIRE(run->WaitEnd(40));
  INFO(run->Log());
  const std::vector<Json> lines = RunFixture::Lines(*run);
  REQUIRE(lines.size() == 1);
  CHECK(lines[0]["state"] == "cancelled");
  CHECK(run->exit_code() == 1);
  CHECK(fixture.Clean());
}

}  // namespace
}  // namespace atelier::test
