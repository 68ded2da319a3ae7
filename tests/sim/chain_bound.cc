// A lower bound for tiles that wait for each other, nearer to what is possible than work / speed and the longest chain
// on the fastest worker. It is the value of a relaxation, so no schedule can be faster:
// * Tiles that run at one moment lie on different chains of a cover of the graph by chains. A chain has something to
// run
//   from the moment at which its first tile can be ready (those before it on the fastest worker) until as many tiles
//   before the end as follow its last one. So the j fastest workers together are busy for no more than the time during
//   which chains are open, each counted up to j.
// * A worker ends whole tiles.
// * All longest chains end by M, so every mean over chains does: the sum over tiles of p(t) * seconds(t) <= M, p(t)
// being
//   the share of the chains that go through t. The best case gives the tiles of the largest p to the fastest workers.
// Chains are added one by one, each the longest one by the seconds that the best cases so far gave the tiles; every
// mean on the way is a bound, and the largest counts.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "tests/sim/sim.h"

namespace atelier::sim {
namespace {

constexpr int kChains = 60;

struct Graph {
  std::vector<std::vector<int>> waits, followers;
  std::vector<int> before, behind;  // tiles of the longest chain before and behind each
};

Graph GraphOf(const SimJob& job) {
  Graph graph;
  graph.waits = Waits(job);
  const size_t count = graph.waits.size();
  graph.followers.resize(count);
  graph.before.assign(count, 0);
  graph.behind.assign(count, 0);
  for (size_t t = 0; t < count; ++t)
    for (const int e : graph.waits[t]) {
      graph.followers[static_cast<size_t>(e)].push_back(static_cast<int>(t));
      graph.before[t] = std::max(graph.before[t], graph.before[static_cast<size_t>(e)] + 1);
    }
  for (size_t t = count; t-- > 0;)
    for (const int e : graph.waits[t])
      graph.behind[static_cast<size_t>(e)] = std::max(graph.behind[static_cast<size_t>(e)], graph.behind[t] + 1);
  return graph;
}

// A cover by chains, as few as neighbours allow (Kuhn's matching): of each, the tiles before its first and behind its
// last.
class Cover {
 public:
  explicit Cover(const Graph& graph)
      : graph_(graph),
        next_(graph.waits.size(), -1),
        previous_(graph.waits.size(), -1),
        seen_(graph.waits.size(), -1) {}

  std::vector<std::pair<int, int>> Chains() {
    for (size_t t = 0; t < next_.size(); ++t) Augment(static_cast<int>(t), static_cast<int>(t));
    std::vector<std::pair<int, int>> chains;
    for (size_t t = 0; t < next_.size(); ++t) {
      if (previous_[t] >= 0) continue;
      size_t last = t;
      while (next_[last] >= 0) last = static_cast<size_t>(next_[last]);
      chains.emplace_back(graph_.before[t], graph_.behind[last]);
    }
    return chains;
  }

 private:
  bool Augment(int tile, int round) {
    for (const int follower : graph_.followers[static_cast<size_t>(tile)]) {
      const auto f = static_cast<size_t>(follower);
      if (seen_[f] == round) continue;
      seen_[f] = round;
      if (previous_[f] >= 0 && !Augment(previous_[f], round)) continue;
      next_[static_cast<size_t>(tile)] = follower;
      previous_[f] = tile;
      return true;
    }
    return false;
  }

  const Graph& graph_;
  std::vector<int> next_, previous_, seen_;
};

class Relaxation {
 public:
  explicit Relaxation(const Scenario& scenario) : graph_(GraphOf(scenario.jobs[0])), chains_(Cover(graph_).Chains()) {
    for (const SimWorker& worker : scenario.workers) seconds_.push_back(worker.tile_seconds * scenario.jobs[0].work);
    std::sort(seconds_.begin(), seconds_.end());
  }

  double Bound(double known) {
    const size_t count = graph_.waits.size();
    std::vector<double> through(count, 0), given(count, 0), each(count, 1);
    std::vector<size_t> order(count);
    std::iota(order.begin(), order.end(), 0);
    double best = known;
    for (int chains = 1; chains <= kChains; ++chains) {
      AddLongest(each, through);
      std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return through[a] > through[b]; });
      double low = known, high = known;
      while (Mean(order, through, chains, high, nullptr) > high) high *= 2;
      for (int i = 0; i < 40 && high > low; ++i) {
        const double middle = (low + high) / 2;
        (Mean(order, through, chains, middle, nullptr) > middle ? low : high) = middle;
      }
      best = std::max(best, low);
      Mean(order, through, chains, high, &given);
      for (size_t t = 0; t < count; ++t) each[t] = given[t] / chains;
    }
    return best;
  }

 private:
  void AddLongest(const std::vector<double>& each, std::vector<double>& through) const {
    std::vector<double> length(each.size());
    std::vector<int> from(each.size(), -1);
    for (size_t t = 0; t < each.size(); ++t) {
      double longest = 0;
      for (const int e : graph_.waits[t]) {
        if (length[static_cast<size_t>(e)] <= longest) continue;
        longest = length[static_cast<size_t>(e)];
        from[t] = e;
      }
      length[t] = longest + each[t];
    }
    for (int t = static_cast<int>(std::max_element(length.begin(), length.end()) - length.begin()); t >= 0;
         t = from[static_cast<size_t>(t)])
      through[static_cast<size_t>(t)] += 1;
  }

  // Tiles that each worker, the fastest first, can end by `end`.
  std::vector<double> Most(double end) const {
    std::vector<std::pair<double, int>> events;
    for (const auto& [before, behind] : chains_) {
      const double opens = before * seconds_[0], closes = end - behind * seconds_[0];
      if (opens >= closes) continue;
      events.emplace_back(opens, 1);
      events.emplace_back(closes, -1);
    }
    std::sort(events.begin(), events.end());
    std::vector<double> open(seconds_.size(), 0);  // [j]: time in which more than j chains are open
    double last = 0;
    size_t now = 0;
    for (const auto& [at, by] : events) {
      for (size_t j = 0; j < std::min(now, open.size()); ++j) open[j] += at - last;
      last = at;
      now += static_cast<size_t>(by);
    }
    double left = 0;
    std::vector<double> most;
    for (size_t j = 0; j < seconds_.size(); ++j) {
      left += open[j];
      most.push_back(std::min(std::floor(end / seconds_[j] + 1e-9), left / seconds_[j]));
      left -= most.back() * seconds_[j];
    }
    return most;
  }

  // The least mean length of the chains when all ends by `end`; endless when that is too soon for all tiles. `given`
  // gets the seconds of each tile added.
  double Mean(const std::vector<size_t>& order, const std::vector<double>& through, int chains, double end,
              std::vector<double>* given) const {
    const std::vector<double> most = Most(end);
    double sum = 0, room = most[0];
    size_t worker = 0;
    for (const size_t tile : order) {
      for (double part = 1; part > 1e-12;) {
        while (room <= 1e-12) {
          if (++worker == most.size()) return given == nullptr ? std::numeric_limits<double>::infinity() : sum;
          room = most[worker];
        }
        const double share = std::min(part, room);
        sum += share * seconds_[worker] * through[tile] / chains;
        if (given != nullptr) (*given)[tile] += share * seconds_[worker];
        part -= share;
        room -= share;
      }
    }
    return sum;
  }

  Graph graph_;
  std::vector<std::pair<int, int>> chains_;
  std::vector<double> seconds_;  // of a tile, by worker, the fastest first
};

}  // namespace

double ChainBound(const Scenario& scenario) { return Relaxation(scenario).Bound(LowerBound(scenario)); }

}  // namespace atelier::sim
