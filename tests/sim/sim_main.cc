// scheduler-sim [--runs N] [--seed S] [--only mixes|exact|more|storms] [--verbose] [--trace]: random mixes against the
// bounds; docs/scheduler.md has the figures. Run i of a seed is mix S + i, so `--seed S+i --runs 1 --trace` shows one
// alone, lease by lease. Status 1 when a target is missed.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "tests/sim/mixes.h"
#include "tests/sim/sim.h"

namespace atelier::sim {
namespace {

using Clock = std::chrono::steady_clock;

double Quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1) + 0.5)];
}

struct Checks {
  int missed = 0;
  void AtMost(const char* name, double figure, double bound) {
    const bool kept = figure <= bound;
    missed += kept ? 0 : 1;
    std::printf("%s: %.4f (bound <= %.4f, %s)\n", name, figure, bound, kept ? "OK" : "MISSED");
  }
};

struct Column {
  std::string name;
  std::vector<double> values;
};
void Print(const char* title, const std::vector<Column>& columns) {
  std::printf("%s\n", title);
  for (const Column& c : columns)
    std::printf("  %-34s p50 %.3f  p95 %.3f  p99 %.3f  worst %.3f  (%zu runs)\n", c.name.c_str(),
                Quantile(c.values, 0.5), Quantile(c.values, 0.95), Quantile(c.values, 0.99), Quantile(c.values, 1),
                c.values.size());
}

struct Options {
  uint64_t runs = 300, seed = 1;
  bool verbose = false, trace = false;
  std::string only;  // "": all parts
};

void Mixes(const Options& options, const char* order, const char* mode, uint64_t runs, Checks& checks) {
  const bool free = std::strcmp(order, "independent") == 0;
  Column ours{"ours", {}}, pull{"plain pull", {}}, equal{"equal split", {}}, heft{"earliest finish beforehand", {}},
      whole{free ? "best with whole tiles" : "lower bound with chains", {}},
      against{free ? "ours against that best" : "ours against that bound", {}},
      heft_against{"earliest finish against that bound", {}};
  std::vector<Column> bands = {{"8 to 12 tiles a worker", {}}, {"12 to 24", {}}, {"24 to 64", {}}},
                      best = {{"  best with whole tiles", {}},
                              {"  best with whole tiles", {}},
                              {"  best with whole tiles", {}}};
  int below = 0;
  for (uint64_t i = 0; i < runs; ++i) {
    const uint64_t seed = options.seed + i;
    Scenario mix = RandomMix(seed, order, mode);
    mix.trace = options.trace;
    const Outcome outcome = Run(mix);
    const double bound = LowerBound(mix), took = outcome.seconds[0] < 0 ? 1e9 : outcome.seconds[0];
    const double least = free ? std::max(bound, WholeTilesBound(mix)) : ChainBound(mix);
    const double tiles = mix.jobs[0].columns * mix.jobs[0].rows / static_cast<double>(mix.workers.size());
    ours.values.push_back(took / bound);
    heft.values.push_back(EarliestFinish(mix) / bound);
    heft_against.values.push_back(heft.values.back() * bound / least);
    pull.values.push_back(PlainPull(mix) / bound);
    equal.values.push_back(EqualSplit(mix) / bound);
    whole.values.push_back(least / bound);
    against.values.push_back(took / least);
    // The fake clock rounds each step to a millisecond.
    below += took < 0.998 * least || std::min(heft.values.back(), pull.values.back()) * bound < 0.9999 * least ? 1 : 0;
    const size_t band = tiles < 12 ? 0 : tiles < 24 ? 1 : 2;
    bands[band].values.push_back(took / bound);
    best[band].values.push_back(least / bound);
    if (options.verbose)
      std::printf(
          "seed %llu: %zu workers, %dx%d tiles, %.3f s, bound %.3f, best %.3f, heft %.3f, pull %.3f, leases "
          "%lld, "
          "copies %lld %s%s\n",
          static_cast<unsigned long long>(seed), mix.workers.size(), mix.jobs[0].columns, mix.jobs[0].rows, took, bound,
          least, heft.values.back() * bound, pull.values.back() * bound, static_cast<long long>(outcome.leases),
          static_cast<long long>(outcome.copies), outcome.errors[0].c_str(), outcome.why.c_str());
  }
  const std::string title = std::string("makespan / lower bound, ") + order + (free ? "" : std::string(", ") + mode);
  std::vector<Column> columns = {ours, heft, pull, equal, whole, against};
  if (!free) columns.push_back(heft_against);
  if (free) {
    for (size_t b = 0; b < bands.size(); ++b) {
      columns.push_back(bands[b]);
      columns.push_back(best[b]);
    }
  }
  Print(title.c_str(), columns);
  std::vector<double> beside;
  for (size_t i = 0; i < ours.values.size(); ++i) beside.push_back(ours.values[i] / heft.values[i]);
  checks.AtMost("schedules below what is called the best possible", below, 0);
  if (!free) checks.AtMost("makespan / earliest finish beforehand, median", Quantile(beside, 0.5), 1.02);
  if (free) {
    // No schedule of whole tiles is better than the second figure: where that is above the target, it is the bound.
    checks.AtMost("makespan / max(work / speed, chain), 95th percentile", Quantile(ours.values, 0.95),
                  std::max(1.05, 1.002 * Quantile(whole.values, 0.95)));
    checks.AtMost("makespan / best with whole tiles, worst", Quantile(against.values, 1), 1.01);
  }
}

void OneMore(const Options& options, bool known, uint64_t runs, Checks& checks) {
  Column grown{known ? "one more worker" : "one that nobody knows joins in mid-job", {}};
  for (uint64_t i = 0; i < runs; ++i) {
    const uint64_t seed = options.seed + i;
    Scenario mix = RandomMix(seed, "independent", "Linear");
    const double before = Run(mix).seconds[0];
    SimWorker more = RandomWorker(seed);
    more.known = known;
    if (!known) more.joins_ms = static_cast<int64_t>(before * 1000 * static_cast<double>(seed % 10) / 10);
    mix.workers.push_back(more);
    mix.trace = options.trace;
    const Outcome after = Run(mix);
    grown.values.push_back((after.seconds[0] < 0 ? 1e9 : after.seconds[0]) / before);
    if (options.verbose && grown.values.back() > 1.005)
      std::printf("seed %llu: %.3f -> %.3f\n", static_cast<unsigned long long>(seed), before, after.seconds[0]);
  }
  Print("makespan with one worker more / without", {grown});
  checks.AtMost(known ? "one worker more, worst" : "one unknown worker more, worst", Quantile(grown.values, 1), 1.02);
}

void Storms(const Options& options, uint64_t runs, Checks& checks) {
  int failed = 0, wrong = 0;
  Column took{"ours", {}};
  int64_t refused = 0, leases = 0, copies = 0;
  for (uint64_t i = 0; i < runs; ++i) {
    const Scenario storm = RandomStorm(options.seed + i);
    const Outcome outcome = Run(storm);
    failed += outcome.seconds[0] < 0 ? 1 : 0;
    took.values.push_back((outcome.seconds[0] < 0 ? 1e9 : outcome.seconds[0]) / LowerBound(storm));
    refused += outcome.refused;
    leases += outcome.leases;
    copies += outcome.copies;
    if (options.verbose && outcome.seconds[0] < 0)
      std::printf("seed %llu: %s %s\n",
                  static_cast<unsigned long long>(options.seed) + static_cast<unsigned long long>(i),
                  outcome.errors[0].c_str(), outcome.why.c_str());
    wrong += outcome.pasted == storm.jobs[0].columns * storm.jobs[0].rows ? 0 : 1;
  }
  std::printf("storms: %llu runs, %lld leases, %lld copies\n", static_cast<unsigned long long>(runs),
              static_cast<long long>(leases), static_cast<long long>(copies));
  Print("storms: makespan / lower bound without loads, deaths and joins", {took});
  checks.AtMost("storms: jobs that did not end", failed, 0);
  checks.AtMost("storms: jobs in which not every tile was pasted once", wrong, 0);
  checks.AtMost("storms: refused transitions", static_cast<double>(refused), 0);
}

int Main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const auto number = [&] { return i + 1 < argc ? std::strtoull(argv[++i], nullptr, 10) : 0; };
    if (std::strcmp(argv[i], "--runs") == 0)
      options.runs = number();
    else if (std::strcmp(argv[i], "--seed") == 0)
      options.seed = number();
    else if (std::strcmp(argv[i], "--only") == 0 && i + 1 < argc)
      options.only = argv[++i];
    else if (std::strcmp(argv[i], "--verbose") == 0)
      options.verbose = true;
    else if (std::strcmp(argv[i], "--trace") == 0)
      options.trace = true;
    else
      return std::fprintf(
                 stderr,
                 "usage: scheduler-sim [--runs N] [--seed S] [--only mixes|exact|more|storms] [--verbose] [--trace]\n"),
             2;
  }
  std::printf("seed %llu (run i is mix seed + i)\n", static_cast<unsigned long long>(options.seed));
  Checks checks;
  const auto begin = Clock::now();
  const uint64_t fewer = (options.runs + 3) / 4;
  uint64_t all = 0;
  const auto part = [&](const char* name, uint64_t runs) {
    if (!options.only.empty() && options.only != name) return false;
    all += runs;
    return true;
  };
  if (part("mixes", options.runs)) Mixes(options, "independent", "Linear", options.runs, checks);
  if (part("exact", 2 * fewer)) {
    Mixes(options, "exact", "Chess", fewer, checks);
    Mixes(options, "exact", "Linear", fewer, checks);
  }
  if (part("more", 4 * fewer)) {
    OneMore(options, true, fewer, checks);
    OneMore(options, false, fewer, checks);
  }
  if (part("storms", fewer)) Storms(options, fewer, checks);
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  std::printf("%llu runs of the scheduler in %.1f s: %.0f a minute\n", static_cast<unsigned long long>(all), seconds,
              60 * static_cast<double>(all) / seconds);
  return checks.missed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace atelier::sim

int main(int argc, char** argv) { return atelier::sim::Main(argc, argv); }
