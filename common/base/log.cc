#include "common/base/log.h"

#include <memory>
#include <mutex>

#include "spdlog/sinks/stdout_color_sinks.h"
#include "spdlog/spdlog.h"

namespace atelier {
namespace {

spdlog::logger& Logger() {
  static const std::shared_ptr<spdlog::logger> logger = [] {
    auto made = std::make_shared<spdlog::logger>("atelier", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made->set_pattern("%Y-%m-%d %H:%M:%S.%e %^%l%$ %v");
    made->flush_on(spdlog::level::info);
    return made;
  }();
  return *logger;
}

spdlog::level::level_enum Level(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

std::mutex sink_mutex;
std::function<void(LogLevel, const std::string&)>& Sink() {
  static std::function<void(LogLevel, const std::string&)> sink;
  return sink;
}

}  // namespace

void LogLine(LogLevel level, const std::string& message) {
  if (!Logger().should_log(Level(level))) return;
  Logger().log(Level(level), spdlog::string_view_t(message.data(), message.size()));
  std::lock_guard lock(sink_mutex);
  if (Sink()) Sink()(level, message);
}

void SetLogLevel(LogLevel level) { Logger().set_level(Level(level)); }

void SetLogSink(std::function<void(LogLevel, const std::string&)> sink) {
  std::lock_guard lock(sink_mutex);
  Sink() = std::move(sink);
}

}  // namespace atelier
