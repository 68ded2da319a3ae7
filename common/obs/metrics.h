// Figures in Prometheus' text format, version 0.0.4.
// Source: https://prometheus.io/docs/instrumenting/exposition_formats/
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace atelier {

/// Seconds sorted into buckets from a millisecond to an hour. Thread: any.
class SecondsHistogram {
 public:
  static constexpr std::array<double, 16> kBounds = {0.001, 0.0025, 0.01, 0.025, 0.1, 0.25, 0.5,  1,
                                                     2.5,   5,      15,   60,    300, 900,  1800, 3600};
  struct Counts {
    std::array<uint64_t, kBounds.size() + 1> in{};  // the last: above every bound
    double sum = 0;
  };
  /// Negative and not-a-number count as 0.
  void Observe(double seconds);
  Counts Read() const;

 private:
  mutable std::mutex mutex_;
  Counts counts_;
};

/// Builds one answer. Every name is written by one call or by calls in a row. Thread: one at a time.
class MetricsText {
 public:
  using Labels = std::vector<std::pair<std::string_view, std::string_view>>;
  /// Names: letters, digits, '_'. A value's label text is escaped.
  void Gauge(std::string_view name, std::string_view help, double value, const Labels& labels = {});
  void Counter(std::string_view name, std::string_view help, double value, const Labels& labels = {});
  void Histogram(std::string_view name, std::string_view help, const SecondsHistogram::Counts& counts);
  /// Memory, processor time, open files and start of this process under Prometheus' usual names.
  void Process();
  std::string Take() { return std::move(text_); }

 private:
  void Head(std::string_view name, std::string_view help, std::string_view type);
  void Line(std::string_view name, const Labels& labels, double value);

  std::string text_, last_;
};

}  // namespace atelier
