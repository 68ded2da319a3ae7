// Random SIGKILLs of master and workers over jobs of 64 tiles: nothing lost, nothing doubled, no byte different.
// $ATELIER_SOAK_KILLS (default 100) and $ATELIER_SOAK_SECONDS (default 150) bound it, $ATELIER_SOAK_SEED repeats it.
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <random>
#include <set>

#include "tests/harness/cluster.h"
#include "worker/session/session.h"

namespace atelier::test {
namespace {

using Clock = std::chrono::steady_clock;

int64_t FromEnvironment(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr || *text == '\0' ? otherwise : std::atoll(text);
}

ClusterOptions Fake() {
  ClusterOptions options;
  options.catalog = DumpJson(RegisteredCatalog().ToJson());
  // Who is killed at random looks like a task that kills, which is not what this is about.
  options.config =
      "scheduling: {attempts_max: 100, poison_workers: 100, heartbeat_seconds: 0.5}\nmetrics: {listen: ''}\n";
  return options;
}

TEST_CASE("random kills") {
  const int64_t kills_wanted = FromEnvironment("ATELIER_SOAK_KILLS", 100);
  const double seconds_max = static_cast<double>(FromEnvironment("ATELIER_SOAK_SECONDS", 150));
  const auto seed =
      static_cast<uint64_t>(FromEnvironment("ATELIER_SOAK_SEED", static_cast<int64_t>(std::random_device{}())));
  INFO("ATELIER_SOAK_SEED=" << seed);
  std::cout << "ATELIER_SOAK_SEED=" << seed << std::endl;
  std::mt19937_64 random(seed);
  const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };

  const Json prompt = TilePrompt(15, 8, 64);
  constexpr size_t kResults = 67;               // 64 tiles, their canvas, what comes before and after
  std::map<std::string, std::string> expected;  // by order
  for (const char* order : {"exact", "independent"}) {
    Cluster cluster(Fake());
    cluster.StartWorker("alone");
    const v1::Job job = cluster.WaitJob(cluster.Submit(prompt, 0, order));
    CHECK(job.tasks_total() == kResults);
    expected[order] = cluster.OutputHash(job);
  }

  const auto start = Clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  int64_t kills = 0, of_master = 0, jobs = 0, differing = 0, lost = 0, doubled = 0;
  while (kills < kills_wanted && seconds() < seconds_max) {
    const int workers = pick(2, 6);
    const std::string order = pick(0, 1) == 0 ? "exact" : "independent";
    Cluster cluster(Fake());
    std::vector<std::string> names;
    for (int i = 0; i < workers; ++i) {
      names.push_back(Cat("w", i));
      cluster.StartWorker(names.back());
    }
    const std::string job = cluster.Submit(prompt, 0, order);
    ++jobs;
    // The instant: so long after the last one, cut short by the end of the job.
    const int most = pick(5, 20);
    for (int n = 0; n < most && kills < kills_wanted && seconds() < seconds_max; ++n) {
      (void)cluster.worker(names[0]).WaitEnd(pick(1, 250) / 1000.0);  // it runs: only the time passes
      const auto now = cluster.client().GetJob(job);
      if (now.ok() && now->state() != "queued" && now->state() != "running") break;
      ++kills;
      if (pick(0, 3) == 0) {
        ++of_master;
        cluster.master().Kill();
        if (pick(0, 2) == 0) {
          ++kills;
          cluster.StartWorker(names[static_cast<size_t>(pick(0, workers - 1))]);  // the old one is killed
        }
        cluster.StartMaster();
      } else {
        cluster.StartWorker(names[static_cast<size_t>(pick(0, workers - 1))]);
      }
    }
    const v1::Job ended = cluster.WaitJob(job, 120);
    INFO("job " << jobs << " with " << workers << " workers, " << order << ": " << ended.error());
    if (ended.state() != "done") {
      ++lost;
    } else if (cluster.OutputHash(ended) != expected[order]) {
      ++differing;
    }
    CHECK(ended.state() == "done");
    cluster.master().Kill();
    std::set<std::string> seen;
    for (const AcceptedTask& task : cluster.Accepted(job)) doubled += seen.insert(task.task_id).second ? 0 : 1;
    lost += seen.size() == kResults ? 0 : 1;
    int files = 0;
    for (const auto& file : std::filesystem::recursive_directory_iterator(cluster.output_dir()))
      files += file.is_regular_file() ? 1 : 0;
    doubled += files == 1 ? 0 : 1;
  }
  std::cout << "soak: " << kills << " kills (" << of_master << " of masters) over " << jobs << " jobs of 64 tiles in "
            << static_cast<int>(seconds()) << " s: " << lost << " lost, " << doubled << " doubled, " << differing
            << " differing" << std::endl;
  CHECK(lost == 0);
  CHECK(doubled == 0);
  CHECK(differing == 0);
  CHECK(kills > 20);
}

}  // namespace
}  // namespace atelier::test
