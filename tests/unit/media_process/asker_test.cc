// What common/media makes of files and processes that do harm. The caller lives, and says what was wrong.
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <memory>
#include <vector>

#include "common/media/process.h"
#include "common/media/summary.h"
#include "common/media/tags.h"
#include "worker/media/encoder.h"

namespace atelier::media {
namespace {

const Tags kTags = {{"prompt", "{}"}, {"workflow", "{}"}};

std::string Clip() {
  VideoSettings settings;
  settings.muxer = "mp4";
  settings.encoder = "libx264";
  settings.pixel_format = "yuv420p";
  settings.width = settings.height = 32;
  const auto encoder = VideoEncoder::Open(settings);
  REQUIRE(encoder.ok());
  for (int i = 0; i < 8; ++i) {
    const std::vector<uint8_t> picture(32 * 32 * 3, static_cast<uint8_t>(30 * i));
    REQUIRE((*encoder)->Add(picture.data(), picture.size()).ok());
  }
  return (*encoder)->Finish().value();
}

// The bytes of a message.
std::string Bytes(const std::string& head, const std::string& body = "") {
  const auto number = [](uint64_t value, int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += static_cast<char>(value >> (8 * i) & 0xFF);
    return text;
  };
  return number(head.size(), 4) + number(0, 4) + number(body.size(), 8) + head + body;
}

// For as long as this lives the process says these bytes, and then does what a shell does with `then`.
class SaysInstead {
 public:
  SaysInstead(const std::string& bytes, const std::string& then) {
    std::ofstream(path_ + ".bytes", std::ios::binary) << bytes;
    std::ofstream(path_) << "#!/bin/sh\ncat " << path_ << ".bytes >&3\n" << then << "\n";
    REQUIRE(chmod(path_.c_str(), 0700) == 0);
    UseMediaProgram(path_);
  }
  ~SaysInstead() {
    UseMediaProgram("");
    std::filesystem::remove(path_);
    std::filesystem::remove(path_ + ".bytes");
  }

 private:
  const std::string path_ = (std::filesystem::temp_directory_path() / Cat("atelier-says-", getpid())).string();
};

TEST_CASE("a file that is cut off anywhere gives a status or a file") {
  const std::string whole = AddTags(Clip(), "mp4", kTags).value();
  int refused = 0;
  for (size_t cut = 0; cut < whole.size(); cut += whole.size() / 12) {
    const std::string_view part = std::string_view(whole).substr(0, cut);
    const auto tags = ReadTags(part);
    const auto tagged = AddTags(part, "mp4", kTags);
    if (!tags.ok()) CHECK(tags.status().code() == StatusCode::kInvalidArgument);
    if (!tagged.ok()) CHECK(tagged.status().code() == StatusCode::kInvalidArgument);
    refused += tags.ok() ? 0 : 1;
  }
  CHECK(refused > 0);
  CHECK(ReadSummary(whole)->frames == 8);
}

TEST_CASE("a missing program is a sentence with the remedy") {
  CHECK(CheckMediaProgram().ok());
  UseMediaProgram("/nowhere/atelier-media");
  for (const Status& status :
       {CheckMediaProgram(), ReadTags("x").status(), AddTags("x", "mp4", kTags).status(), ReadSummary("x").status()}) {
    CHECK(status.code() == StatusCode::kFailedPrecondition);
    CHECK(Message(status).find("/nowhere/atelier-media, which cannot be started: No such file or directory; install "
                               "Atelier's package anew") != std::string::npos);
  }
  UseMediaProgram("");
  const SaysInstead no_library("", "exit 127");
  CHECK(ReadTags("x").status().code() == StatusCode::kFailedPrecondition);
}

TEST_CASE("so many processes live at once and no more") {
  UseMediaProgram("/bin/true");
  std::vector<std::unique_ptr<MediaProcess>> living;
  for (int i = 0; i < kMediaProcessesMax; ++i) {
    auto process = MediaProcess::Start("file");
    REQUIRE(process.ok());
    living.push_back(std::move(*process));
  }
  const Status refused = MediaProcess::Start("file").status();
  CHECK(refused.code() == StatusCode::kResourceExhausted);
  CHECK(Message(refused).find("read fewer in one prompt") != std::string::npos);
  living.pop_back();
  CHECK(MediaProcess::Start("file").ok());
  living.clear();
  UseMediaProgram("");
}

TEST_CASE("a process that ends in the middle is a status") {
  const std::string part = Bytes(R"({"kind":"write","offset":0})", "begin");
  {
    const SaysInstead killed(part, "kill -KILL $$");
    CHECK(AddTags("x", "mp4", kTags).status().code() == StatusCode::kResourceExhausted);
  }
  {
    const SaysInstead crashes(part, "kill -SEGV $$");
    CHECK(AddTags("x", "mp4", kTags).status().code() == StatusCode::kInvalidArgument);
  }
  {
    const SaysInstead ends(part, "exit 0");
    CHECK(AddTags("x", "mp4", kTags).status().code() == StatusCode::kInternal);
  }
  {
    const SaysInstead cut(part.substr(0, part.size() - 2), "exit 0");
    CHECK(AddTags("x", "mp4", kTags).status().code() == StatusCode::kInternal);
  }
  {
    // It said why, though nobody listened to the texts of several MB that came meanwhile.
    const SaysInstead refuses(Bytes(R"({"kind":"status","code":9,"message":"cannot be confined"})"), "exit 0");
    const Status status = AddTags("x", "mp4", {{"workflow", std::string(5'000'000, 'w')}}).status();
    CHECK(status.code() == StatusCode::kFailedPrecondition);
    CHECK(Message(status) == "cannot be confined");
  }
}

TEST_CASE("a process that lies is a status") {
  const std::string end = Bytes(R"({"kind":"end"})");
  {
    const SaysInstead good(
        Bytes(R"({"kind":"write","offset":0})", "abcdef") + Bytes(R"({"kind":"write","offset":2})", "XY") + end,
        "cat <&3 >/dev/null 2>&1");
    CHECK(AddTags("x", "mp4", kTags).value() == "abXYef");
  }
  const std::pair<std::string, std::string> lies[] = {
      {Bytes(R"({"kind":"write","offset":1})", "a") + end, "where it may not"},
      {Bytes(R"({"kind":"write","offset":-1})", "a") + end, "where it may not"},
      {Bytes(R"({"kind":"write","offset":"0"})", "a") + end, "makes no sense"},
      {Bytes(R"({"kind":"write"})", "a") + end, "makes no sense"},
      {Bytes(R"({"kind":"write","offset":0})", std::string((1 << 20) + 1, 'a')) + end, "expected at most"},
      {Bytes(R"({"kind":"end"})", "a"), "expected at most"},
      {Bytes(R"({"kind":"read","offset":1,"count":1})"), "does not have"},
      {Bytes(R"({"kind":"read","offset":0,"count":0})"), "does not have"},
      {Bytes("[]"), "without a kind"},
  };
  for (const auto& [bytes, part] : lies) {
    INFO(part);
    const SaysInstead said(bytes, "cat <&3 >/dev/null 2>&1");
    const auto tagged = AddTags("x", "mp4", kTags);
    REQUIRE_FALSE(tagged.ok());
    INFO(Message(tagged.status()));
    CHECK(Message(tagged.status()).find(part) != std::string::npos);
  }
  {
    std::string endless;  // more than 4 times the file and 64 MiB
    const std::string mebibyte(1 << 20, 'a');
    for (int i = 0; i < 66; ++i) endless += Bytes(Cat(R"({"kind":"write","offset":)", i << 20, "}"), mebibyte);
    const SaysInstead said(endless + end, "cat <&3 >/dev/null 2>&1");
    CHECK(AddTags("x", "mp4", kTags).status().code() == StatusCode::kResourceExhausted);
  }
  {
    const SaysInstead writes(Bytes(R"({"kind":"write","offset":0})"), "cat <&3 >/dev/null 2>&1");
    CHECK(Message(ReadTags("x").status()).find("where it may not") != std::string::npos);
  }
  for (const std::string& body : {std::string("\x01\0\0\0\0\0\0\0", 8), std::string("\0\0\0", 3),
                                  std::string("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 8), std::string(8 * 16'385, '\0')}) {
    const SaysInstead said(Bytes(R"({"kind":"tags"})", body), "cat <&3 >/dev/null 2>&1");
    CHECK(ReadTags("x").status().code() == StatusCode::kInvalidArgument);
  }
  for (const char* head : {R"({"kind":"summary","width":100000,"height":100000,"frames":1})",
                           R"({"kind":"summary","width":-1,"height":1,"frames":1})",
                           R"({"kind":"summary","width":1,"height":1,"frames":9223372036854775807})",
                           R"({"kind":"summary","width":1,"height":"1","frames":1})", R"({"kind":"summary"})"}) {
    INFO(head);
    const SaysInstead said(Bytes(head), "cat <&3 >/dev/null 2>&1");
    CHECK(ReadSummary("x").status().code() == StatusCode::kInvalidArgument);
  }
}

TEST_CASE("a process that reads for ever is ended in time") {
  std::string reads;
  for (int i = 0; i < 100; ++i) reads += Bytes(R"({"kind":"read","offset":0,"count":1})");
  const SaysInstead never(reads, "exec sleep 1000");
  const auto process = MediaProcess::Start("x", {.seconds = 1});
  REQUIRE(process.ok());
  MediaMessage answer;
  const Status status = (*process)->Ask((*process)->Request("tags"), 0, answer);
  CHECK(status.code() == StatusCode::kDeadlineExceeded);
  CHECK(Message(status).find("took longer") != std::string::npos);
}

TEST_CASE("tags as bytes come back, and too many are refused") {
  const Tags tags = {{"a", "1"}, {"", ""}, {"b", std::string("\0\xFF", 2)}};
  CHECK(UnpackTags(PackTags(tags).value()).value() == tags);
  CHECK(UnpackTags("").value().empty());
  CHECK(PackTags(Tags(16'385)).status().code() == StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace atelier::media
