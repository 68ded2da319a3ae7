// The master by itself: memory when idle, time until it serves.
#include <catch2/catch.hpp>
#include <fstream>

#include "common/base/status.h"
#include "tests/bench/bench.h"
#include "tests/harness/cluster.h"
#include "worker/session/session.h"

namespace atelier::test {
namespace {

constexpr double kIdleSeconds = 1;
constexpr int kStarts = 7;

// "Name:   123 kB" of a file of /proc, in bytes.
double BytesOf(const std::string& path, const std::string& name) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);)
    if (line.rfind(name + ":", 0) == 0) return std::stod(line.substr(name.size() + 1)) * 1024;
  FAIL("no " << name << " in " << path);
  return 0;
}

TEST_CASE("master: memory when idle") {
  Cluster cluster;
  REQUIRE_FALSE(cluster.master().WaitEnd(kIdleSeconds));
  const std::string proc = Cat("/proc/", cluster.master().pid());
  const double mib = 1 << 20;
  char note[120];
  std::snprintf(note, sizeof note, "resident, of which private %.1f MiB and Pss %.1f MiB",
                BytesOf(proc + "/status", "RssAnon") / mib, BytesOf(proc + "/smaps_rollup", "Pss") / mib);
  CHECK(bench::Report("master memory idle", BytesOf(proc + "/status", "VmRSS") / mib, "MiB", bench::Side::kAtMost, 40,
                      note));
}

TEST_CASE("master: memory of an 8K image in tiles") {
  constexpr int kWidth = 7680, kHeight = 4320;
  ClusterOptions options;
  options.catalog = DumpJson(RegisteredCatalog().ToJson());
  Cluster cluster(options);
  cluster.StartWorker("a");
  Json prompt = TilePrompt(0);
  prompt["1"]["inputs"]["width"] = kWidth;
  prompt["1"]["inputs"]["height"] = kHeight;
  prompt["2"]["inputs"]["tile_width"] = prompt["2"]["inputs"]["tile_height"] = 512;
  const v1::Job job = cluster.WaitJob(cluster.Submit(prompt, 1, "independent"), 300);
  INFO(job.error());
  REQUIRE(job.state() == "done");
  const double canvas = double{kWidth} * kHeight * 3;
  const double peak = BytesOf(Cat("/proc/", cluster.master().pid(), "/status"), "VmHWM");
  char note[160];
  std::snprintf(note, sizeof note, "peak %.0f MiB, all of the process counted; %u tasks, %.1f s", peak / (1 << 20),
                job.tasks_total(), job.seconds());
  CHECK(bench::Report("master memory of an 8K image in tiles", peak / canvas, "x the canvas", bench::Side::kAtMost, 3,
                      note));
}

// From before the fork to the first answered call, on an empty state folder (database and folders are made).
TEST_CASE("master: start to serving") {
  std::vector<double> seconds;
  for (int i = 0; i < kStarts; ++i) {
    const auto begin = bench::Clock::now();
    const Cluster cluster;
    seconds.push_back(bench::Since(begin));
  }
  CHECK(bench::Report("master start to serving", bench::Median(seconds), "s", bench::Side::kAtMost, 0.3,
                      Cat("median of ", kStarts, " starts")));
}

}  // namespace
}  // namespace atelier::test
