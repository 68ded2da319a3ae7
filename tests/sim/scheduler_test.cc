// What the scheduler promises, one scenario each, in the simulator.
#include <catch2/catch.hpp>
#include <cmath>

#include "tests/sim/mixes.h"
#include "tests/sim/sim.h"

namespace atelier::sim {
namespace {

Scenario Of(std::vector<double> tile_seconds, int columns, int rows) {
  Scenario scenario;
  for (const double seconds : tile_seconds) {
    SimWorker worker;
    worker.tile_seconds = seconds;
    scenario.workers.push_back(worker);
  }
  SimJob job;
  job.columns = columns;
  job.rows = rows;
  scenario.jobs = {job};
  return scenario;
}

TEST_CASE("scheduler: a run follows from its seed") {
  const Scenario storm = RandomStorm(7);
  const Outcome a = Run(storm), b = Run(storm);
  CHECK(a.seconds == b.seconds);
  CHECK(a.leases == b.leases);
  CHECK(a.first_lease_ms == b.first_lease_ms);
}

TEST_CASE("scheduler: a worker that would end the last tiles later than the others do gets none") {
  const Outcome outcome = Run(Of({1, 1, 20}, 4, 4));  // the two fast ones need 8 s, the slow one 20 for one tile
  CHECK(outcome.seconds[0] == Approx(8).margin(0.2));
  CHECK(outcome.first_lease_ms[2] <= 200);  // at most the tasks beside the tiles, which cost nothing
  CHECK(outcome.leases <= 16 + 4);
}

TEST_CASE("scheduler: transfers hide behind the work before them") {
  Scenario scenario = Of({1}, 5, 4);
  scenario.crop_bytes = 40'000'000;  // 0.4 s each way for a tile of 1 s
  const Outcome outcome = Run(scenario);
  // Only the first way there and the last way back are seen.
  CHECK(outcome.seconds[0] < 20 + 2 * 0.4 + 0.3);
}

TEST_CASE("scheduler: a worker that joins in mid-job has a tile within a second") {
  Scenario scenario = Of({2, 2, 2}, 8, 8);
  scenario.workers[2].joins_ms = 10'300;
  scenario.workers[2].known = false;
  const Outcome outcome = Run(scenario);
  REQUIRE(outcome.first_lease_ms[2] != kNever);
  CHECK(outcome.first_lease_ms[2] - 10'300 < 1000);
  const double alone = Run(Of({2, 2}, 8, 8)).seconds[0];
  CHECK(outcome.seconds[0] < 0.8 * alone);
}

TEST_CASE("scheduler: the tile of a worker that nobody knows is nobody's loss") {
  Scenario scenario = Of({1, 1}, 4, 4);
  const double alone = Run(scenario).seconds[0];
  SimWorker slow;
  slow.tile_seconds = 20;
  slow.known = false;
  for (const int64_t joins_ms : {100, 2500, 5100, 6900}) {
    slow.joins_ms = joins_ms;
    scenario.workers.resize(2);
    scenario.workers.push_back(slow);
    CHECK(Run(scenario).seconds[0] <= 1.02 * alone);
  }
}

TEST_CASE("scheduler: workers of nearly one speed do not wait for each other") {
  const Scenario mix = RandomMix(9752, "independent", "Linear");  // 16 within 1 %
  CHECK(Run(mix).seconds[0] <= 1.01 * WholeTilesBound(mix));
}

TEST_CASE("scheduler: the bound for chains is one") {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    const Scenario mix = RandomMix(seed, "exact", seed % 2 == 0 ? "Chess" : "Linear");
    CHECK(ChainBound(mix) >= LowerBound(mix));
    CHECK(ChainBound(mix) <= EarliestFinish(mix));
  }
  Scenario alone = Of({2}, 4, 3);
  alone.jobs[0].order = "exact";
  CHECK(ChainBound(alone) == Approx(24));
}

TEST_CASE("scheduler: a slow worker gets no tile that a chain of others waits for") {
  Scenario scenario = Of({1, 8}, 8, 6);
  scenario.jobs[0].order = "exact";
  CHECK(Run(scenario).seconds[0] <= 1.01 * 48);  // the fast one alone
  scenario.jobs[0].mode = "Chess";
  CHECK(Run(scenario).seconds[0] <= 1.02 * EarliestFinish(scenario));
}

TEST_CASE("scheduler: a worker whose steps stand still loses its lease after three times the step time") {
  Scenario scenario = Of({8, 8}, 8, 4);  // steps of 2 s
  scenario.hung_ms_min = 1000;
  scenario.workers[1].hangs_ms = 37'000;  // of the tile from 32 s to 40 s, two steps were told
  const Outcome outcome = Run(scenario);
  CHECK(outcome.seconds[0] > 0);
  REQUIRE(outcome.drained_ms[1] != kNever);
  // The last step was told at 36 s, and the clock is looked at each second.
  CHECK(outcome.drained_ms[1] >= 36'000 + 6'000);
  CHECK(outcome.drained_ms[1] <= 36'000 + 6'000 + 1'500);
  CHECK(outcome.pasted == 32);
}

TEST_CASE("scheduler: the tail is copied to an idle faster worker, and the loser is cancelled") {
  Scenario scenario = Of({1, 1}, 5, 4);
  scenario.workers[1].drifts_ms = 8'200;  // in the middle of a tile it becomes twenty times slower
  scenario.workers[1].drift = 20;
  const Outcome with = Run(scenario);
  scenario.copy = false;
  const Outcome without = Run(scenario);
  CHECK(with.copies > 0);
  CHECK(with.seconds[0] < 14);
  CHECK(without.seconds[0] > 20);
}

TEST_CASE("scheduler: model loads are not learned as speed") {
  Scenario scenario = Of({1, 1}, 6, 6);
  for (SimWorker& worker : scenario.workers) {
    worker.known = false;
    worker.load_seconds = 10;
  }
  const Outcome outcome = Run(scenario);
  CHECK(outcome.seconds[0] < 10 + 18 + 1.5);
}

TEST_CASE("scheduler: submitters share the cluster, and a small job does not wait for a large one") {
  Scenario scenario = Of({1, 1, 1, 1}, 20, 20);
  SimJob small;
  small.submitter = std::string("b");
  small.columns = small.rows = 4;
  small.at_ms = 20'000;
  scenario.jobs.push_back(small);
  const Outcome outcome = Run(scenario);
  // Half of the cluster; three times it waits for what workers hold already: before its tiles, with them, after them.
  CHECK(outcome.seconds[1] < 2 * 16.0 / 4 + 4);
  CHECK(outcome.seconds[0] < 416.0 / 4 + 2);  // and nobody idle meanwhile
}

TEST_CASE("scheduler: a higher priority goes first") {
  Scenario scenario = Of({1, 1}, 10, 10);
  SimJob urgent;
  urgent.columns = urgent.rows = 4;
  urgent.at_ms = 10'000;
  urgent.priority = 1;
  scenario.jobs.push_back(urgent);
  const Outcome outcome = Run(scenario);
  CHECK(outcome.seconds[1] < 8 + 5.5);  // behind what was held already: its first task, its tiles, its last task
}

TEST_CASE("scheduler: a task goes only where its largest model fits, else where it is streamed") {
  Scenario scenario = Of({1, 5}, 4, 2);
  scenario.jobs[0].model_bytes = 6ULL << 30;
  scenario.workers[0].memory_bytes = 4ULL << 30;
  scenario.workers[1].memory_bytes = 8ULL << 30;
  const Outcome fits = Run(scenario);
  CHECK(fits.seconds[0] == Approx(40).margin(1));  // all on the slow one
  // Nobody has the room: it is streamed.
  scenario.workers.pop_back();
  CHECK(Run(scenario).seconds[0] > 0);
}

}  // namespace
}  // namespace atelier::sim
