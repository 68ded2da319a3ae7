// Tiled redraws by real workers that are killed and join at random: whatever the seed makes of mode, seam passes,
// order, batch and workers, the picture is that of one undisturbed worker. $ATELIER_SCHEDULES (default 3) says how
// many, $ATELIER_SCHEDULES_SEED repeats them.
#include <array>
#include <chrono>
#include <iostream>
#include <map>
#include <random>

#include "tests/fault_real/real.h"
#include "tests/harness/environment.h"
#include "tests/harness/random_schedule.h"

namespace atelier::test {
namespace {

constexpr std::array<const char*, 2> kModes = {"Linear", "Chess"};
constexpr std::array<const char*, 4> kSeams = {"None", "Band Pass", "Half Tile", "Half Tile + Intersections"};
constexpr std::array<const char*, 2> kOrders = {"exact", "independent"};
constexpr std::array<int, 3> kPictures = {1, 2, 5};
constexpr std::array<int, 4> kWorkers = {1, 2, 3, 8};
constexpr int kWorkersMax = 8;

struct Drawn {
  const char* mode;
  const char* seam_fix;
  const char* order;
  int pictures;
  bool uniform;
  std::string Text() const {
    return Cat(mode, ", ", seam_fix, ", ", order, ", ", pictures, " pictures", uniform ? "" : ", unequal tiles");
  }
};

// Six tiles of 64x64, the last row and column cut off, with noise of each step.
Json Prompt(const Drawn& drawn) {
  Json prompt = RedrawPrompt();
  prompt["4"]["inputs"].update({{"width", 168}, {"height", 104}, {"batch_size", drawn.pictures}});
  prompt["5"]["inputs"].update({{"steps", 2},
                                {"tile_width", 64},
                                {"tile_height", 64},
                                {"padding", 16},
                                {"mask_blur", 4},
                                {"force_uniform_tiles", drawn.uniform},
                                {"mode_type", drawn.mode},
                                {"seam_fix_mode", drawn.seam_fix},
                                {"seam_fix_denoise", 1.0},
                                {"seam_fix_width", 32},
                                {"seam_fix_mask_blur", 4},
                                {"seam_fix_padding", 16}});
  return prompt;
}

// Pixels of one worker that nobody disturbs, once for each that is drawn. A single picture in the exact order: of one
// task that does the whole loop by itself, which no plan, crop or blob has a part in.
class UndisturbedRuns {
 public:
  const std::string& Hash(const Drawn& drawn) {
    std::string& hash = hashes_[drawn.Text()];
    if (!hash.empty()) return hash;
    if (cluster_ == nullptr) {
      cluster_ = std::make_unique<Cluster>(Real(DemoModels()));
      StartAttached(*cluster_, "one");
    }
    const bool loop = drawn.pictures == 1 && drawn.order == kOrders[0];
    const v1::Job ended = cluster_->WaitJob(cluster_->Submit(Prompt(drawn), 0, loop ? "by-image" : drawn.order), 180);
    INFO(drawn.Text() << ": " << ended.error());
    REQUIRE(ended.state() == "done");
    CHECK((ended.tasks_total() < 6) == loop);
    return hash = cluster_->PixelHash(ended);
  }
  size_t size() const { return hashes_.size(); }

 private:
  std::unique_ptr<Cluster> cluster_;
  std::map<std::string, std::string> hashes_;
};

TEST_CASE("real workers: random schedules of kills and joins make one worker's picture") {
  const int64_t schedules = FromEnvironment("ATELIER_SCHEDULES", 3);
  const auto seed =
      static_cast<uint64_t>(FromEnvironment("ATELIER_SCHEDULES_SEED", static_cast<int64_t>(std::random_device{}())));
  INFO("ATELIER_SCHEDULES_SEED=" << seed);
  std::cout << "ATELIER_SCHEDULES_SEED=" << seed << std::endl;
  std::mt19937_64 random(seed);
  Disturber disturber(random, 6, 2500, kWorkersMax);
  const auto one_of = [&](const auto& all) {
    return all[static_cast<size_t>(disturber.Pick(0, static_cast<int>(all.size()) - 1))];
  };

  const auto seconds = [begin = std::chrono::steady_clock::now()] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  UndisturbedRuns undisturbed;
  ClusterOptions options = Real(DemoModels());
  // Who is killed at random looks like a task that kills, which is not what this is about.
  options.config =
      "scheduling: {attempts_max: 100, poison_workers: 100, heartbeat_seconds: 0.5}\nmetrics: {listen: ''}\n";
  Cluster cluster(options);
  int64_t differing = 0, failed = 0, tasks = 0;
  for (int64_t n = 0; n < schedules; ++n) {
    const Drawn drawn{one_of(kModes), one_of(kSeams), one_of(kOrders), one_of(kPictures), disturber.Pick(0, 3) > 0};
    const int workers = one_of(kWorkers);
    INFO("schedule " << n << ": " << drawn.Text() << ", " << workers << " workers at first");
    const std::string job =
        disturber.Run(cluster, workers, [&] { return cluster.Submit(Prompt(drawn), 0, drawn.order); });
    const v1::Job ended = cluster.WaitJob(job, 300);
    INFO(ended.error());
    CHECK(ended.state() == "done");
    tasks += ended.tasks_total();
    disturber.End(cluster);
    if (ended.state() != "done") {
      ++failed;
      continue;
    }
    const bool same = cluster.PixelHash(ended) == undisturbed.Hash(drawn);
    CHECK(same);
    differing += same ? 0 : 1;
    // One line each: a run that is cut off has told what it found.
    std::cout << "  " << n + 1 << "/" << schedules << " after " << static_cast<int>(seconds()) << " s: " << drawn.Text()
              << ", " << workers << " workers: " << (same ? "same" : "DIFFERS") << std::endl;
  }
  std::cout << "schedules of real workers: " << schedules << " of " << undisturbed.size() << " kinds ("
            << disturber.kills << " kills, " << disturber.joins << " joins, " << tasks << " tasks) in "
            << static_cast<int>(seconds()) << " s: " << failed << " failed, " << differing << " differing" << std::endl;
}

}  // namespace
}  // namespace atelier::test
