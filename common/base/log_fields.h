// What a log line is about: fields beside its message, kept per thread, so that every line that is written on the way
// of a task carries them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace atelier {

/// Empty fields are left out of the line. Never put secrets or tokens in them.
struct LogFields {
  std::string job{};
  std::string task{};    // "JOB/TASK"
  uint64_t attempt = 0;  // 0: none
  std::string worker{};
  std::string trace{};  // 32 hex digits, one a job, the same on master and workers
  bool operator==(const LogFields&) const = default;
};

/// Gives the lines of this thread these fields until it goes; an inner scope's fields replace the outer ones, empty
/// ones keep them. Thread: the one that made it.
class LogScope {
 public:
  explicit LogScope(const LogFields& fields);
  ~LogScope();
  LogScope(const LogScope&) = delete;
  LogScope& operator=(const LogScope&) = delete;

 private:
  LogFields before_;
};

/// The fields of this thread's lines, those of SetLogProcess() included. Thread: any.
LogFields CurrentLogFields();

/// Fields of every line of this process (a worker's name). Set before threads start.
void SetLogProcess(LogFields fields);

enum class LogFormat {
  kText,  // time level message [job=... task=...]
  kJson,  // one object a line: time (UTC), level, message, then the fields
};
/// Errors: INVALID_ARGUMENT for a word that is none of text, json. Thread: any.
StatusOr<LogFormat> ParseLogFormat(std::string_view word);
/// Thread: any.
void SetLogFormat(LogFormat format);

/// One line as it is written, without its end: for tests and for those who keep lines. Thread: any.
std::string FormatLogLine(LogFormat format, int64_t unix_ms, std::string_view level, std::string_view message,
                          const LogFields& fields);

}  // namespace atelier
