#include "common/obs/metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <charconv>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <fstream>

#include "common/base/status.h"

namespace atelier {
namespace {

std::string Number(double value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  return {text, end};
}

// Field `number` (from 1) of /proc/self/stat; those after the name in brackets only.
double StatField(int number) {
  std::ifstream file("/proc/self/stat");
  std::string text;
  std::getline(file, text);
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return 0;
  size_t at = name_end + 1;
  for (int field = 2; field < number - 1; ++field) at = text.find(' ', at + 1);
  double value = 0;
  std::from_chars(text.data() + at + 1, text.data() + text.size(), value);
  return value;
}

double BootTime() {
  std::ifstream file("/proc/stat");
  for (std::string word; file >> word;) {
    if (word != "btime") continue;
    double seconds = 0;
    file >> seconds;
    return seconds;
  }
  return 0;
}

}  // namespace

void SecondsHistogram::Observe(double seconds) {
  if (!(seconds > 0)) seconds = 0;
  size_t at = 0;
  while (at < kBounds.size() && seconds > kBounds[at]) ++at;
  const std::lock_guard lock(mutex_);
  ++counts_.in[at];
  counts_.sum += seconds;
}

SecondsHistogram::Counts SecondsHistogram::Read() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

void MetricsText::Head(std::string_view name, std::string_view help, std::string_view type) {
  if (last_ == name) return;
  last_ = name;
  text_ += Cat("# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n");
}

void MetricsText::Line(std::string_view name, const Labels& labels, double value) {
  text_ += name;
  std::string_view open = "{";
  for (const auto& [label, word] : labels) {
    text_ += Cat(open, label, "=\"");
    for (const char c : word) {
      if (c == '\\' || c == '"') text_ += '\\';
      text_ += c == '\n' ? ' ' : c;
    }
    text_ += '"';
    open = ",";
  }
  text_ += Cat(labels.empty() ? "" : "}", " ", Number(value), "\n");
}

void MetricsText::Gauge(std::string_view name, std::string_view help, double value, const Labels& labels) {
  Head(name, help, "gauge");
  Line(name, labels, value);
}

void MetricsText::Counter(std::string_view name, std::string_view help, double value, const Labels& labels) {
  Head(name, help, "counter");
  Line(name, labels, value);
}

void MetricsText::Histogram(std::string_view name, std::string_view help, const SecondsHistogram::Counts& counts) {
  Head(name, help, "histogram");
  uint64_t below = 0;
  for (size_t i = 0; i < counts.in.size(); ++i) {
    below += counts.in[i];
    const std::string bound = i < SecondsHistogram::kBounds.size() ? Number(SecondsHistogram::kBounds[i]) : "+Inf";
    Line(Cat(name, "_bucket"), {{"le", bound}}, static_cast<double>(below));
  }
  Line(Cat(name, "_sum"), {}, counts.sum);
  Line(Cat(name, "_count"), {}, static_cast<double>(below));
}

void MetricsText::Process() {
  const double ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  Counter("process_cpu_seconds_total", "Processor time, user and system.", (StatField(14) + StatField(15)) / ticks);
  Gauge("process_resident_memory_bytes", "Memory in use.", StatField(24) * static_cast<double>(sysconf(_SC_PAGESIZE)));
  Gauge("process_virtual_memory_bytes", "Address space in use.", StatField(23));
  Gauge("process_start_time_seconds", "Start of the process, Unix time.", BootTime() + StatField(22) / ticks);
  double open = 0;
  std::error_code error;
  for (std::filesystem::directory_iterator it("/proc/self/fd", error), end; !error && it != end; it.increment(error))
    ++open;
  Gauge("process_open_fds", "Open files.", open);
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
    Gauge("process_max_fds", "Open files allowed.", static_cast<double>(limit.rlim_cur));
}

}  // namespace atelier
