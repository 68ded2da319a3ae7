#include "master/policy/placement.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace atelier::policy {
namespace {

constexpr double kSlack = 1e-6;     // seconds; equal ends are equal in spite of rounding
constexpr double kMovePays = 0.02;  // of what it takes: below that a move is not worth its messages
constexpr double kCopyPays = 0.1;   // a copy costs a worker's time, and estimates are not exact
constexpr double kPaysSeconds = 0.05;

}  // namespace

int64_t EndedBy(std::span<const Seat> seats, const void* except, double now, double by, int64_t enough) {
  int64_t count = 0;
  for (const Seat& seat : seats) {
    if (seat.who == except) continue;
    const double room = by - std::max(now, *seat.free_at) - seat.load + kSlack;
    if (room < seat.seconds) continue;
    count += static_cast<int64_t>(std::min(room / seat.seconds, 1e9));
    if (count >= enough) return enough;
  }
  return count;
}

bool Takes(std::span<const Seat> seats, const void* who, double now, double ends, int64_t left) {
  return EndedBy(seats, who, now, ends - 2 * kSlack, left) < left;
}

double SharedEnd(std::span<const Seat> seats, double now, double left) {
  double rate = 0, work = left;
  for (const Seat& seat : seats) {
    rate += 1 / seat.seconds;
    work += (std::max(0.0, *seat.free_at - now) + seat.load) / seat.seconds + 0.5;
  }
  return rate > 0 ? now + work / rate : std::numeric_limits<double>::infinity();
}

double EarliestFinish(const std::vector<std::vector<int>>& followers, const std::vector<int>& urgency,
                      std::span<const double> seconds) {
  std::vector<size_t> order(followers.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return urgency[a] > urgency[b]; });
  std::vector<double> ready(order.size(), 0), free(seconds.size(), 0);
  double last = 0;
  for (const size_t task : order) {
    size_t best = 0;
    const auto end = [&](size_t w) { return std::max(free[w], ready[task]) + seconds[w]; };
    for (size_t w = 1; w < free.size(); ++w)
      if (end(w) < end(best)) best = w;
    free[best] = end(best);
    for (const int follower : followers[task])
      ready[static_cast<size_t>(follower)] = std::max(ready[static_cast<size_t>(follower)], free[best]);
    last = std::max(last, free[best]);
  }
  return last;
}

bool LeavesTimeForChain(double ends, int chain, double fastest, double horizon) {
  return ends + (chain - 1) * fastest <= horizon + kSlack;
}

bool WorthMoving(double now, double ends, double expected) {
  return expected - ends > kMovePays * (ends - now) + kPaysSeconds / 5;
}

bool WorthCopying(double now, double ends, double expected) {
  return expected - ends > kCopyPays * (ends - now) + kPaysSeconds;
}

double LatestCopy(double now, double expected) { return now + (expected - now - kPaysSeconds) / (1 + kCopyPays); }

double StillExpected(double expected, double now) { return now <= expected ? expected : now + (now - expected); }

int64_t HungAfterMs(double learned, double factor, int64_t ms_min) {
  return std::max(ms_min, static_cast<int64_t>(std::min(learned * factor * 1000, 1e15)));
}

}  // namespace atelier::policy
