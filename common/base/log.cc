#include "common/base/log.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <memory>
#include <mutex>

#include "common/base/log_fields.h"
#include "spdlog/sinks/stdout_color_sinks.h"
#include "spdlog/spdlog.h"

namespace atelier {
namespace {

std::atomic<LogFormat> line_format = LogFormat::kText;

spdlog::logger& Logger() {
  static const std::shared_ptr<spdlog::logger> logger = [] {
    auto made = std::make_shared<spdlog::logger>("atelier", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made->set_pattern("%v");
    made->flush_on(spdlog::level::debug);
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

const char* Word(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "info";
}

LogFields& ProcessFields() {
  static LogFields fields;
  return fields;
}

LogFields& ThreadFields() {
  thread_local LogFields fields;
  return fields;
}

void Lay(const LogFields& over, LogFields& under) {
  if (!over.job.empty()) under.job = over.job;
  if (!over.task.empty()) under.task = over.task;
  if (over.attempt != 0) under.attempt = over.attempt;
  if (!over.worker.empty()) under.worker = over.worker;
  if (!over.trace.empty()) under.trace = over.trace;
}

// The length of the UTF-8 sequence at `text`, 0 when it is none.
size_t SequenceLength(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const size_t length = byte(0) < 0x80 ? 1 : byte(0) >= 0xf0 ? 4 : byte(0) >= 0xe0 ? 3 : byte(0) >= 0xc2 ? 2 : 0;
  if (length == 0 || length > text.size() || byte(0) > 0xf4) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  const bool overlong = (byte(0) == 0xe0 && byte(1) < 0xa0) || (byte(0) == 0xf0 && byte(1) < 0x90);
  const bool surrogate = byte(0) == 0xed && byte(1) >= 0xa0;
  return overlong || surrogate || (byte(0) == 0xf4 && byte(1) >= 0x90) ? 0 : length;
}

// The JSON module stands above this one, so the one string form that a line needs is written here.
void AppendJsonText(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  while (!text.empty()) {
    const size_t length = SequenceLength(text);
    const unsigned char c = static_cast<unsigned char>(text[0]);
    if (length == 0) {
      out += "\\ufffd";
    } else if (c == '"' || c == '\\') {
      out += '\\';
      out += text[0];
    } else if (c == '\n') {
      out += "\\n";
    } else if (c < 0x20 || c == 0x7f) {
      out += "\\u00";
      out += kHex[c >> 4];
      out += kHex[c & 15];
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  out += '"';
}

template <typename Each>
void ForEachField(const LogFields& fields, const Each& each) {
  if (!fields.job.empty()) each("job", fields.job);
  if (!fields.task.empty()) each("task", fields.task);
  if (fields.attempt != 0) each("attempt", std::to_string(fields.attempt));
  if (!fields.worker.empty()) each("worker", fields.worker);
  if (!fields.trace.empty()) each("trace", fields.trace);
}

std::mutex sink_mutex;
std::function<void(LogLevel, const std::string&)>& Sink() {
  static std::function<void(LogLevel, const std::string&)> sink;
  return sink;
}

}  // namespace

// A message may hold what strangers sent: it never looks like another entry, nor moves a terminal's cursor.
static std::string OneEntry(std::string_view message) {
  std::string text;
  for (const char c : message) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n')
      text += "\n    ";
    else
      text += (byte < 0x20 && c != '\t') || byte == 0x7f ? ' ' : c;
  }
  return text;
}

std::string FormatLogLine(LogFormat format, int64_t unix_ms, std::string_view level, std::string_view message,
                          const LogFields& fields) {
  const std::time_t seconds = unix_ms / 1000;
  std::tm parts{};
  char time[64];
  std::string line;
  if (format == LogFormat::kJson) {
    gmtime_r(&seconds, &parts);
    std::strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &parts);
    char milliseconds[8];
    std::snprintf(milliseconds, sizeof milliseconds, ".%03dZ", static_cast<int>(unix_ms % 1000));
    line = Cat("{\"time\":\"", time, milliseconds, "\",\"level\":\"", level, "\",\"message\":");
    AppendJsonText(line, message);
    ForEachField(fields, [&](const char* name, const std::string& value) {
      line += Cat(",\"", name, "\":");
      AppendJsonText(line, value);
    });
    return line + "}";
  }
  localtime_r(&seconds, &parts);
  std::strftime(time, sizeof time, "%Y-%m-%d %H:%M:%S", &parts);
  char milliseconds[8];
  std::snprintf(milliseconds, sizeof milliseconds, ".%03d", static_cast<int>(unix_ms % 1000));
  line = Cat(time, milliseconds, " ", level, " ", OneEntry(message));
  std::string about;
  ForEachField(fields, [&](const char* name, const std::string& value) {
    about += Cat(about.empty() ? "" : " ", name, "=", value);
  });
  return about.empty() ? line : Cat(line, " [", about, "]");
}

void LogLine(LogLevel level, const std::string& message) {
  if (!Logger().should_log(Level(level))) return;
  const int64_t now =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  const std::string line = FormatLogLine(line_format, now, Word(level), message, CurrentLogFields());
  Logger().log(Level(level), spdlog::string_view_t(line.data(), line.size()));
  std::lock_guard lock(sink_mutex);
  if (Sink()) Sink()(level, message);
}

void SetLogLevel(LogLevel level) { Logger().set_level(Level(level)); }

void SetLogSink(std::function<void(LogLevel, const std::string&)> sink) {
  std::lock_guard lock(sink_mutex);
  Sink() = std::move(sink);
}

LogScope::LogScope(const LogFields& fields) : before_(ThreadFields()) { Lay(fields, ThreadFields()); }
LogScope::~LogScope() { ThreadFields() = std::move(before_); }

LogFields CurrentLogFields() {
  LogFields fields = ProcessFields();
  Lay(ThreadFields(), fields);
  return fields;
}

void SetLogProcess(LogFields fields) { ProcessFields() = std::move(fields); }

StatusOr<LogFormat> ParseLogFormat(std::string_view word) {
  if (word == "text") return LogFormat::kText;
  if (word == "json") return LogFormat::kJson;
  return InvalidArgument("the log format \"", word, "\" is none of text, json");
}

void SetLogFormat(LogFormat format) { line_format = format; }

}  // namespace atelier
