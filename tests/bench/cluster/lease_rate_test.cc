// Leases a second of a real master with 1,200 workers, each a session of its own on a connection of its own, all of
// them in this process: they answer each lease at once, with a result that the master has already. Master and workers
// share the machine's cores.
#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <condition_variable>
#include <deque>
#include <mutex>

#include "atelier/v1/session.grpc.pb.h"
#include "common/base/hash.h"
#include "common/rpc/blob_client.h"
#include "common/rpc/channel.h"
#include "common/rpc/protocol.h"
#include "tests/bench/bench.h"
#include "tests/harness/cluster.h"
#include "worker/session/session.h"

namespace atelier::test {
namespace {

constexpr size_t kWorkers = 1200;
constexpr int kJobs = 20;
constexpr uint32_t kReplicas = 1000;
constexpr auto kWaitMax = std::chrono::seconds(300);

// What all sessions share.
struct Counters {
  std::mutex mutex;
  std::condition_variable changed;
  size_t leases = 0, acks = 0, ended = 0;
  bench::Clock::time_point first, last;
  std::string catalog, digest, result_hash;
  uint64_t result_size = 0;
};

class FakeSession final : public grpc::ClientBidiReactor<v1::FromWorker, v1::ToWorker> {
 public:
  FakeSession(const std::string& address, size_t number, Counters* counters)
      : counters_(counters), stub_(v1::WorkerService::NewStub(MakeChannel(address))) {
    stub_->async()->Connect(&context_, this);
    v1::FromWorker first;
    v1::Attach& attach = *first.mutable_attach();
    attach.set_protocol(kProtocolVersion);
    attach.set_version(kProgramVersion);
    attach.set_name(Cat("fake-", number));
    attach.set_instance(Cat("i", number));
    attach.set_device("cpu");
    attach.set_device_name("none");
    attach.set_catalog_digest(counters->digest);
    Queue(std::move(first));
    StartRead(&incoming_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (incoming_.has_welcome()) {
      Pull(2);
    } else if (incoming_.want_catalog()) {
      v1::FromWorker answer;
      answer.mutable_catalog()->set_json(counters_->catalog);
      Queue(std::move(answer));
    } else if (incoming_.has_heartbeat()) {
      v1::FromWorker answer;
      answer.mutable_heartbeat();
      Queue(std::move(answer));
    } else if (incoming_.has_cancel()) {
      v1::FromWorker answer;
      answer.mutable_returned()->set_task_id(incoming_.cancel().task_id());
      answer.mutable_returned()->set_attempt(incoming_.cancel().attempt());
      Queue(std::move(answer));
    } else if (incoming_.has_lease()) {
      Do(incoming_.lease());
    } else if (incoming_.has_ack()) {
      const std::lock_guard lock(counters_->mutex);
      ++counters_->acks;
    }
    incoming_.Clear();
    StartRead(&incoming_);
  }

  void OnWriteDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    outgoing_.pop_front();
    if (ok) WriteNext();
  }

  void OnDone(const grpc::Status&) override {
    const std::lock_guard lock(counters_->mutex);
    ++counters_->ended;
    counters_->changed.notify_all();
  }

  void Cancel() { context_.TryCancel(); }

 private:
  void Do(const v1::Lease& lease) {
    {
      const std::lock_guard lock(counters_->mutex);
      counters_->last = bench::Clock::now();
      if (counters_->leases++ == 0) counters_->first = counters_->last;
      counters_->changed.notify_all();
    }
    Pull(1);
    v1::FromWorker report;
    v1::TaskDone& done = *report.mutable_done();
    done.set_task_id(lease.task_id());
    done.set_attempt(lease.attempt());
    done.set_seconds(0.001);
    for (int i = 0; i < lease.wanted_size(); ++i) {
      done.add_results()->set_hash(counters_->result_hash);
      done.mutable_results(i)->set_size(counters_->result_size);
    }
    Queue(std::move(report));
  }
  void Pull(uint32_t count) {
    v1::FromWorker pull;
    pull.mutable_pull()->set_count(count);
    Queue(std::move(pull));
  }
  void Queue(v1::FromWorker message) {
    const std::lock_guard lock(mutex_);
    outgoing_.push_back(std::move(message));
    WriteNext();
  }
  void WriteNext() {  // mutex_ is held
    if (writing_ || outgoing_.empty()) return;
    writing_ = true;
    StartWrite(&outgoing_.front());
  }

  Counters* const counters_;
  std::unique_ptr<v1::WorkerService::Stub> stub_;
  grpc::ClientContext context_;
  v1::ToWorker incoming_;
  std::mutex mutex_;
  std::deque<v1::FromWorker> outgoing_;
  bool writing_ = false;
};

TEST_CASE("leases a second with 1,200 workers") {
  ClusterOptions options;
  const Catalog catalog = RegisteredCatalog();
  options.catalog = DumpJson(catalog.ToJson());
  Cluster cluster(options);
  Counters counters;
  counters.catalog = options.catalog;
  counters.digest = catalog.Digest();
  const std::string result = "a result";
  counters.result_hash = Sha256Hex(result);
  counters.result_size = result.size();
  BlobClient blobs(MakeChannel(cluster.address()));
  REQUIRE(blobs.Put(counters.result_hash, result).ok());
  for (int i = 0; i < kJobs; ++i) cluster.Submit(ReplicaPrompt(0, 1, 8), kReplicas);

  std::vector<std::unique_ptr<FakeSession>> sessions;
  for (size_t i = 0; i < kWorkers; ++i)
    sessions.push_back(std::make_unique<FakeSession>(cluster.address(), i, &counters));
  const size_t all = static_cast<size_t>(kJobs) * kReplicas;
  {
    std::unique_lock lock(counters.mutex);
    REQUIRE(counters.changed.wait_for(lock, kWaitMax, [&] { return counters.leases >= all; }));
  }
  double seconds = 0;
  size_t leases = 0;
  {
    const std::lock_guard lock(counters.mutex);
    seconds = std::chrono::duration<double>(counters.last - counters.first).count();
    leases = counters.leases;
  }
  char note[160];
  std::snprintf(note, sizeof note, "%zu leases to %zu workers in %.1f s, each result durable and acknowledged", leases,
                kWorkers, seconds);
  CHECK(bench::Report("leases", static_cast<double>(leases) / seconds, "/s", bench::Side::kAtLeast, 1000, note));
  for (const auto& session : sessions) session->Cancel();
  std::unique_lock lock(counters.mutex);
  REQUIRE(counters.changed.wait_for(lock, kWaitMax, [&] { return counters.ended == sessions.size(); }));
}

}  // namespace
}  // namespace atelier::test
