// What the benchmarks share: one line a figure, with its bound.
#pragma once

#include <sys/sysinfo.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

namespace atelier::bench {

using Clock = std::chrono::steady_clock;

inline double Since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

/// REQUIRES: not empty.
inline double Quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1) + 0.5)];
}
inline double Median(std::vector<double> values) { return Quantile(std::move(values), 0.5); }

/// The load of the last minute beside the cores, since a busy machine spoils most figures.
inline std::string Machine() {
  struct sysinfo info {};
  sysinfo(&info);
  const double load = static_cast<double>(info.loads[0]) / (1 << SI_LOAD_SHIFT);
  const unsigned cores = std::thread::hardware_concurrency();
  char text[80];
  std::snprintf(text, sizeof text, "%u cores, load %.1f%s", cores, load, load > cores ? ": machine busy" : "");
  return text;
}

enum class Side { kAtMost, kAtLeast };

/// Prints `NAME: figure (bound ..., OK|MISSED; note; machine)`; whether the bound was kept.
inline bool Report(const std::string& name, double figure, const char* unit, Side side, double bound,
                   const std::string& note) {
  const bool kept = side == Side::kAtMost ? figure <= bound : figure >= bound;
  std::printf("%s: %.4g %s (bound %s %.4g %s, %s; %s; %s)\n", name.c_str(), figure, unit,
              side == Side::kAtMost ? "<=" : ">=", bound, unit, kept ? "OK" : "MISSED", note.c_str(),
              Machine().c_str());
  std::fflush(stdout);
  return kept;
}

/// A figure without a bound, for the reader.
inline void Tell(const std::string& name, double figure, const char* unit, const std::string& note) {
  std::printf("%s: %.4g %s (no bound; %s)\n", name.c_str(), figure, unit, note.c_str());
  std::fflush(stdout);
}

}  // namespace atelier::bench
