// Peak memory of the worker over a job with a checkpoint of Stable Diffusion 1.5's size (fp16, noise for weights):
// VmHWM of its process from the start to the end of a picture of 512x512, against the file plus the activations.
#include <catch2/catch.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "common/json/json.h"
#include "tests/bench/bench.h"
#include "tests/bench/models/sd15_file.h"
#include "tests/fault_real/real.h"

namespace atelier::test {
namespace {

constexpr int64_t kSide = 512, kSteps = 2;
constexpr const char* kThreads = "2";

// Kilobytes of a line of /proc/PID/status, in bytes.
int64_t StatusBytes(pid_t pid, const std::string& key) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(key + ":")) return std::stoll(line.substr(key.size() + 1)) * 1024;
  return 0;
}

double Mb(int64_t bytes) { return static_cast<double>(bytes) / 1e6; }

TEST_CASE("peak memory of a checkpoint job") {
  const TempDir dir;
  std::filesystem::create_directories(dir / "checkpoints");
  const int64_t bytes = bench::Sd15File().Write(dir / "checkpoints/sd15.safetensors");
  INFO("a temporary folder with 2.2 GB free is needed; name one with TMPDIR");
  REQUIRE(bytes > 2'000'000'000);

  Process counted(
      {BinDir() + "/activations_bench", dir / "checkpoints/sd15.safetensors", std::to_string(kSide), kThreads},
      dir / "activations.log");
  REQUIRE(counted.WaitEnd(900));
  INFO(counted.Log());
  REQUIRE(counted.exit_code() == 0);
  const Json peaks = ParseJson(counted.Log()).value();
  int64_t activations = 0;
  for (const auto& [name, peak] : peaks.items()) activations = std::max(activations, peak.get<int64_t>());

  ClusterOptions options = Real(dir.path().string());
  options.worker_flags = {"--device", "cpu", "--threads", kThreads};
  Cluster cluster(options);
  Process& worker = StartAttached(cluster, "w1");
  const int64_t idle = StatusBytes(worker.pid(), "VmHWM");
  Json prompt = PicturePrompt(kSteps, 5, "sd15.safetensors");
  prompt["4"]["inputs"]["width"] = prompt["4"]["inputs"]["height"] = kSide;
  const auto begin = bench::Clock::now();
  const v1::Job ended = cluster.WaitJob(cluster.Submit(prompt), 900);
  REQUIRE(ended.state() == "done");
  const double seconds = bench::Since(begin);
  const int64_t peak = StatusBytes(worker.pid(), "VmHWM");
  REQUIRE(peak > idle);
  char note[200];
  std::snprintf(note, sizeof note,
                "VmHWM %.0f MB, the idle worker's %.0f; file %.0f MB; activations %.0f MB; %d steps of %dx%d in %.0f s",
                Mb(peak), Mb(idle), Mb(bytes), Mb(activations), static_cast<int>(kSteps), static_cast<int>(kSide),
                static_cast<int>(kSide), seconds);
  CHECK(bench::Report("peak memory of a checkpoint job",
                      static_cast<double>(peak - activations) / static_cast<double>(bytes),
                      "x the file, less activations", bench::Side::kAtMost, 1.5, note));
}

}  // namespace
}  // namespace atelier::test
