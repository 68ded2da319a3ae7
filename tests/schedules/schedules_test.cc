// Tiled jobs under random schedules of workers that are killed and join: each order has one picture, and that of the
// exact order is what a loop over the steps draws in this process, without a cluster.
// $ATELIER_SCHEDULES (default 20) says how many, $ATELIER_SCHEDULES_SEED repeats them.
#include <array>
#include <catch2/catch.hpp>
#include <chrono>
#include <iostream>
#include <random>

#include "common/base/hash.h"
#include "common/executor/executor.h"
#include "master/collect/canvas.h"
#include "master/control/tile_stage.h"
#include "tests/harness/cluster.h"
#include "tests/harness/environment.h"
#include "tests/harness/random_schedule.h"
#include "worker/session/session.h"

namespace atelier::test {
namespace {

struct Work {
  const char* mode;
  const char* seam_fix;
  int pictures;
};
constexpr std::array<Work, 4> kWorks = {{{"Linear", "None", 1},
                                         {"Chess", "Half Tile + Intersections", 1},
                                         {"Linear", "Band Pass", 5},
                                         {"Chess", "None", 5}}};
constexpr std::array<const char*, 2> kOrders = {"exact", "independent"};
constexpr std::array<int, 4> kWorkers = {1, 2, 3, 8};

Json Prompt(const Work& work, int delay_ms) {
  Json prompt = TilePrompt(delay_ms);
  prompt["1"]["inputs"]["width"] = 320;
  prompt["1"]["inputs"]["height"] = 192;
  prompt["1"]["inputs"]["batch_size"] = work.pictures;
  prompt["2"]["inputs"]["tile_width"] = prompt["2"]["inputs"]["tile_height"] = 64;
  prompt["2"]["inputs"]["padding"] = 16;
  prompt["2"]["inputs"]["mode_type"] = work.mode;
  prompt["2"]["inputs"]["seam_fix_mode"] = work.seam_fix;
  return prompt;
}

class Host : public ExecutorHost {
 public:
  StatusOr<std::shared_ptr<const std::string>> Blob(const std::string&) override { return crop; }
  StatusOr<std::string> ModelPath(std::string_view, std::string_view) override { return NotFound("no models"); }
  std::string ModelIdentity(std::string_view, std::string_view) override { return ""; }
  bool cancelled() const override { return false; }
  void Progress(const std::string&, int64_t, int64_t, const std::function<std::string()>&) override {}
  void Warn(const std::string&, const std::string&) override {}
  double Seconds() const override { return 0; }

  std::shared_ptr<const std::string> crop;
};

std::string RunNode(Host& host, const Json& nodes, const std::string& id, std::vector<Fragment::Binding> bindings) {
  Fragment fragment;
  fragment.nodes = nodes;
  fragment.bindings = std::move(bindings);
  fragment.wanted = {{id, 0, "u8"}};
  Executor executor;
  const StatusOr<FragmentResult> result = executor.Run(fragment, host);
  INFO(Message(result.status()));
  REQUIRE(result.ok());
  return result->blobs.at(0);
}

// The picture of a loop over the steps: cut, redrawn and pasted before the next; in the independent order all steps of
// a phase are cut before the first of them is pasted.
std::string Sequential(const Work& work, const std::string& order) {
  const Json prompt = Prompt(work, 0);
  Host host;
  const std::string start = RunNode(host, {{"1", prompt.at("1")}}, "1", {});
  StatusOr<Canvas> canvas = Canvas::FromBlob(start);
  REQUIRE(canvas.ok());
  Json inputs = prompt.at("2").at("inputs");
  inputs.erase("upscaled_image");
  const TileSplit split{.tile_node = "UltimateSDUpscaleTile", .image_input = "upscaled_image"};
  const auto stage = PlanTileStage(inputs, split, order, false, canvas->width(), canvas->height());
  REQUIRE(stage.ok());
  const auto phase = [&](size_t s) { return stage->plan.tiles[static_cast<size_t>(stage->plan.steps[s][0])].phase; };
  const size_t count = stage->plan.steps.size();
  for (size_t s = 0; s < count;) {
    size_t end = s + 1;
    while (order == "independent" && end < count && phase(end) == phase(s)) ++end;
    std::vector<std::string> crops;
    for (size_t i = s; i < end; ++i) {
      const int tile = stage->plan.steps[i][0];
      const auto crop = canvas->Cut(stage->plan.tiles[static_cast<size_t>(tile)].crop);
      REQUIRE(crop.ok());
      crops.push_back(*crop);
    }
    for (size_t i = s; i < end; ++i) {
      host.crop = std::make_shared<const std::string>(crops[i - s]);
      Json node_inputs = inputs;
      for (const auto& [name, value] : stage->graph.tiles[i].hidden.items()) node_inputs[name] = value;
      const Json nodes{{"2", {{"class_type", split.tile_node}, {"inputs", node_inputs}}}};
      const std::string redrawn = RunNode(host, nodes, "2", {{"2", "upscaled_image", {"crop"}, false}});
      REQUIRE(canvas->Paste(stage->plan, stage->plan.steps[i], redrawn).ok());
    }
    s = end;
  }
  Sha256 hash;
  for (const ImageU8& image : canvas->images())
    hash.Update({reinterpret_cast<const char*>(image.data.data()), image.data.size()});
  return hash.HexDigest();
}

TEST_CASE("random schedules of workers that are killed and join") {
  const int64_t schedules = FromEnvironment("ATELIER_SCHEDULES", 20);
  const auto seed =
      static_cast<uint64_t>(FromEnvironment("ATELIER_SCHEDULES_SEED", static_cast<int64_t>(std::random_device{}())));
  INFO("ATELIER_SCHEDULES_SEED=" << seed);
  std::cout << "ATELIER_SCHEDULES_SEED=" << seed << std::endl;
  std::mt19937_64 random(seed);
  Disturber disturber(random, 8, 200, 8);

  std::array<std::array<std::string, kOrders.size()>, kWorks.size()> expected;
  for (size_t w = 0; w < kWorks.size(); ++w) {
    for (size_t o = 0; o < kOrders.size(); ++o) expected[w][o] = Sequential(kWorks[w], kOrders[o]);
    CHECK(expected[w][0] != expected[w][1]);  // the orders are different pictures
  }

  const auto begin = std::chrono::steady_clock::now();
  ClusterOptions options;
  options.catalog = DumpJson(RegisteredCatalog().ToJson());
  // Who is killed at random looks like a task that kills, which is not what this is about.
  options.config =
      "scheduling: {attempts_max: 100, poison_workers: 100, heartbeat_seconds: 0.5}\nmetrics: {listen: ''}\n";
  Cluster cluster(options);
  int64_t differing = 0, failed = 0, tiles = 0;
  for (int64_t n = 0; n < schedules; ++n) {
    // Every work and order in turn, so that few schedules meet them all.
    const size_t w = static_cast<size_t>(n) % kWorks.size();
    const size_t o = static_cast<size_t>(n) / kWorks.size() % kOrders.size();
    const int workers = kWorkers[static_cast<size_t>(disturber.Pick(0, kWorkers.size() - 1))];
    const std::string job =
        disturber.Run(cluster, workers, [&] { return cluster.Submit(Prompt(kWorks[w], 20), 0, kOrders[o]); });
    const v1::Job ended = cluster.WaitJob(job, 180);
    INFO("schedule " << n << ": " << kWorks[w].mode << ", " << kWorks[w].seam_fix << ", " << kWorks[w].pictures
                     << " pictures, " << kOrders[o] << ", " << workers << " workers at first: " << ended.error());
    CHECK(ended.state() == "done");
    tiles += ended.tasks_total();
    if (ended.state() != "done") {
      ++failed;
    } else {
      const std::string hash = cluster.PixelHash(ended);
      CHECK(hash == expected[w][o]);
      differing += hash == expected[w][o] ? 0 : 1;
    }
    disturber.End(cluster);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::cout << "schedules: " << schedules << " (" << disturber.kills << " kills, " << disturber.joins << " joins, "
            << tiles << " tasks) in " << static_cast<int>(seconds) << " s: " << failed << " failed, " << differing
            << " differing" << std::endl;
}

}  // namespace
}  // namespace atelier::test
