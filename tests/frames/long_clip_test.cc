// Long clips in bounded memory, with deaths on the way. ATELIER_CLIP_FRAMES=20000 makes them long; docs/reliability.md
// has the figures.
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
constexpr double kBytesMax = 1 << 30;  // of any process, its models of 35 MB in it

// The most memory that a process ever had, in bytes.
double PeakOf(const Process& process) {
  std::ifstream status("/proc/" + std::to_string(process.pid()) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::atof(line.c_str() + 6) * 1024;
  return 0;
}

int Asked(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoi(text);
}

// One job of a clip through `prompt` (its last node "3" saves `width` pixels across, with sound) on two workers, one of
// which is killed at 20 % and at 50 % of the tasks, and the master at 70 %. Its video's hash.
std::string RunWithDeaths(const ClusterOptions& options, const Json& prompt, const std::string& tiles, int frames,
                          int width, double limit_s) {
  Cluster cluster(options);
  std::ofstream(cluster.dir() / "input/clip.mp4", std::ios::binary) << MakeClip(frames, kWidth, kHeight, true);
  StartAttached(cluster, "lives");
  StartAttached(cluster, "dies");
  const std::string job = cluster.Submit(prompt, 0, tiles);
  double worker_peak = 0, master_peak = 0;
  uint32_t total = 0, before_restart = 0;
  const auto wait_for_share = [&](double share) {
    REQUIRE(cluster.WaitEvent(
        job,
        [&](const v1::JobEvent& event) {
          total = event.job().tasks_total();
          return total > 3 && event.job().tasks_done() >= share * total;
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
  std::printf(
      "%d frames: %u tasks, %u of them accepted when the master was killed, %.0f s; most memory: worker %.0f MiB, "
      "master %.0f MiB\n",
      frames, ended.tasks_total(), before_restart, ended.seconds(), worker_peak / (1 << 20), master_peak / (1 << 20));
  CHECK(worker_peak <= kBytesMax);
  CHECK(master_peak <= kBytesMax);
  CHECK(before_restart >= 0.7 * total);
  const std::string hash = cluster.OutputHash(ended);
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
  CHECK(info->video->width == width);
  CHECK(info->audio.has_value());
  return hash;
}

TEST_CASE("a clip of many frames: each process stays small, deaths on the way cost a window each") {
  const int frames = Asked("ATELIER_CLIP_FRAMES", 200), width = Asked("ATELIER_CLIP_WIDTH", 2 * kWidth);
  ClusterOptions options = Real("");
  options.config = "scheduling:\n  frames: windows\n";
  const Json prompt{{"1", LoadNode()},
                    {"2", ScaleNode("1", "lanczos", width, width * kHeight / kWidth)},
                    {"3", CombineNode("2", true)}};
  RunWithDeaths(options, prompt, "", frames, width, 60 + frames * 0.5);
}

// Each frame made small and redrawn by the demonstration's model.
Json RedrawClipPrompt(int width, int height) {
  Json prompt = Loaders("demo.safetensors");
  prompt["6"] = prompt["1"];
  prompt["1"] = LoadNode();
  for (const char* id : {"2", "3"}) prompt[id]["inputs"]["clip"] = Link("6", 1);
  prompt["4"] = prompt["3"];  // node 3 is the one that saves
  Json redraw = RedrawPrompt()["5"];
  redraw["inputs"].update({{"upscaled_image", Link("7")},
                           {"model", Link("6")},
                           {"vae", Link("6", 2)},
                           {"negative", Link("4")},
                           {"steps", 1},
                           {"cfg", 1.0},
                           {"sampler_name", "euler"},
                           {"padding", 0},
                           {"mask_blur", 0},
                           {"tile_width", 64},
                           {"tile_height", 64},
                           {"force_uniform_tiles", false}});
  prompt["7"] = ScaleNode("1", "lanczos", width, height);
  prompt["5"] = redraw;
  prompt["3"] = CombineNode("5", true);
  return prompt;
}

TEST_CASE("a clip whose frames are redrawn: each process stays small, and the file is the one made in memory") {
  constexpr int kSmallWidth = 64, kSmallHeight = 40, kCompared = 100;
  const int frames = Asked("ATELIER_CLIP_FRAMES", kCompared);
  const Json prompt = RedrawClipPrompt(kSmallWidth, kSmallHeight);
  ClusterOptions options = Real(DemoModels());
  options.config = Cat("scheduling:\n  window_frames: ", frames > kCompared ? 0 : 7, "\n");
  const std::string made = RunWithDeaths(options, prompt, "by-image", frames, kSmallWidth, 120 + frames * 0.5);
  if (frames > kCompared) return;
  options.config = "scheduling:\n  frames: whole\n";
  Cluster cluster(options);
  std::ofstream(cluster.dir() / "input/clip.mp4", std::ios::binary) << MakeClip(frames, kWidth, kHeight, true);
  StartAttached(cluster, "alone");
  const v1::Job whole = cluster.WaitJob(cluster.Submit(prompt, 0, "by-image"), 120);
  INFO(whole.error());
  CHECK(cluster.OutputHash(whole) == made);
}

}  // namespace
}  // namespace atelier::test
