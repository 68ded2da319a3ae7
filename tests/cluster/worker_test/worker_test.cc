#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "common/executor/executor.h"
#include "tests/cluster/worker_test/fake_master.h"
#include "worker/fake/fault.h"
#include "worker/session/session.h"

namespace atelier {
namespace {

using Kind = v1::FromWorker::KindCase;

// A session on a thread of its own.
class Worker {
 public:
  explicit Worker(const FakeMaster& master, const std::function<void(SessionOptions&)>& change = nullptr) {
    SessionOptions options;
    options.master = master.address();
    options.name = "w1";
    options.device_name = "test";
    options.memory_bytes = 1000;
    options.memory_free = [] { return uint64_t{500}; };
    options.on_cancel = fake::WakeWaiters;
    options.on_point = [this](std::string_view point) {
      if (point == "started") ++started;
      if (point != "executed") return;
      const std::lock_guard lock(mutex_);
      ++executed_;
      changed_.notify_all();
    };
    if (change) change(options);
    session = std::make_unique<Session>(options);
    thread_ = std::thread([this] { status_ = session->Run(); });
  }
  ~Worker() {
    if (thread_.joinable()) {
      session->Drain("the test ends", 0);
      thread_.join();
    }
  }
  Status Join() {
    thread_.join();
    return status_;
  }
  // Waits until so many tasks have run to their end.
  bool WaitExecuted(int count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), [&] { return executed_ >= count; });
  }
  std::atomic<int> started = 0;
  std::unique_ptr<Session> session;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int executed_ = 0;
  Status status_;
  std::thread thread_;
};

// A task that draws a picture; `extra` goes into the node's inputs.
v1::Lease SourceLease(const std::string& task, const std::string& extra = "", uint64_t attempt = 1) {
  v1::Lease lease;
  lease.set_task_id(task);
  lease.set_attempt(attempt);
  lease.set_job_id("j");
  lease.set_fragment(R"({"1": {"class_type": "FakeSource", "inputs": {"width": 8, "height": 4)" + extra + "}}}");
  lease.add_wanted()->set_node("1");
  return lease;
}

bool IsDone(const v1::FromWorker& message, const std::string& task) {
  return message.has_done() && message.done().task_id() == task;
}

int WaitDone(FakeMaster& master, const std::string& task, int from = 0) {
  return master.WaitFor([&](const v1::FromWorker& message) { return IsDone(message, task); }, from);
}

TEST_CASE("attach tells who the worker is; a lease is executed, uploaded, reported, and more is pulled") {
  FakeMaster master;
  Worker worker(master);
  REQUIRE(master.WaitForKind(Kind::kPull) == 1);
  const v1::Attach attach = master.message(0).attach();
  CHECK(attach.protocol() == kProtocolVersion);
  CHECK(attach.name() == "w1");
  CHECK(attach.device() == "cpu");
  CHECK(attach.memory_bytes() == 1000);
  CHECK(attach.memory_free_bytes() == 500);
  CHECK(attach.catalog_digest() == RegisteredCatalog().Digest());
  CHECK(attach.instance().size() == 32);
  CHECK(attach.held_size() == 0);
  CHECK(master.message(1).pull().count() == 2);

  v1::Lease lease = SourceLease("j/a", R"(, "steps": 3, "delay_ms": 30, "seed": 18446744073709551615)");
  lease.set_fragment(
      R"({"1": {"class_type": "FakeSource", "inputs": {"width": 8, "height": 4, "steps": 3, "delay_ms": 60}},
                         "2": {"class_type": "FakeSave", "inputs": {"images": ["1", 0], "filename_prefix": "out"}}})");
  lease.add_output_nodes("2");
  master.SendLease(lease);
  const int at = WaitDone(master, "j/a");
  REQUIRE(at > 0);
  const v1::TaskDone done = master.message(at).done();
  CHECK(done.attempt() == 1);
  REQUIRE(done.results_size() == 1);
  const std::string blob = master.blob(done.results(0).hash());
  CHECK(blob.size() == done.results(0).size());
  CHECK(DecodeBlob(blob)->type() == "IMAGE");
  REQUIRE(done.files_size() == 1);
  CHECK(done.files(0).node() == "2");
  CHECK(done.files(0).prefix() == "out");
  CHECK(done.files(0).extension() == ".png");
  CHECK(done.files(0).width() == 8);
  CHECK(master.blob(done.files(0).blob().hash()).substr(1, 3) == "PNG");
  CHECK(done.seconds() >= 0.06);
  // Steps in order, before the report; what the stream was too slow for was replaced by what came next.
  std::vector<int> steps;
  for (int i = 0; i < at; ++i)
    if (master.message(i).has_progress() && master.message(i).progress().total() > 1)
      steps.push_back(static_cast<int>(master.message(i).progress().step()));
  REQUIRE_FALSE(steps.empty());
  CHECK(std::adjacent_find(steps.begin(), steps.end(), std::greater_equal<>()) == steps.end());
  CHECK(steps.front() >= 1);
  CHECK(steps.back() <= 3);
  CHECK(master.WaitFor([](const v1::FromWorker& m) { return m.has_pull() && m.pull().count() == 1; }) > 0);
  master.SendAck("j/a");

  // The same picture again is not uploaded again.
  const int puts = master.puts();
  lease.set_task_id("j/b");
  master.SendLease(lease);
  const int second = WaitDone(master, "j/b");
  REQUIRE(second > at);
  CHECK(master.message(second).done().results(0).hash() == done.results(0).hash());
  CHECK(master.message(second).done().nodes_cached() == 1);
  CHECK(master.puts() == puts);
}

TEST_CASE("blobs are bound to inputs, gathered in order") {
  FakeMaster master;
  Worker worker(master);
  master.WaitForKind(Kind::kPull);
  std::vector<v1::Blob> images;
  for (const char* seed : {R"(, "seed": 1)", R"(, "seed": 2)"}) {
    const std::string task = Cat("j/s", images.size());
    master.SendLease(SourceLease(task, seed));
    const int at = WaitDone(master, task);
    REQUIRE(at > 0);
    images.push_back(master.message(at).done().results(0));
    master.SendAck(task);
  }
  CHECK(images[0].hash() != images[1].hash());
  v1::Lease lease;
  lease.set_task_id("j/gather");
  lease.set_attempt(7);
  lease.set_fragment(R"({"1": {"class_type": "DistributedCollector", "inputs": {}}})");
  lease.add_wanted()->set_node("1");
  v1::Binding& binding = *lease.add_bindings();
  binding.set_node("1");
  binding.set_input("images");
  binding.set_gather(true);
  for (const v1::Blob& image : images) *binding.add_blobs() = image;
  // A fresh worker has neither of them in its cache.
  {
    Worker other(master, [](SessionOptions& options) { options.name = "w2"; });
    const int pulls =
        master.WaitFor([](const v1::FromWorker& m) { return m.has_attach() && m.attach().name() == "w2"; });
    REQUIRE(pulls > 0);
    REQUIRE(master.WaitForKind(Kind::kPull, pulls) > 0);
    master.SendLease(lease);
    const int at = WaitDone(master, "j/gather");
    REQUIRE(at > 0);
    CHECK(master.message(at).done().attempt() == 7);
    const std::string bytes = master.blob(master.message(at).done().results(0).hash());
    // Pixels of both, first 1 then 2, 8 x 4 x 3 bytes each.
    const std::string pixels = bytes.substr(bytes.size() - 192);
    const std::string first = master.blob(images[0].hash()), second = master.blob(images[1].hash());
    CHECK(pixels == first.substr(first.size() - 96) + second.substr(second.size() - 96));
    master.SendAck("j/gather", 7);
  }
}

TEST_CASE("failures say which node, and whether another worker may do better") {
  char folder[] = "/tmp/atelier-worker-test-XXXXXX";
  REQUIRE(mkdtemp(folder) != nullptr);
  std::filesystem::create_directories(std::string(folder) + "/checkpoints");
  std::ofstream(std::string(folder) + "/checkpoints/a.safetensors") << "weights";
  FakeMaster master;
  {
    Worker worker(master, [&](SessionOptions& options) { options.model_roots = {folder}; });
    master.WaitForKind(Kind::kPull);
    REQUIRE(master.message(0).attach().inventory_size() == 1);
    CHECK(master.message(0).attach().inventory(0).folder() == "checkpoints");
    CHECK(master.message(0).attach().inventory(0).names(0) == "a.safetensors");
    int number = 0;
    const auto fail = [&](const std::string& fragment, const std::string& node) {
      v1::Lease lease;
      const std::string task = Cat("j/", number++);
      lease.set_task_id(task);
      lease.set_attempt(1);
      lease.set_fragment(fragment);
      lease.add_wanted()->set_node(node);
      master.SendLease(lease);
      const int at =
          master.WaitFor([&](const v1::FromWorker& m) { return m.has_failed() && m.failed().task_id() == task; });
      REQUIRE(at > 0);
      master.SendAck(task);
      return master.message(at).failed();
    };
    const auto how = [&](const std::string& kind) {
      return fail(R"({"1": {"class_type": "FakeSource", "inputs": {}},
                      "2": {"class_type": "FakeFail", "inputs": {"image": ["1", 0], "how": ")" +
                      kind + "\"}}}",
                  "2");
    };
    v1::TaskFailed failed = how("invalid");
    CHECK_FALSE(failed.retry_elsewhere());
    CHECK(failed.node() == "2");
    CHECK(failed.message() == "node \"2\" (FakeFail): the image is not wanted");
    CHECK(failed.code() == 3);
    CHECK(how("memory").retry_elsewhere());
    CHECK(how("bug").retry_elsewhere());
    failed = fail(R"({"1": {"class_type": "FakeLoad", "inputs": {"ckpt_name": "none.safetensors"}},
                      "2": {"class_type": "FakeSource", "inputs": {"model": ["1", 0]}}})",
                  "2");
    CHECK(failed.retry_elsewhere());
    CHECK(failed.node() == "1");
    CHECK_THAT(failed.message(), Catch::Contains("none.safetensors"));
    CHECK(fail(R"({"1": {"class_type": "Unknown", "inputs": {}}})", "1").retry_elsewhere());
    CHECK_FALSE(fail("not json", "1").retry_elsewhere());
  }
  std::filesystem::remove_all(folder);
}

TEST_CASE("a result made while the master is away is told when it is back, and made only once") {
  FakeMaster master;
  Worker worker(master);
  master.WaitForKind(Kind::kPull);
  const auto delay = R"(, "delay_ms": 400)";
  master.SendLease(SourceLease("j/a", delay));
  REQUIRE(master.WaitForKind(Kind::kProgress) > 0);  // it runs
  master.Stop();
  REQUIRE(worker.WaitExecuted(1));
  const int before = master.size();
  const auto start = std::chrono::steady_clock::now();
  master.Start();
  const int attach = master.WaitForKind(Kind::kAttach, before);
  REQUIRE(attach >= 0);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::milliseconds(1500));
  REQUIRE(master.message(attach).attach().held_size() == 1);
  CHECK(master.message(attach).attach().held(0).task_id() == "j/a");
  CHECK(master.message(attach).attach().held(0).finished());
  CHECK(master.message(attach).attach().instance() == master.message(0).attach().instance());
  int done = WaitDone(master, "j/a", attach);
  REQUIRE(done > 0);
  CHECK(worker.started == 1);
  CHECK_FALSE(master.blob(master.message(done).done().results(0).hash()).empty());

  // Not acknowledged, and the master comes back without its blobs: told and uploaded again.
  master.Stop();
  master.ForgetBlobs();
  const int second = master.size();
  master.Start();
  done = WaitDone(master, "j/a", second);
  REQUIRE(done > 0);
  CHECK_FALSE(master.blob(master.message(done).done().results(0).hash()).empty());
  master.SendAck("j/a");
  master.SendLease(SourceLease("j/b"));  // after this one's report the acknowledgement was read
  REQUIRE(WaitDone(master, "j/b", done) > 0);
  master.SendAck("j/b");

  // Acknowledged: not told again.
  REQUIRE(master.WaitForKind(Kind::kPull, done) > 0);
  master.SendLease(SourceLease("j/c"));
  REQUIRE(WaitDone(master, "j/c", done) > 0);
  master.Stop();
  const int third = master.size();
  master.Start();
  const int again = master.WaitForKind(Kind::kAttach, third);
  REQUIRE(again >= 0);
  REQUIRE(master.message(again).attach().held_size() == 1);
  CHECK(master.message(again).attach().held(0).task_id() == "j/c");
  CHECK(worker.started == 3);
}

TEST_CASE("a running task goes on while the stream is down and reports to the master that is back") {
  FakeMaster master;
  Worker worker(master);
  master.WaitForKind(Kind::kPull);
  master.SendLease(SourceLease("j/a", R"(, "delay_ms": 1500, "steps": 15)"));
  REQUIRE(master.WaitForKind(Kind::kProgress) > 0);
  master.Stop();
  const int before = master.size();
  master.Start();
  const int attach = master.WaitForKind(Kind::kAttach, before);
  REQUIRE(attach >= 0);
  REQUIRE(master.message(attach).attach().held_size() == 1);
  CHECK_FALSE(master.message(attach).attach().held(0).finished());
  const int pull = master.WaitForKind(Kind::kPull, attach);
  REQUIRE(pull > 0);
  CHECK(master.message(pull).pull().count() == 1);  // one slot is taken
  REQUIRE(WaitDone(master, "j/a", attach) > 0);
  CHECK(worker.started == 1);
}

TEST_CASE("a cancelled task is handed back at once, running or waiting, and its slot is used again") {
  FakeMaster master;
  Worker worker(master);
  master.WaitForKind(Kind::kPull);
  master.SendLease(SourceLease("j/a", R"(, "delay_ms": 60000)"));
  master.SendLease(SourceLease("j/b", R"(, "delay_ms": 60000)"));
  REQUIRE(master.WaitForKind(Kind::kProgress) > 0);
  const auto returned = [&](const std::string& task) {
    return master.WaitFor([&](const v1::FromWorker& m) { return m.has_returned() && m.returned().task_id() == task; });
  };
  master.SendCancel("j/a", 9);  // another attempt: nothing happens
  master.SendCancel("j/b");
  REQUIRE(returned("j/b") > 0);
  CHECK(worker.started == 1);
  const auto start = std::chrono::steady_clock::now();
  master.SendCancel("j/a");
  REQUIRE(returned("j/a") > 0);
  master.SendLease(SourceLease("j/c"));
  REQUIRE(WaitDone(master, "j/c") > 0);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
  CHECK(master.WaitFor([](const v1::FromWorker& m) { return m.has_done() && m.done().task_id() == "j/c"; }) > 0);
}

TEST_CASE("a newer attempt of a task replaces the older one") {
  FakeMaster master;
  Worker worker(master);
  master.WaitForKind(Kind::kPull);
  master.SendLease(SourceLease("j/a", R"(, "delay_ms": 60000)", 1));
  REQUIRE(master.WaitForKind(Kind::kProgress) > 0);
  master.SendLease(SourceLease("j/a", "", 2));
  const int at = WaitDone(master, "j/a");
  REQUIRE(at > 0);
  CHECK(master.message(at).done().attempt() == 2);
}

TEST_CASE("drain: what runs is finished, what waits is handed back, then the worker leaves") {
  FakeMaster master;
  Worker worker(master);
  master.WaitForKind(Kind::kPull);
  master.SendLease(SourceLease("j/a", R"(, "delay_ms": 300)"));
  master.SendLease(SourceLease("j/b", R"(, "delay_ms": 300)"));
  REQUIRE(master.WaitForKind(Kind::kProgress) > 0);
  v1::ToWorker drain;
  drain.mutable_drain()->set_reason("asked by a test");
  master.Send(drain);
  const int back = master.WaitForKind(Kind::kReturned);
  REQUIRE(back > 0);
  CHECK(master.message(back).returned().task_id() == "j/b");
  const int done = WaitDone(master, "j/a");
  REQUIRE(done > back);
  master.SendLease(SourceLease("j/c"));  // too late
  REQUIRE(master.WaitFor([](const v1::FromWorker& m) { return m.has_returned() && m.returned().task_id() == "j/c"; }) >
          0);
  master.SendAck("j/a");
  REQUIRE(master.WaitForKind(Kind::kLeaving) > done);
  CHECK(worker.Join().ok());
  CHECK(worker.started == 1);
}

TEST_CASE("drain with a deadline gives a long task back") {
  FakeMaster master;
  Worker worker(master);
  master.WaitForKind(Kind::kPull);
  master.SendLease(SourceLease("j/a", R"(, "delay_ms": 60000)"));
  REQUIRE(master.WaitForKind(Kind::kProgress) > 0);
  const auto start = std::chrono::steady_clock::now();
  worker.session->Drain("the process ends", 200);
  CHECK(worker.Join().ok());
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(3));
  CHECK(master.WaitForKind(Kind::kReturned) > 0);
  CHECK(master.WaitForKind(Kind::kLeaving) > 0);
}

TEST_CASE("drain ends at once when the master is away and nothing is held") {
  FakeMaster master;
  master.Stop();
  Worker worker(master);
  const auto start = std::chrono::steady_clock::now();
  worker.session->Drain("the process ends", 10'000);
  CHECK(worker.Join().ok());
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(3));
}

TEST_CASE("the catalogue and log lines are sent; a silent master is dialled again") {
  FakeMaster master;
  master.heartbeat_ms = 20;
  Worker worker(master);
  master.WaitForKind(Kind::kPull);
  v1::ToWorker want;
  want.set_want_catalog(true);
  master.Send(want);
  const int at = master.WaitForKind(Kind::kCatalog);
  REQUIRE(at > 0);
  const auto catalog = Catalog::FromJson(ParseJson(master.message(at).catalog().json()).value());
  REQUIRE(catalog.ok());
  CHECK(catalog->Digest() == master.message(0).attach().catalog_digest());
  REQUIRE(catalog->Find("UltimateSDUpscaleDistributed") != nullptr);
  CHECK(catalog->Find("UltimateSDUpscaleDistributed")->tiles->tile_node == "UltimateSDUpscaleTile");
  worker.session->SendLog(LogLevel::kWarning, "a line", "j/a");
  const int log = master.WaitForKind(Kind::kLog);
  REQUIRE(log > 0);
  CHECK(master.message(log).log().text() == "a line");
  REQUIRE(master.WaitForKind(Kind::kHeartbeat) > 0);
  CHECK(master.WaitForKind(Kind::kAttach, 1) > 0);  // it never hears from this master
}

TEST_CASE("a master of the version before: the worker speaks that") {
  FakeMaster master;
  master.protocol = kProtocolOldest;
  master.only_protocol = kProtocolOldest;
  Worker worker(master);
  CHECK(master.WaitForKind(Kind::kPull) > 0);
}

TEST_CASE("another version: one sentence with both versions and the remedy, and the worker stays up") {
  std::mutex mutex;
  std::condition_variable changed;
  std::string line;
  SetLogSink([&](LogLevel level, const std::string& text) {
    const std::lock_guard lock(mutex);
    if (level == LogLevel::kWarning) line = text;
    changed.notify_all();
  });
  const auto wait = [&](const std::string& part) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::seconds(10), [&] { return line.find(part) != std::string::npos; });
  };
  {
    FakeMaster master;
    master.protocol = kProtocolVersion + 1;
    Worker worker(master);
    CHECK(wait(Cat("this worker is version ", kProgramVersion, " (protocol ", kProtocolVersion, "), the master at ",
                   master.address(), " is version 9.9.9 (protocol ", kProtocolVersion + 1,
                   "): install the same version on both")));
  }
  {
    FakeMaster master;
    master.refusal = {grpc::StatusCode::FAILED_PRECONDITION,
                      "worker \"w1\" is version 0.1.0, this master 9: install 9"};
    Worker worker(master);
    CHECK(wait("refused this worker: worker \"w1\" is version 0.1.0, this master 9: install 9"));
    master.Stop();
    master.refusal = grpc::Status::OK;
    master.Start();
    CHECK(master.WaitForKind(Kind::kPull) > 0);  // it kept trying
  }
  SetLogSink(nullptr);
}

// Not run by default: prints the time from a lease's Write to its TaskDone's Read.
TEST_CASE("lease to done", "[.bench]") {
  FakeMaster master;
  Worker worker(master, [](SessionOptions& options) { options.executor.cache_bytes_max = 0; });
  master.WaitForKind(Kind::kPull);
  std::vector<double> ms;
  for (int i = 0; i < 500; ++i) {
    const std::string task = Cat("j/", i);
    v1::Lease lease;
    lease.set_task_id(task);
    lease.set_attempt(1);
    lease.set_fragment(R"({"1": {"class_type": "DistributedSeed", "inputs": {}}})");
    lease.add_output_nodes("1");
    const int from = master.size();
    const auto start = std::chrono::steady_clock::now();
    master.SendLease(lease);
    const int at = WaitDone(master, task, from);
    ms.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
    REQUIRE(at > 0);
    master.SendAck(task);
  }
  std::sort(ms.begin(), ms.end());
  WARN("lease to done: p50 " << ms[250] << " ms, p95 " << ms[475] << " ms");
  CHECK(ms[250] <= 3.0);
}

}  // namespace
}  // namespace atelier
