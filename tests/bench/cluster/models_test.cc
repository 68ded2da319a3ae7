// One GiB of a model to four workers of one machine that help each other: what the master sends.
#include <catch2/catch.hpp>

#include "tests/bench/bench.h"
#include "tests/sharing/sharing.h"

namespace atelier::test {
namespace {

TEST_CASE("a model of 1 GiB to four workers") {
  constexpr uint64_t kSize = 1ULL << 30;
  Cluster cluster(Sharing());
  const std::string file = cluster.models_dir() + "/checkpoints/big.safetensors";
  WriteModel(file, kSize, 2);
  cluster.master().Kill();
  cluster.StartMaster();
  const std::vector<std::string> workers = {"w1", "w2", "w3", "w4"};
  for (const std::string& worker : workers) cluster.StartWorker(worker, "", {"--peer-listen", "127.0.0.1:0"});
  WaitHashed(cluster, "big.safetensors", "master");
  for (const std::string& worker : workers) WaitConnected(cluster, worker);
  const auto begin = bench::Clock::now();
  for (const std::string& worker : workers) REQUIRE(Pull(cluster, "big.safetensors", worker).ok());
  for (const std::string& worker : workers)
    REQUIRE(Until([&] { return Has(cluster, "big.safetensors", worker); }, 900));
  const double seconds = bench::Since(begin);
  CHECK(bench::Report("model sent by the master", MasterSent(cluster) / static_cast<double>(kSize), "times the file",
                      bench::Side::kAtMost, 1.3, "1 GiB to 4 workers that help each other, one machine"));
  bench::Tell("model to four workers", 4 * static_cast<double>(kSize) / seconds / 1e6, "MB/s",
              "all four together, until each has checked its file and told");
  for (const std::string& worker : workers)
    CHECK(SameBytes(file, cluster.models_dir(worker) + "/checkpoints/big.safetensors"));
}

}  // namespace
}  // namespace atelier::test
