// What a log line looks like, and what it is about.
#include <catch2/catch.hpp>
#include <thread>

#include "common/base/log_fields.h"
#include "common/json/json.h"

namespace atelier {
namespace {

constexpr int64_t kMs = 1'700'000'000'123;  // 2023-11-14 22:13:20.123 UTC

TEST_CASE("a line for people has its fields behind it") {
  CHECK(FormatLogLine(LogFormat::kText, kMs, "info", "hello", {}).ends_with(".123 info hello"));
  // What a stranger sent cannot look like a line of ours.
  CHECK(FormatLogLine(LogFormat::kText, kMs, "info", "x\n2026-11-26 info y\x1b[2J", {})
            .ends_with(".123 info x\n    2026-11-26 info y [2J"));
  CHECK(FormatLogLine(LogFormat::kText, kMs, "info", "hello",
                      {.job = "j1", .task = "j1/t", .attempt = 7, .worker = "w", .trace = "ab"})
            .ends_with(" info hello [job=j1 task=j1/t attempt=7 worker=w trace=ab]"));
}

TEST_CASE("a line of JSON parses whatever the message is") {
  CHECK(FormatLogLine(LogFormat::kJson, kMs, "warning", "say \"hi\"\n\\", {.job = "j1", .trace = "ab"}) ==
        "{\"time\":\"2023-11-14T22:13:20.123Z\",\"level\":\"warning\",\"message\":\"say "
        "\\\"hi\\\"\\n\\\\\",\"job\":\"j1\","
        "\"trace\":\"ab\"}");
  for (const std::string& message :
       {std::string("\x01\x1f\x7f\t"), std::string("\xff\xfe broken"),
        std::string("\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"), std::string("\xed\xa0\x80 \xc0\xaf \xf4\x90\x80\x80"),
        std::string("cut \xe2\x82"), std::string(1, '\0')}) {
    const std::string line = FormatLogLine(LogFormat::kJson, kMs, "info", message, {});
    INFO(line);
    CHECK(line.find('\n') == std::string::npos);
    auto json = ParseJson(line);
    REQUIRE(json.ok());
    CHECK(json->at("message").is_string());
  }
  const std::string good = "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80";
  CHECK(ParseJson(FormatLogLine(LogFormat::kJson, kMs, "info", good, {}))->at("message") == good);
}

TEST_CASE("a scope's fields are those of its thread, and end with it") {
  CHECK(CurrentLogFields() == LogFields{});
  {
    const LogScope job({.job = "j1", .trace = "ab"});
    {
      const LogScope task({.task = "j1/t", .attempt = 3});
      CHECK(CurrentLogFields() == LogFields{.job = "j1", .task = "j1/t", .attempt = 3, .trace = "ab"});
      std::thread([] { CHECK(CurrentLogFields() == LogFields{}); }).join();
    }
    CHECK(CurrentLogFields() == LogFields{.job = "j1", .trace = "ab"});
  }
  CHECK(CurrentLogFields() == LogFields{});
  CHECK_FALSE(ParseLogFormat("xml").ok());
}

}  // namespace
}  // namespace atelier
