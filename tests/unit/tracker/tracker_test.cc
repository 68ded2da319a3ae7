#include "master/models/tracker.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <random>

namespace atelier {
namespace {

constexpr size_t kChunks = 256;

struct World {
  explicit World(TrackerOptions options = {}) : tracker(options) {}
  ModelTracker::Question Ask(const std::string& worker) {
    ModelTracker::Question question;
    question.worker = worker;
    question.hash = "h";
    question.have = have[worker];
    question.master_has = master_has;
    question.whole = whole;
    for (const auto& [name, bits] : have)
      if (dialled.contains(name) || all_dialled) question.reachable.insert(name);
    return question;
  }
  ModelTracker tracker;
  std::map<std::string, std::vector<bool>> have;
  std::set<std::string> dialled, whole;
  bool all_dialled = true, master_has = true;
};

// Workers with `slots` chunks in flight each; every source delivers in random order.
struct Result {
  size_t from_master = 0, from_peers = 0, rounds = 0;
};
Result Simulate(World& world, const std::vector<std::string>& workers, int slots, unsigned seed) {
  struct Flight {
    std::string worker, source;
    size_t index;
  };
  std::mt19937 random(seed);
  std::vector<Flight> flights;
  std::map<std::string, int> busy;
  Result result;
  for (const std::string& name : workers) world.have[name].assign(kChunks, false);
  int64_t now = 0;
  for (;;) {
    ++result.rounds;
    bool all = true, moved = false;
    for (size_t turn = 0; turn < 2 * workers.size(); ++turn) {  // who waits is woken by the questions of others
      const std::string& name = workers[turn % workers.size()];
      const auto& have = world.have[name];
      if (std::find(have.begin(), have.end(), false) == have.end()) {
        world.tracker.Next(world.Ask(name), now);  // it tells that it has all
        continue;
      }
      all = false;
      while (busy[name] < slots) {
        const auto answer = world.tracker.Next(world.Ask(name), now);
        if (answer.kind != ModelTracker::Answer::kFetch) {
          REQUIRE(answer.kind == ModelTracker::Answer::kWait);
          break;
        }
        REQUIRE_FALSE(have[answer.index]);
        if (!answer.source.empty()) REQUIRE(world.have[answer.source][answer.index]);
        flights.push_back({name, answer.source, answer.index});
        ++busy[name];
        moved = true;
      }
    }
    if (all) return result;
    REQUIRE((moved || !flights.empty()));  // never stuck
    const size_t which = random() % flights.size();
    const Flight flight = flights[which];
    flights.erase(flights.begin() + static_cast<std::ptrdiff_t>(which));
    REQUIRE_FALSE(world.have[flight.worker][flight.index]);  // nothing is fetched twice
    world.have[flight.worker][flight.index] = true;
    --busy[flight.worker];
    ++(flight.source.empty() ? result.from_master : result.from_peers);
    ++now;
  }
}

TEST_CASE("each chunk leaves the master once, however many workers want it") {
  for (const size_t count : {1u, 2u, 4u, 8u}) {
    std::vector<std::string> workers;
    for (size_t i = 0; i < count; ++i) workers.push_back("w" + std::to_string(i));
    World world;
    const Result result = Simulate(world, workers, 3, static_cast<unsigned>(count));
    INFO(count << " workers");
    CHECK(result.from_master == kChunks);
    CHECK(result.from_peers == kChunks * (count - 1));
  }
}

TEST_CASE("workers that cannot be dialled get everything from the master, and help nobody") {
  World world;
  world.all_dialled = false;
  world.dialled = {"w0"};
  const Result result = Simulate(world, {"w0", "w1"}, 3, 5);
  CHECK(result.from_master >= kChunks);
  CHECK(result.from_master + result.from_peers == 2 * kChunks);
  World none;
  none.all_dialled = false;
  CHECK(Simulate(none, {"w0", "w1"}, 3, 5).from_master == 2 * kChunks);
}

TEST_CASE("who has the whole file gives it; the master is asked only where he gave other bytes") {
  World world;
  world.have["seed"].assign(kChunks, true);
  world.whole = {"seed"};
  world.have["w"].assign(kChunks, false);
  auto answer = world.tracker.Next(world.Ask("w"), 0);
  REQUIRE(answer.kind == ModelTracker::Answer::kFetch);
  CHECK(answer.source == "seed");
  auto question = world.Ask("w");
  question.faults = {{answer.index, "seed", true}};
  for (size_t i = 0; i < kChunks; ++i) question.have[i] = i != answer.index;
  const auto again = world.tracker.Next(question, 1);
  REQUIRE(again.kind == ModelTracker::Answer::kFetch);
  CHECK(again.source.empty());
  CHECK(again.index == answer.index);
  question.faults = {{answer.index, "", true}};
  CHECK(world.tracker.Next(question, 2).kind == ModelTracker::Answer::kDamaged);
  // Once nobody fetches the file, all is forgotten.
  world.tracker.Forget("w");
  question.faults = {};
  CHECK(world.tracker.Next(question, 3).source == "seed");
}

TEST_CASE("a peer that does not answer is left out for whom it did not answer") {
  World world;
  world.have["seed"].assign(kChunks, true);
  world.whole = {"seed"};
  world.have["w"].assign(kChunks, false);
  world.have["v"].assign(kChunks, false);
  auto question = world.Ask("w");
  question.faults = {{0, "seed", false}};
  CHECK(world.tracker.Next(question, 0).source.empty());
  CHECK(world.tracker.Next(world.Ask("v"), 0).source == "seed");
  CHECK(world.tracker.Next(world.Ask("w"), 60'000).source == "seed");
}

TEST_CASE("a chunk on its way to one who has gone quiet is fetched by others") {
  World world;
  for (const char* name : {"a", "b"}) {
    world.have[name].assign(2, false);
    world.have[name][1] = true;
  }
  CHECK(world.tracker.Next(world.Ask("a"), 0).kind == ModelTracker::Answer::kFetch);
  CHECK(world.tracker.Next(world.Ask("b"), 1).kind == ModelTracker::Answer::kWait);  // it comes to a
  CHECK(world.tracker.Next(world.Ask("b"), 60'001).kind == ModelTracker::Answer::kFetch);
  world.tracker.Forget("b");
  world.tracker.Forget("a");
  CHECK(world.tracker.Next(world.Ask("a"), 60'002).kind == ModelTracker::Answer::kFetch);
  world.tracker.Forget("a");
  CHECK(world.tracker.Next(world.Ask("b"), 60'003).kind == ModelTracker::Answer::kFetch);
}

TEST_CASE("a file that nobody has any more ends the question") {
  World world;
  world.master_has = false;
  world.have["w"].assign(kChunks, false);
  CHECK(world.tracker.Next(world.Ask("w"), 0).kind == ModelTracker::Answer::kNobody);
}

}  // namespace
}  // namespace atelier
