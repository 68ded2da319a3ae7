#include "worker/fake/fault.h"

#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>

#include "common/base/log.h"

namespace atelier::fake {
namespace {

// Which count of which kind is a fault.
const std::map<std::string, int, std::less<>>& Faults() {
  static const std::map<std::string, int, std::less<>> faults = [] {
    std::map<std::string, int, std::less<>> parsed;
    const char* text = std::getenv("ATELIER_FAULT");
    std::string rest = text == nullptr ? "" : text;
    while (!rest.empty()) {
      const size_t comma = rest.find(',');
      const std::string item = rest.substr(0, comma);
      rest = comma == std::string::npos ? "" : rest.substr(comma + 1);
      const size_t equals = item.find('=');
      if (equals != std::string::npos)
        parsed[item.substr(0, equals)] = static_cast<int>(std::strtol(item.c_str() + equals + 1, nullptr, 10));
    }
    return parsed;
  }();
  return faults;
}

// Whether this is the count at which the fault `kind` is asked for.
bool Due(std::string_view kind) {
  static std::mutex mutex;
  static std::map<std::string, int, std::less<>> counts;
  const auto fault = Faults().find(kind);
  if (fault == Faults().end()) return false;
  const std::lock_guard lock(mutex);
  return ++counts[std::string(kind)] == fault->second;
}

void CrashWhenDue(std::string_view kind) {
  if (!Due(kind)) return;
  LogWarning("ATELIER_FAULT: ", kind);
  std::raise(SIGKILL);
}

}  // namespace

void CountStep() {
  CrashWhenDue("crash_after_steps");
  if (!Due("hang_after_steps")) return;
  LogWarning("ATELIER_FAULT: hang_after_steps");
  std::mutex mutex;
  std::condition_variable never;
  std::unique_lock lock(mutex);
  never.wait(lock, [] { return false; });  // the stream stays up; only steps stand still
}

void CountPoint(std::string_view point) {
  CrashWhenDue(point == "started" ? std::string("crash_in_task") : "crash_" + std::string(point));
}

}  // namespace atelier::fake
