// A video loaded, enlarged and encoded, against the ffmpeg command doing the same: codec, preset, quality and the
// encoder's threads are equal. docs/bench.md.
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/bench/bench.h"
#include "tests/fault_real/real.h"
#include "tests/frames/clip.h"
#include "tests/frames/prompts.h"

namespace atelier::test {
namespace {

constexpr int kFrames = 600, kWidth = 320, kHeight = 180, kRounds = 3;

Json Prompt(int round) {
  return {{"1", LoadNode()},
          {"2", ScaleNode("1", "bicubic", 2 * kWidth, 2 * kHeight)},
          {"3", CombineNode("2", false, {{"crf", 19}, {"filename_prefix", "round" + std::to_string(round)}})}};
}

TEST_CASE("frames a second of load, scale and encode against ffmpeg") {
  if (std::system("ffmpeg -version > /dev/null 2>&1") != 0) {
    std::printf("load, scale and encode: skipped (no ffmpeg command)\n");
    return;
  }
  for (const char* mode : {"auto", "windows"}) {
    ClusterOptions options;
    options.worker = "atelier-worker";
    options.worker_flags = {"--device", "cpu"};
    options.config = Cat("scheduling:\n  frames: ", mode, "\n");
    Cluster cluster(options);
    const std::string clip = cluster.dir() / "input/clip.mp4";
    std::ofstream(clip, std::ios::binary) << MakeClip(kFrames, kWidth, kHeight, false);
    StartAttached(cluster, "a");
    const std::string command =
        Cat("ffmpeg -v error -y -i ", clip, " -vf scale=", 2 * kWidth, ":", 2 * kHeight,
            ":flags=bicubic -c:v libx264 -preset medium -crf 19 -threads 4 -pix_fmt yuv420p ", cluster.dir() / "out.mp4");
    std::vector<double> ours, theirs;
    for (int round = 0; round < kRounds; ++round) {  // in turns, so that the machine's load falls on both
      const auto begin = bench::Clock::now();
      REQUIRE(std::system(command.c_str()) == 0);
      theirs.push_back(kFrames / bench::Since(begin));
      const v1::Job job = cluster.WaitJob(cluster.Submit(Prompt(round)), 600);
      INFO(job.error());
      REQUIRE(job.state() == "done");
      ours.push_back(kFrames / job.seconds());
    }
    char note[200];
    std::snprintf(note, sizeof note, "%d frames of %dx%d to %dx%d, H.264 medium, medians of %d: %.0f against %.0f frames/s",
                  kFrames, kWidth, kHeight, 2 * kWidth, 2 * kHeight, kRounds, bench::Median(ours), bench::Median(theirs));
    const double ratio = bench::Median(ours) / bench::Median(theirs);
    if (mode == std::string("auto"))
      CHECK(bench::Report("load, scale, encode against ffmpeg", ratio, "x", bench::Side::kAtLeast, 0.7, note));
    else
      bench::Tell("... with stored windows, one worker", ratio, "x", note);
  }
}

}  // namespace
}  // namespace atelier::test
