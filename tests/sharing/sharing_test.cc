// Models between real processes: brought, helped along by other workers, damaged, interrupted, removed.
#include "tests/sharing/sharing.h"

#include <set>

namespace atelier::test {
namespace {

constexpr uint64_t kMiB = 1 << 20;
const std::vector<std::string> kPeers = {"--peer-listen", "127.0.0.1:0"};

Json ModelPrompt(const std::string& model, int64_t delay_ms = 10) {
  Json prompt = ReplicaPrompt(delay_ms);
  prompt["2"]["inputs"]["model"] = Json::array({"9", 0});
  prompt["9"] = Json{{"class_type", "FakeLoad"}, {"inputs", {{"ckpt_name", model}}}};
  return prompt;
}

std::string ModelAt(Cluster& cluster, const std::string& worker, const std::string& name) {
  return (worker.empty() ? cluster.models_dir() : cluster.models_dir(worker)) + "/checkpoints/" + name;
}

TEST_CASE("a job says what each worker lacks, and it is brought") {
  Cluster cluster(Sharing());
  WriteModel(ModelAt(cluster, "", "m.safetensors"), 9 * kMiB + 7, 1);
  cluster.master().Kill();
  cluster.StartMaster();  // sees the file at once
  cluster.StartWorker("w1");
  cluster.StartWorker("w2");
  WaitConnected(cluster, "w1");
  WaitConnected(cluster, "w2");
  const std::string job = cluster.Submit(ModelPrompt("m.safetensors", 300), 4);
  const auto told = cluster.client().GetJob(job);
  REQUIRE(told.ok());
  std::set<std::string> lacking;
  for (const v1::MissingModel& missing : told->missing()) {
    INFO(missing.outlook());
    CHECK(missing.name() == "m.safetensors");
    CHECK(missing.folder() == "checkpoints");
    CHECK_FALSE(missing.outlook().empty());
    lacking.insert(missing.worker());
  }
  CHECK(lacking == std::set<std::string>{"w1", "w2"});
  bool in_events = false;
  const v1::Job ended =
      cluster.WaitJob(job, 60, [&](const v1::JobEvent& event) { in_events |= event.job().missing_size() > 0; });
  CHECK(ended.state() == "done");
  CHECK(in_events);
  CHECK(SameBytes(ModelAt(cluster, "", "m.safetensors"), ModelAt(cluster, "w1", "m.safetensors")));
  const auto lines = cluster.client().Logs(job, 0);
  REQUIRE(lines.ok());
  std::string all;
  for (const std::string& line : lines->lines()) all += line + "\n";
  CHECK(all.find("worker \"w1\" has no checkpoints/m.safetensors, which job " + job + " needs; it will be brought") !=
        std::string::npos);
  CHECK(all.find("has checkpoints/m.safetensors now") != std::string::npos);
}

TEST_CASE("256 MiB to four workers that help each other: the master sends them little more than once") {
  Cluster cluster(Sharing());
  const uint64_t size = 256 * kMiB;
  WriteModel(ModelAt(cluster, "", "big.safetensors"), size, 2);
  cluster.master().Kill();
  cluster.StartMaster();
  const std::vector<std::string> workers = {"w1", "w2", "w3", "w4"};
  for (const std::string& worker : workers) cluster.StartWorker(worker, "", kPeers);
  WaitHashed(cluster, "big.safetensors", "master");
  for (const std::string& worker : workers) {
    WaitConnected(cluster, worker);
    REQUIRE(Pull(cluster, "big.safetensors", worker).ok());
  }
  for (const std::string& worker : workers)
    REQUIRE(Until([&] { return Has(cluster, "big.safetensors", worker); }, 300));
  const double ratio = MasterSent(cluster) / static_cast<double>(size);
  std::printf("the master sent %.3f times the file to 4 workers\n", ratio);
  CHECK(ratio >= 1.0);
  CHECK(ratio <= 1.3);
  for (const std::string& worker : workers) {
    CHECK(SameBytes(ModelAt(cluster, "", "big.safetensors"), ModelAt(cluster, worker, "big.safetensors")));
    CHECK(HolderOf(cluster, "big.safetensors", worker).brought());
  }
}

TEST_CASE("a bit that flips in a worker's file or on the way reaches nobody") {
  Cluster cluster(Sharing());
  WriteModel(ModelAt(cluster, "", "m.safetensors"), 30 * kMiB, 3);
  cluster.master().Kill();
  cluster.StartMaster();
  cluster.StartWorker("seed", "", kPeers);
  WaitHashed(cluster, "m.safetensors", "master");
  WaitConnected(cluster, "seed");
  REQUIRE(Pull(cluster, "m.safetensors", "seed").ok());
  WaitHashed(cluster, "m.safetensors", "seed");
  REQUIRE(Until([&] { return Has(cluster, "m.safetensors", "seed"); }, 60));
  FlipBit(ModelAt(cluster, "seed", "m.safetensors"), 9 * static_cast<int64_t>(kMiB));
  cluster.StartWorker("w", "", kPeers);
  WaitConnected(cluster, "w");
  REQUIRE(Pull(cluster, "m.safetensors", "w").ok());
  REQUIRE(Until([&] { return Has(cluster, "m.safetensors", "w"); }, 60));
  CHECK(SameBytes(ModelAt(cluster, "", "m.safetensors"), ModelAt(cluster, "w", "m.safetensors")));
  CHECK(cluster.master().Log().find("damaged from worker \"seed\"; it is fetched elsewhere") != std::string::npos);
}

TEST_CASE("a bit that flips in the master's file is repaired from a worker, through the master") {
  Cluster cluster(Sharing());
  WriteModel(ModelAt(cluster, "", "m.safetensors"), 30 * kMiB, 4);
  cluster.master().Kill();
  cluster.StartMaster();
  cluster.StartWorker("seed");  // offers no address: it only dials out
  WaitHashed(cluster, "m.safetensors", "master");
  WaitConnected(cluster, "seed");
  REQUIRE(Pull(cluster, "m.safetensors", "seed").ok());
  WaitHashed(cluster, "m.safetensors", "seed");
  FlipBit(ModelAt(cluster, "", "m.safetensors"), 9 * static_cast<int64_t>(kMiB));
  cluster.StartWorker("w");
  WaitConnected(cluster, "w");
  REQUIRE(Pull(cluster, "m.safetensors", "w").ok());
  REQUIRE(Until([&] { return Has(cluster, "m.safetensors", "w"); }, 60));
  CHECK(SameBytes(ModelAt(cluster, "seed", "m.safetensors"), ModelAt(cluster, "w", "m.safetensors")));
  CHECK(cluster.master().Log().find("no longer has the bytes that it was hashed with") != std::string::npos);
}

TEST_CASE("a model that only a worker has reaches another through the master, which keeps nothing of it") {
  Cluster cluster(Sharing());
  WriteModel(ModelAt(cluster, "seed", "m.safetensors"), 10 * kMiB, 5);
  cluster.StartWorker("seed");
  cluster.StartWorker("w");
  WaitConnected(cluster, "w");
  WaitHashed(cluster, "m.safetensors", "seed");
  REQUIRE(Pull(cluster, "m.safetensors", "w").ok());
  REQUIRE(Until([&] { return Has(cluster, "m.safetensors", "w"); }, 60));
  CHECK(SameBytes(ModelAt(cluster, "seed", "m.safetensors"), ModelAt(cluster, "w", "m.safetensors")));
  CHECK_FALSE(std::filesystem::exists(ModelAt(cluster, "", "m.safetensors")));
  CHECK_FALSE(HolderOf(cluster, "m.safetensors", "seed").brought());
}

TEST_CASE("a worker, then the master, killed in the middle: what was there is not fetched again") {
  Cluster cluster(Sharing());
  const uint64_t size = 120 * kMiB;
  WriteModel(ModelAt(cluster, "", "m.safetensors"), size, 6);
  cluster.master().Kill();
  cluster.StartMaster();
  const std::vector<std::string> slow = {"--models-bytes-per-second", std::to_string(40 * kMiB)};
  cluster.StartWorker("w", "crash_chunk=10", slow);
  WaitHashed(cluster, "m.safetensors", "master");
  WaitConnected(cluster, "w");
  REQUIRE(Pull(cluster, "m.safetensors", "w").ok());
  REQUIRE(cluster.worker("w").WaitEnd(60));
  double sent = MasterSent(cluster);
  CHECK(sent < static_cast<double>(size) * 0.6);
  // A bit of what is there already flips, too.
  std::string part, map;
  for (const auto& entry : std::filesystem::directory_iterator(cluster.models_dir("w") + "/checkpoints")) {
    if (entry.path().string().ends_with(".part")) part = entry.path();
    if (entry.path().string().ends_with(".map")) map = entry.path();
  }
  REQUIRE_FALSE(part.empty());
  std::ifstream in(map, std::ios::binary);
  const std::string bits{std::istreambuf_iterator<char>(in), {}};
  const size_t there = bits.find('1', 128);
  REQUIRE(there != std::string::npos);
  FlipBit(part, static_cast<int64_t>(there - 128) * 4 * static_cast<int64_t>(kMiB) + 77);

  cluster.StartWorker("w", "", slow);  // the order of a person still holds
  REQUIRE(cluster.worker("w").WaitLog("going on with", 30));
  REQUIRE(Until([&] { return MasterSent(cluster) > sent + 20.0 * kMiB; }, 60));
  sent = MasterSent(cluster);
  cluster.master().Kill();
  cluster.StartMaster();
  REQUIRE(Until([&] { return Has(cluster, "m.safetensors", "w"); }, 120));
  sent += MasterSent(cluster);
  CHECK(SameBytes(ModelAt(cluster, "", "m.safetensors"), ModelAt(cluster, "w", "m.safetensors")));
  CHECK(cluster.worker("w").Log().find("1 of 30 chunks of") != std::string::npos);
  std::printf("the master sent %.3f times the file over both kills\n", sent / static_cast<double>(size));
  CHECK(sent <= static_cast<double>(size) * 1.3);
}

TEST_CASE("a bound on bytes a second is kept") {
  Cluster cluster(Sharing("  bytes_per_second: 16MiB\n"));
  WriteModel(ModelAt(cluster, "", "m.safetensors"), 48 * kMiB, 7);
  cluster.master().Kill();
  cluster.StartMaster();
  cluster.StartWorker("w");
  WaitConnected(cluster, "w");
  const auto begin = std::chrono::steady_clock::now();
  REQUIRE(Pull(cluster, "m.safetensors", "w").ok());
  REQUIRE(Until([&] { return Has(cluster, "m.safetensors", "w"); }, 60));
  CHECK(std::chrono::steady_clock::now() - begin > std::chrono::milliseconds(2500));
}

TEST_CASE("on a full share of the disk the least recently used that was brought goes; pins and own files stay") {
  Cluster cluster(Sharing());
  for (int i = 0; i < 4; ++i)
    WriteModel(ModelAt(cluster, "", "m" + std::to_string(i) + ".safetensors"), 4 * kMiB, 10 + static_cast<uint64_t>(i));
  WriteModel(ModelAt(cluster, "w", "own.safetensors"), 20 * kMiB, 20);
  cluster.master().Kill();
  cluster.StartMaster();
  cluster.StartWorker("w", "", {"--models-disk-max", std::to_string(9 * kMiB)});
  WaitConnected(cluster, "w");
  const auto bring = [&](const std::string& name) {
    WaitHashed(cluster, name, "master");
    REQUIRE(Pull(cluster, name, "w").ok());
    REQUIRE(Until([&] { return Has(cluster, name, "w"); }, 60));
  };
  bring("m0.safetensors");
  REQUIRE(Pull(cluster, "m0.safetensors", "w", "pin").ok());
  REQUIRE(Until([&] { return HolderOf(cluster, "m0.safetensors", "w").pinned(); }));
  bring("m1.safetensors");
  bring("m2.safetensors");  // m1 goes: m0 is pinned
  REQUIRE(Until([&] { return !Has(cluster, "m1.safetensors", "w"); }));
  CHECK(Has(cluster, "m0.safetensors", "w"));
  CHECK(std::filesystem::exists(ModelAt(cluster, "w", "own.safetensors")));
  REQUIRE(Pull(cluster, "m2.safetensors", "w", "pin").ok());
  REQUIRE(Until([&] { return HolderOf(cluster, "m2.safetensors", "w").pinned(); }));
  REQUIRE(Pull(cluster, "m3.safetensors", "w").ok());
  REQUIRE(Until([&] { return HolderOf(cluster, "m3.safetensors", "w").state() == "failed"; }));
  CHECK(HolderOf(cluster, "m3.safetensors", "w").error().find("unpin some or raise models_disk_max") !=
        std::string::npos);
  REQUIRE(Pull(cluster, "m0.safetensors", "w", "unpin").ok());
  REQUIRE(Until([&] { return !HolderOf(cluster, "m0.safetensors", "w").pinned(); }));
  bring("m3.safetensors");
  CHECK_FALSE(std::filesystem::exists(ModelAt(cluster, "w", "m0.safetensors")));
  CHECK(Pull(cluster, "own.safetensors", "w", "pin").code() == StatusCode::kFailedPrecondition);
  CHECK(SameBytes(ModelAt(cluster, "", "m3.safetensors"), ModelAt(cluster, "w", "m3.safetensors")));
}

TEST_CASE("what cannot be brought is refused with what to do, and jobs say it") {
  Cluster cluster(Sharing());
  WriteModel(ModelAt(cluster, "", "m.safetensors"), kMiB, 30);
  WriteModel(ModelAt(cluster, "other", "m.safetensors"), kMiB, 31);
  cluster.master().Kill();
  cluster.StartMaster();
  cluster.StartWorker("other");
  cluster.StartWorker("alone", "", {"--no-share"});
  WaitConnected(cluster, "other");
  WaitConnected(cluster, "alone");
  WaitHashed(cluster, "m.safetensors", "master");
  WaitHashed(cluster, "m.safetensors", "other");
  const Status replaced = Pull(cluster, "m.safetensors", "other");
  CHECK(replaced.code() == StatusCode::kFailedPrecondition);
  CHECK(Message(replaced).find("has another file \"m.safetensors\"") != std::string::npos);
  CHECK(Pull(cluster, "m.safetensors", "alone").code() == StatusCode::kFailedPrecondition);
  CHECK(Pull(cluster, "m.safetensors", "nobody").code() == StatusCode::kNotFound);
  CHECK(Pull(cluster, "../m.safetensors", "other").code() == StatusCode::kNotFound);
  CHECK(Pull(cluster, "absent.safetensors", "other").code() == StatusCode::kNotFound);
  const std::string job = cluster.Submit(ModelPrompt("m.safetensors", 2000), 1);
  const auto told = cluster.client().GetJob(job);
  REQUIRE(told.ok());
  REQUIRE(told->missing_size() == 1);
  CHECK(told->missing(0).worker() == "alone");
  CHECK(told->missing(0).outlook().find("put it into its models folder") != std::string::npos);
  CHECK(cluster.WaitJob(job).state() == "done");
}

TEST_CASE("a person pushes a file to the master and a worker, and sees who has what") {
  Cluster cluster(Sharing());
  cluster.StartWorker("w");
  WaitConnected(cluster, "w");
  const std::string file = cluster.dir() / "mine/loras/l.safetensors";
  WriteModel(file, 9 * kMiB, 40);
  const auto run = [&](std::vector<std::string> arguments) {
    static int count = 0;
    arguments.insert(arguments.begin(), BinDir() + "/atelier");
    arguments.insert(arguments.end(), {"--master", cluster.address()});
    Process process(arguments, cluster.dir() / ("cli-" + std::to_string(++count) + ".log"));
    REQUIRE(process.WaitEnd(60));
    return std::pair(process.exit_code(), process.Log());
  };
  const auto pushed = run({"models", "push", file, "--to", "w"});
  INFO(pushed.second);
  REQUIRE(pushed.first == 0);
  CHECK(pushed.second.ends_with("loras/l.safetensors is on w\n"));
  CHECK(SameBytes(file, cluster.models_dir() + "/loras/l.safetensors"));
  CHECK(SameBytes(file, cluster.models_dir("w") + "/loras/l.safetensors"));
  const auto again = run({"models", "push", file});
  CHECK(again.second.ends_with("loras/l.safetensors is on the master\n"));
  CHECK(run({"models", "pin", "loras/l.safetensors"}).first == 0);
  REQUIRE(Until([&] { return HolderOf(cluster, "l.safetensors", "w").pinned(); }));
  const auto list = run({"models"});
  INFO(list.second);
  CHECK(list.second.find("loras   l.safetensors  9.0 MiB  ") != std::string::npos);
  CHECK(list.second.find("master, w (pinned)") != std::string::npos);
  // Another file under the same name is refused, and under another name taken.
  WriteModel(file, 2 * kMiB, 41);
  const auto other = run({"models", "push", file});
  CHECK(other.first == 2);
  CHECK(other.second.find("give this one another name with --as") != std::string::npos);
  CHECK(run({"models", "push", file, "--as", "sub/l2.safetensors"}).first == 0);
  CHECK(SameBytes(file, cluster.models_dir() + "/loras/sub/l2.safetensors"));
  for (const char* name : {"../l3.safetensors", "/tmp/l3.safetensors", "l3.exe"})
    CHECK(run({"models", "push", file, "--as", name}).first == 2);
  CHECK(run({"models", "pull", "absent.safetensors", "--to", "w"}).first == 2);
}

TEST_CASE("input files of the submitter's machine go with the job, and nothing else of his does") {
  Cluster cluster(Sharing());
  cluster.StartWorker("w");
  WaitConnected(cluster, "w");
  const auto write = [](const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path) << text;
  };
  write(cluster.dir() / "photos/sub/a.png", "one");
  write(cluster.dir() / "photos/private.png", "not named by the workflow");
  write(cluster.dir() / "input/sub/a.png", "the master's own");
  const Json prompt{
      {"1", {{"class_type", "FakeInput"}, {"inputs", {{"file", "sub/a.png"}}}}},
      {"2", {{"class_type", "FakeSave"}, {"inputs", {{"images", Json::array({"1", 0})}, {"filename_prefix", "p"}}}}}};
  write(cluster.dir() / "w.json", DumpJson(prompt));
  const auto run = [&](std::vector<std::string> more) {
    static int count = 0;
    std::vector<std::string> arguments = {
        BinDir() + "/atelier", "submit", cluster.dir() / "w.json", "--master", cluster.address(), "--json", "--wait"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    Process process(arguments, cluster.dir() / ("submit-" + std::to_string(++count) + ".log"));
    REQUIRE(process.WaitEnd(60));
    INFO(process.Log());
    REQUIRE(process.exit_code() == 0);
    const std::string log = process.Log();
    const size_t at = log.find("\"job\":\"") + 7;
    return *cluster.client().GetJob(log.substr(at, log.find('"', at) - at));
  };
  const std::string masters = cluster.PixelHash(run({}));
  const std::string mine = cluster.PixelHash(run({"--input", cluster.dir() / "photos"}));
  CHECK(mine != masters);
  write(cluster.dir() / "input/sub/a.png", "one");
  CHECK(cluster.PixelHash(run({})) == mine);
  size_t blobs = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(cluster.state_dir() + "/blobs"))
    blobs += entry.path().filename() == Sha256Hex("not named by the workflow") ? 1 : 0;
  CHECK(blobs == 0);
  // Of a folder that the workflow names, the pictures directly in it go.
  write(cluster.dir() / "photos/set/1.png", "a picture of the set");
  write(cluster.dir() / "photos/set/notes.txt", "no picture");
  write(cluster.dir() / "photos/set/deep/2.png", "in a folder below");
  Json folder = prompt;
  folder["1"] = {{"class_type", "FakeInputFolder"}, {"inputs", {{"folder", "set"}}}};
  write(cluster.dir() / "w.json", DumpJson(folder));
  const std::string sent = cluster.PixelHash(run({"--input", cluster.dir() / "photos"}));
  CHECK(sent != mine);
  write(cluster.dir() / "input/set/1.png", "a picture of the set");
  CHECK(cluster.PixelHash(run({})) == sent);
  write(cluster.dir() / "input/set/2.png", "another");
  CHECK(cluster.PixelHash(run({})) != sent);
  std::set<std::string> stored;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(cluster.state_dir() + "/blobs"))
    stored.insert(entry.path().filename());
  CHECK(stored.contains(Sha256Hex("a picture of the set")));
  for (const char* text : {"no picture", "in a folder below", "not named by the workflow"})
    CHECK_FALSE(stored.contains(Sha256Hex(text)));
  // What was announced and not uploaded is refused.
  v1::SubmitRequest request;
  request.set_workflow(DumpJson(prompt));
  v1::SubmittedInput& input = *request.add_inputs();
  input.set_name("sub/a.png");
  input.set_hash(Sha256Hex("never uploaded"));
  CHECK(cluster.client().Submit(request).status().code() == StatusCode::kInvalidArgument);
  input.set_name("../a.png");
  CHECK(cluster.client().Submit(request).status().code() == StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace atelier::test
