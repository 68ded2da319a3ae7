// A long clip in bounded memory, with deaths on the way. ATELIER_CLIP_FRAMES=20000 makes it long; docs/reliability.md has
// the figures.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "tests/fault_real/real.h"
#include "tests/frames/clip.h"
#include "tests/frames/prompts.h"

namespace atelier::test {
namespace {

constexpr int kWidth = 320, kHeight = 180;
constexpr double kBytesMax = 1 << 30;  // of any process; the demonstration's models are not loaded

// The most memory that a process ever had, in bytes.
double PeakOf(const Process& process) {
  std::ifstream status("/proc/" + std::to_string(process.pid()) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::atof(line.c_str() + 6) * 1024;
  return 0;
}

TEST_CASE("a clip of many frames: each process stays small, deaths on the way cost a window each") {
  const char* asked = std::getenv("ATELIER_CLIP_FRAMES");
  const int frames = asked == nullptr ? 200 : std::atoi(asked);
  const double limit_s = 60 + frames * 0.5;
  ClusterOptions options = Real("");
  options.config = "scheduling:\n  frames: windows\n";
  Cluster cluster(options);
  std::ofstream(cluster.dir() / "input/clip.mp4", std::ios::binary) << MakeClip(frames, kWidth, kHeight, true);
  StartAttached(cluster, "lives");
  StartAttached(cluster, "dies");
  const Json prompt{{"1", LoadNode()},
                    {"2", ScaleNode("1", "lanczos", 2 * kWidth, 2 * kHeight)},
                    {"3", CombineNode("2", true)}};
  const std::string job = cluster.Submit(prompt);
  double worker_peak = 0, master_peak = 0;
  uint32_t total = 0, before_restart = 0;
  const auto wait_for_share = [&](double share) {
    REQUIRE(cluster.WaitEvent(
        job,
        [&](const v1::JobEvent& event) {
          total = event.job().tasks_total();
          return total > 2 && event.job().tasks_done() >= share * total;
        },
        limit_s));
  };
  for (const double share : {0.2, 0.5}) {
    wait_for_share(share);
    for (const char* name : {"lives", "dies"}) worker_peak = std::max(worker_peak, PeakOf(cluster.worker(name)));
    cluster.worker("dies").Kill();
    StartAttached(cluster, "dies");
  }
  wait_for_share(0.7);
  master_peak = PeakOf(cluster.master());
  cluster.master().Kill();
  const std::vector<AcceptedTask> accepted = cluster.Accepted(job);
  before_restart = static_cast<uint32_t>(accepted.size());
  cluster.StartMaster();
  const v1::Job ended = cluster.WaitJob(job, limit_s);
  INFO(ended.error());
  REQUIRE(ended.state() == "done");
  for (const char* name : {"lives", "dies"}) worker_peak = std::max(worker_peak, PeakOf(cluster.worker(name)));
  master_peak = std::max(master_peak, PeakOf(cluster.master()));
  std::printf("%d frames: %u tasks, %u of them accepted when the master was killed, %.0f s; most memory: worker %.0f MiB, "
              "master %.0f MiB\n",
              frames, ended.tasks_total(), before_restart, ended.seconds(), worker_peak / (1 << 20),
              master_peak / (1 << 20));
  CHECK(worker_peak <= kBytesMax);
  CHECK(master_peak <= kBytesMax);
  CHECK(before_restart >= 0.7 * total);
  // What was accepted before is what stands there at the end.
  cluster.master().Kill();
  const std::vector<AcceptedTask> all = cluster.Accepted(job);
  CHECK(all.size() == ended.tasks_total());
  REQUIRE(all.size() >= accepted.size());
  CHECK(std::equal(accepted.begin(), accepted.end(), all.begin()));
  // The film has every frame.
  std::ostringstream bytes;
  for (const v1::Output& output : ended.outputs()) {
    if (!output.path().ends_with("-audio.mp4")) continue;
    bytes << std::ifstream(output.path(), std::ios::binary).rdbuf();
  }
  const auto info = media::Probe(bytes.str());
  REQUIRE(info.ok());
  CHECK(info->video->frames == frames);
  CHECK(info->video->width == 2 * kWidth);
  CHECK(info->audio.has_value());
}

}  // namespace
}  // namespace atelier::test
