// The log facade. No spdlog here: log.cc owns it, so that torch files may log too.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace atelier {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

/// Writes one line to stderr, "time level message". Never put secrets or tokens in it. Thread: any.
void LogLine(LogLevel level, const std::string& message);

/// Drops lines below `level` (default kInfo). Thread: any.
void SetLogLevel(LogLevel level);

/// Also hands each line that passes the level to `sink` (null to stop); it must not log. Thread: any.
void SetLogSink(std::function<void(LogLevel, const std::string&)> sink);

template <typename... Args>
void LogDebug(const Args&... args) {
  LogLine(LogLevel::kDebug, Cat(args...));
}
template <typename... Args>
void LogInfo(const Args&... args) {
  LogLine(LogLevel::kInfo, Cat(args...));
}
template <typename... Args>
void LogWarning(const Args&... args) {
  LogLine(LogLevel::kWarning, Cat(args...));
}
template <typename... Args>
void LogError(const Args&... args) {
  LogLine(LogLevel::kError, Cat(args...));
}

}  // namespace atelier
