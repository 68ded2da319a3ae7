// What a task costs beside its work: a real master, and a worker session in this process (so that one clock tells all).
//
// The bounded figure is the time from the start of one empty task to the start of the next one in a queue of many, as
// the worker sees it. It holds all that stands between them: the empty task, its result's upload, the report, the
// durable acknowledgement, the next pull, the lease's way and the hand-over to the executing thread. The lease's own
// share is smaller.
#include <catch2/catch.hpp>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "tests/bench/bench.h"
#include "tests/harness/cluster.h"
#include "worker/fake/fault.h"
#include "worker/session/session.h"

namespace atelier::test {
namespace {

constexpr uint32_t kTasks = 400;
constexpr int kSingleJobs = 60;

// Remembers when tasks started.
class Worker {
 public:
  explicit Worker(const std::string& master) {
    SessionOptions options;
    options.master = master;
    options.name = "bench";
    options.on_cancel = fake::WakeWaiters;
    options.on_point = [this](std::string_view point) {
      if (point != "started") return;
      const std::lock_guard lock(mutex_);
      starts_.push_back(bench::Clock::now());
      changed_.notify_all();
    };
    session_ = std::make_unique<Session>(options);
    thread_ = std::thread([this] { CHECK(session_->Run().ok()); });
  }
  ~Worker() {
    session_->Drain("the benchmark ends", 0);
    thread_.join();
  }
  // Waits until so many tasks have started; the times of all.
  std::vector<bench::Clock::time_point> WaitStarts(size_t count) {
    std::unique_lock lock(mutex_);
    REQUIRE(changed_.wait_for(lock, std::chrono::seconds(120), [&] { return starts_.size() >= count; }));
    return starts_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<bench::Clock::time_point> starts_;
  std::unique_ptr<Session> session_;
  std::thread thread_;
};

double Milliseconds(bench::Clock::time_point from, bench::Clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

TEST_CASE("lease to start of empty tasks") {
  ClusterOptions cluster_options;
  cluster_options.catalog = DumpJson(RegisteredCatalog().ToJson());
  Cluster cluster(cluster_options);
  Worker worker(cluster.address());
  cluster.WaitJob(cluster.Submit(ReplicaPrompt(0, 0, 8), 1));  // attached, and everything touched once
  const size_t before = worker.WaitStarts(1).size();

  const std::string job = cluster.Submit(ReplicaPrompt(0, 0, 8), kTasks);
  const v1::Job ended = cluster.WaitJob(job);
  CHECK(ended.state() == "done");
  const auto starts = worker.WaitStarts(before + kTasks);
  std::vector<double> gaps;
  for (size_t i = before + 1; i < before + kTasks; ++i) gaps.push_back(Milliseconds(starts[i - 1], starts[i]));
  char note[120];
  std::snprintf(note, sizeof note, "p50 of %zu, start to start on one worker; p90 %.2f ms, p99 %.2f ms", gaps.size(),
                bench::Quantile(gaps, 0.9), bench::Quantile(gaps, 0.99));
  CHECK(bench::Report("task overhead", bench::Median(gaps), "ms", bench::Side::kAtMost, 3, note));

  // An idle worker: from the call of Submit to the start, with validation, planning and the job made durable.
  const Json single = {
      {"1",
       {{"class_type", "FakeSource"},
        {"inputs", {{"seed", 1}, {"width", 8}, {"height", 8}, {"batch_size", 1}, {"delay_ms", 0}, {"steps", 0}}}}},
      {"2", {{"class_type", "FakeSave"}, {"inputs", {{"images", Json::array({"1", 0})}, {"filename_prefix", "one"}}}}}};
  std::vector<double> latencies;
  for (int i = 0; i < kSingleJobs; ++i) {
    Json prompt = single;
    prompt["1"]["inputs"]["seed"] = 1000 + i;
    const size_t started = worker.WaitStarts(1).size();
    const auto begin = bench::Clock::now();
    const std::string id = cluster.Submit(prompt);
    latencies.push_back(Milliseconds(begin, worker.WaitStarts(started + 1).at(started)));
    cluster.WaitJob(id);
  }
  bench::Tell("submit to start on an idle worker", bench::Median(latencies), "ms",
              Cat("p50 of ", kSingleJobs, " jobs of one task; with planning and the job made durable"));
}

}  // namespace
}  // namespace atelier::test
