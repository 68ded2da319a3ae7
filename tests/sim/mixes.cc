#include "tests/sim/mixes.h"

#include <algorithm>
#include <cmath>

namespace atelier::sim {
namespace {

constexpr int kTilesMax = 1200;

class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed * 0x9e3779b97f4a7c15ULL + 1) {}
  double Uniform(double low, double high) { return std::uniform_real_distribution<double>(low, high)(random_); }
  double LogUniform(double low, double high) { return std::exp(Uniform(std::log(low), std::log(high))); }
  bool Chance(double p) { return Uniform(0, 1) < p; }

 private:
  std::mt19937_64 random_;
};

void SetGrid(SimJob& job, double tiles) {
  const double count = std::min<double>(tiles, kTilesMax);
  job.columns = std::max(1, static_cast<int>(std::lround(std::sqrt(count * 1.5))));
  job.rows = static_cast<int>(std::ceil(count / job.columns));
}

}  // namespace

Scenario RandomMix(uint64_t seed, const char* order, const char* mode) {
  Dice dice(seed);
  Scenario scenario;
  scenario.seed = seed;
  const auto workers = static_cast<size_t>(std::floor(dice.LogUniform(2, 25)));
  const double spread = dice.LogUniform(1, 20);  // of the slowest against the fastest
  for (size_t w = 0; w < workers; ++w) {
    SimWorker worker;
    worker.tile_seconds = w == 0 ? 1 : w == 1 ? spread : dice.LogUniform(1, spread);
    scenario.workers.push_back(worker);
  }
  SimJob job;
  job.order = order;
  job.mode = mode;
  job.work = dice.LogUniform(1, 10);
  SetGrid(job, static_cast<double>(workers) * dice.LogUniform(8, 64));
  scenario.jobs = {job};
  return scenario;
}

SimWorker RandomWorker(uint64_t seed) {
  Dice dice(seed ^ 0xabcdef);
  SimWorker worker;
  worker.tile_seconds = dice.LogUniform(1, 20);
  return worker;
}

Scenario RandomStorm(uint64_t seed) {
  Scenario scenario = RandomMix(seed, seed % 3 == 0 ? "independent" : "exact", seed % 2 == 0 ? "Chess" : "Linear");
  Dice dice(seed ^ 0x5707);
  scenario.shared_bytes = static_cast<uint64_t>(dice.LogUniform(1, 2e8));
  const double ms = LowerBound(scenario) * 1000;
  for (size_t w = 0; w < scenario.workers.size(); ++w) {
    SimWorker& worker = scenario.workers[w];
    worker.noise = dice.Uniform(0, 0.3);
    worker.load_seconds = dice.LogUniform(0.1, 30);
    worker.known = dice.Chance(0.5);
    if (w == 0) continue;
    const auto when = [&] { return static_cast<int64_t>(dice.Uniform(0, ms)); };
    if (dice.Chance(0.3)) worker.joins_ms = when();
    if (dice.Chance(0.2)) worker.dies_ms = worker.joins_ms + when();
    if (dice.Chance(0.1)) worker.hangs_ms = worker.joins_ms + when();
    if (dice.Chance(0.3)) {
      worker.drifts_ms = worker.joins_ms + when();
      worker.drift = dice.LogUniform(0.3, 6);
    }
  }
  return scenario;
}

}  // namespace atelier::sim
