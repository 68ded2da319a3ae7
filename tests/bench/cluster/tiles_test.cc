// Two equal workers against one on 16 tiles: the real worker with one thread each, the demonstration's model.
#include "common/image/tiles.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <vector>

#include "tests/bench/bench.h"
#include "tests/harness/cluster.h"
#include "worker/session/session.h"

namespace atelier::test {
namespace {

constexpr int kPairs = 3;

Json Prompt(int seed) {
  const auto link = [](const char* node, int slot) { return Json::array({node, slot}); };
  return Json{
      {"1", {{"class_type", "CheckpointLoaderSimple"}, {"inputs", {{"ckpt_name", "demo.safetensors"}}}}},
      {"2", {{"class_type", "CLIPTextEncode"}, {"inputs", {{"clip", link("1", 1)}, {"text", "a pink heart"}}}}},
      {"3", {{"class_type", "CLIPTextEncode"}, {"inputs", {{"clip", link("1", 1)}, {"text", "blurry"}}}}},
      {"4",
       {{"class_type", "EmptyImage"},
        {"inputs", {{"width", 512}, {"height", 512}, {"batch_size", 1}, {"color", 8421504}}}}},
      {"5",
       {{"class_type", "UltimateSDUpscaleDistributed"},
        {"inputs",
         {{"upscaled_image", link("4", 0)},
          {"model", link("1", 0)},
          {"positive", link("2", 0)},
          {"negative", link("3", 0)},
          {"vae", link("1", 2)},
          {"seed", seed},
          {"steps", 5},
          {"cfg", 5.0},
          {"sampler_name", "euler"},
          {"scheduler", "normal"},
          {"denoise", 0.2},
          {"tile_width", 128},
          {"tile_height", 128},
          {"padding", 32},
          {"mask_blur", 8},
          {"force_uniform_tiles", true},
          {"tiled_decode", false}}}}},
      {"6", {{"class_type", "SaveImage"}, {"inputs", {{"images", link("5", 0)}, {"filename_prefix", "tiles"}}}}}};
}

// What the tiles' dependencies allow `workers` equal ones at most, in the order of one GPU: all tiles over the longest
// chain that waits for itself, or over a worker's share.
double MostAllowed(int workers) {
  TileSettings settings;
  settings.tile_width = settings.tile_height = 128;
  const StatusOr<TilePlan> plan = MakeTilePlan(512, 512, settings);
  REQUIRE(plan.ok());
  const StatusOr<TileGraph> graph = MakeTileGraph(*plan, TileOrder::kExact);
  REQUIRE(graph.ok());
  const size_t count = plan->steps.size();
  std::vector<size_t> chain(count, 1);
  for (size_t t = 0; t < count; ++t) {
    for (const int earlier : graph->cut_after[t])
      chain[t] = std::max(chain[t], chain[static_cast<size_t>(earlier)] + 1);
  }
  const size_t share = (count + static_cast<size_t>(workers) - 1) / static_cast<size_t>(workers);
  return static_cast<double>(count) /
         static_cast<double>(std::max(*std::max_element(chain.begin(), chain.end()), share));
}

TEST_CASE("two workers against one on 16 tiles") {
  if (std::thread::hardware_concurrency() < 2) {
    std::printf("two workers against one: skipped (one core)\n");
    return;
  }
  if (!std::filesystem::exists(BinDir() + "/atelier-worker")) {
    std::printf("two workers against one: skipped (no atelier-worker in this build)\n");
    return;
  }
  ClusterOptions options;
  options.worker = "atelier-worker";
  options.models = ATELIER_SOURCE_DIR "/deploy/demo-data/models";
  options.worker_flags = {"--threads", "1", "--device", "cpu"};
  Cluster cluster(options);
  int seed = 0;
  std::string shares;  // of the last job's tiles among the workers
  // Accepted to ended, as `atelier job` tells it. The seeds differ, so that nothing comes out of a worker's cache.
  const auto seconds = [&](const std::string& order) {
    const v1::Job job = cluster.WaitJob(cluster.Submit(Prompt(++seed), 1, order), 600);
    INFO(job.error());
    REQUIRE(job.state() == "done");
    std::map<std::string, int> tiles;
    for (const v1::Task& task : job.tasks())
      if (task.id().find("tiles-") != std::string::npos && !task.worker().empty()) ++tiles[task.worker()];
    shares.clear();
    for (const auto& [worker, count] : tiles) shares += (shares.empty() ? "" : " + ") + std::to_string(count);
    return job.seconds();
  };
  // Each worker alone once, so that both have read the model.
  cluster.StartWorker("a");
  seconds("independent");
  cluster.StartWorker("b");
  REQUIRE(cluster.client().ControlWorker("a", "disable").ok());
  seconds("independent");
  for (const std::string order : {"independent", "exact"}) {
    std::vector<double> ratios, one, two;
    for (int i = 0; i < kPairs; ++i) {
      REQUIRE(cluster.client().ControlWorker("a", "disable").ok());
      one.push_back(seconds(order));
      REQUIRE(cluster.client().ControlWorker("a", "enable").ok());
      two.push_back(seconds(order));
      ratios.push_back(one.back() / two.back());
    }
    char note[160];
    std::snprintf(
        note, sizeof note,
        "median of %d pairs, 1 worker %.2f s, 2 workers %.2f s with %s tiles, order %s, whose waiting allows %.2fx",
        kPairs, bench::Median(one), bench::Median(two), shares.c_str(), order.c_str(),
        order == "exact" ? MostAllowed(2) : 2.0);
    if (order == "independent")
      CHECK(bench::Report("two workers against one on 16 tiles", bench::Median(ratios), "x", bench::Side::kAtLeast, 1.8,
                          note));
    else
      bench::Tell("two workers against one on 16 tiles, exact order", bench::Median(ratios), "x", note);
  }
}

// Tiles that wait instead of computing: what distribution itself costs, whatever else the cores do.
TEST_CASE("two workers against one on 16 tiles that only wait") {
  ClusterOptions options;
  options.catalog = DumpJson(RegisteredCatalog().ToJson());
  Cluster cluster(options);
  int seed = 0;
  const auto seconds = [&] {
    Json prompt = TilePrompt(200);
    prompt["1"]["inputs"]["width"] = prompt["1"]["inputs"]["height"] = 512;
    prompt["2"]["inputs"]["seed"] = ++seed;
    const v1::Job job = cluster.WaitJob(cluster.Submit(prompt, 1, "independent"));
    REQUIRE(job.state() == "done");
    return job.seconds();
  };
  cluster.StartWorker("a");
  seconds();
  std::vector<double> one, two;
  for (int i = 0; i < kPairs; ++i) one.push_back(seconds());
  cluster.StartWorker("b");
  seconds();
  for (int i = 0; i < kPairs; ++i) two.push_back(seconds());
  char note[120];
  std::snprintf(note, sizeof note, "medians of %d, 1 worker %.2f s, 2 workers %.2f s", kPairs, bench::Median(one),
                bench::Median(two));
  CHECK(bench::Report("two workers against one on 16 tiles that wait", bench::Median(one) / bench::Median(two), "x",
                      bench::Side::kAtLeast, 1.8, note));
}

}  // namespace
}  // namespace atelier::test
