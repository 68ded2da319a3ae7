#include <catch2/catch.hpp>
#include <cmath>

#include "master/policy/placement.h"
#include "master/policy/shares.h"
#include "master/policy/speeds.h"

namespace atelier {
namespace {

TEST_CASE("speeds: learned for a pair, estimated for others from what workers share") {
  SpeedBook book;
  const int a = book.Worker("a", "gpu"), b = book.Worker("b", "cpu"), c = book.Worker("c", "other");
  const int small = book.Acquire("small"), large = book.Acquire("large");
  CHECK_FALSE(book.Seconds(a, small).has_value());
  book.Observe(a, small, 2, false);
  book.Observe(b, small, 10, false);
  book.Observe(a, large, 8, false);
  CHECK(book.Seconds(a, small) == Approx(2));
  CHECK(book.Seconds(b, large) == Approx(40).epsilon(0.01));  // five times slower, as with the small ones
  CHECK_FALSE(book.Measured(b, large));
  CHECK_FALSE(book.Tested(c, small));
  CHECK(book.Seconds(c, small) == Approx(10).epsilon(0.01));  // of whom nothing is known: as the slowest
  book.Observe(a, small, 4, false);
  CHECK(book.Seconds(a, small) == Approx(2.6));  // a new figure weighs 0.3
}

TEST_CASE("speeds: a rough figure gives way to an exact one, never the other way round") {
  SpeedBook book;
  const int a = book.Worker("a", ""), kind = book.Acquire("k");
  book.Observe(a, kind, 30, true);
  CHECK_FALSE(book.Measured(a, kind));
  book.Observe(a, kind, 2, false);
  CHECK(book.Seconds(a, kind) == Approx(2));
  book.Observe(a, kind, 30, true);
  CHECK(book.Seconds(a, kind) == Approx(2));
}

TEST_CASE("speeds: the longest gap between steps is kept and slowly forgotten") {
  SpeedBook book;
  const int a = book.Worker("a", ""), kind = book.Acquire("k");
  book.ObserveGap(a, kind, 3);
  book.ObserveGap(a, kind, 1);
  CHECK(*book.Gap(a, kind) == Approx(3 - 0.02 * 2));
}

TEST_CASE("speeds: they survive a restart, damaged ones are refused") {
  SpeedBook book;
  const int a = book.Worker("a", "gpu"), b = book.Worker("b", "cpu");
  const int kind = book.Acquire("k"), other = book.Acquire("l");
  book.Observe(a, kind, 2, false);
  book.Observe(b, kind, 6, false);
  book.Observe(a, other, 1, true);
  book.ObserveGap(a, kind, 0.5);
  book.ObserveLoad(a, "m", 12);
  book.ObserveTransfer(b, 1'000'000, 0.5);
  auto again = SpeedBook::FromJson(book.ToJson());
  REQUIRE(again.ok());
  CHECK(again->ToJson() == book.ToJson());
  const int a2 = again->Worker("a", "gpu"), b2 = again->Worker("b", "cpu");
  CHECK(again->SecondsOf(b2, "k") == Approx(6));
  CHECK(again->SecondsOf(b2, "l") == Approx(*book.Seconds(b, other)));
  CHECK(again->Load(a2, "m") == Approx(12));
  CHECK(again->Load(b2, "m") == Approx(12));  // the mean of others
  CHECK(again->Transfer(b2, 4'000'000) == Approx(2));
  CHECK_FALSE(SpeedBook::FromJson(Json{{"workers", 3}}).ok());
}

TEST_CASE("speeds: kinds are bounded; those in use stay") {
  SpeedBook book;
  const int a = book.Worker("a", "");
  const int used = book.Acquire("used");
  book.Observe(a, used, 5, false);
  for (size_t i = 0; i < 2 * SpeedBook::kKindsMax; ++i) {
    const int kind = book.Acquire("kind " + std::to_string(i));
    REQUIRE(kind != SpeedBook::kNone);
    book.Observe(a, kind, 1, false);
    book.Release(kind);
  }
  CHECK(book.Seconds(a, used) == Approx(5));
  CHECK_FALSE(book.SecondsOf(a, "kind 0").has_value());
}

struct Fleet {
  explicit Fleet(std::vector<std::pair<double, double>> free_and_seconds) : free(free_and_seconds.size()) {
    for (size_t i = 0; i < free.size(); ++i) {
      free[i] = free_and_seconds[i].first;
      seats.push_back({&free[i], free_and_seconds[i].second, 0, &free[i]});
    }
  }
  const void* who(size_t i) const { return &free[i]; }
  std::vector<double> free;
  std::vector<policy::Seat> seats;
};

TEST_CASE("placement: a worker takes a task unless the others end all that is left sooner") {
  const Fleet fleet({{0, 1}, {0, 20}});
  CHECK(policy::EndedBy(fleet.seats, nullptr, 0, 20, 100) == 21);
  CHECK(policy::EndedBy(fleet.seats, fleet.who(1), 0, 20, 100) == 20);
  CHECK_FALSE(policy::Takes(fleet.seats, fleet.who(1), 0, 20, 19));
  CHECK(policy::Takes(fleet.seats, fleet.who(1), 0, 20, 21));
  CHECK(policy::Takes(fleet.seats, fleet.who(0), 0, 1, 1));
}

TEST_CASE("placement: of equals somebody takes the last task") {
  const Fleet fleet({{0, 3}, {0, 3}, {0, 3}});
  for (size_t i = 0; i < 3; ++i) CHECK(policy::Takes(fleet.seats, fleet.who(i), 0, 3, 1));
}

TEST_CASE("placement: loading counts, and so does what a worker holds") {
  Fleet fleet({{10, 1}, {0, 4}});
  CHECK(policy::Takes(fleet.seats, fleet.who(1), 0, 4, 1));  // the fast one is busy until 10
  fleet.free[0] = 2;
  CHECK_FALSE(policy::Takes(fleet.seats, fleet.who(1), 0, 4, 1));
  fleet.seats[0].load = 5;
  CHECK(policy::Takes(fleet.seats, fleet.who(1), 0, 4, 1));
}

TEST_CASE("placement: late tasks are expected as much later again; copies have to pay") {
  CHECK(policy::StillExpected(10, 4) == 10);
  CHECK(policy::StillExpected(10, 13) == 16);
  CHECK(policy::WorthCopying(0, 10, 20));
  CHECK_FALSE(policy::WorthCopying(0, 10, 10.5));
  CHECK(policy::WorthMoving(0, 10, 10.5));
  CHECK(policy::HungAfterMs(2, 3, 1000) == 6000);
  CHECK(policy::HungAfterMs(0.1, 3, 1000) == 1000);
}

TEST_CASE("placement: what a chain and free tasks take when each goes to whoever ends it soonest") {
  const std::vector<std::vector<int>> followers = {
      {1}, {2}, {}, {}, {}};  // a chain of three, and two that wait for nothing
  const std::vector<int> urgency = {3, 2, 1, 1, 1};
  CHECK(policy::EarliestFinish(followers, urgency, std::vector<double>{1}) == Approx(5));
  CHECK(policy::EarliestFinish(followers, urgency, std::vector<double>{1, 1}) == Approx(3));
  CHECK(policy::EarliestFinish(followers, urgency, std::vector<double>{4, 1}) == Approx(4));
  CHECK(policy::EarliestFinish({}, {}, std::vector<double>{1}) == 0);
}

TEST_CASE("placement: the latest end that pays for a copy is the last one that does") {
  const double by = policy::LatestCopy(10, 30);
  CHECK(policy::WorthCopying(10, by - 0.01, 30));
  CHECK_FALSE(policy::WorthCopying(10, by + 0.01, 30));
}

TEST_CASE("shares: turns go by weight; who comes later owes nothing and is owed nothing") {
  Shares shares;
  shares.SetWeights({{"b", 3}});
  shares.Enter("a");
  shares.Enter("b");
  int given_a = 0, given_b = 0;
  for (int i = 0; i < 400; ++i) {
    const bool a = shares.Turn("a") < shares.Turn("b");
    (a ? given_a : given_b) += 1;
    shares.Charge(a ? "a" : "b", 1);
  }
  CHECK(given_a == Approx(100).margin(2));
  CHECK(given_b == Approx(300).margin(2));
  shares.Enter("c");
  CHECK(shares.Turn("c") == Approx(std::min(shares.Turn("a"), shares.Turn("b"))));
  shares.Charge("a", 1000);
  shares.Leave("a");
  shares.Enter("a");  // leaving and coming back settles no debt while others wait
  CHECK(shares.Turn("a") > shares.Turn("c") + 900);
}

}  // namespace
}  // namespace atelier
