#include <array>
#include <atomic>
#include <charconv>
#include <csignal>
#include <cstdlib>

#include "master/store/files.h"

namespace atelier {
namespace {

constexpr std::array<std::string_view, 17> kNames = {
    "epoch after commit",    "job before commit",        "job after commit",      "blob before fsync",
    "blob before rename",    "blob before folder fsync", "results before commit", "results after commit",
    "intents before commit", "intents after commit",     "output half written",   "output before link",
    "output after link",     "end before commit",        "end after commit",      "value before commit",
    "value after commit"};

std::string_view armed;
std::atomic<int> passes_left;

void Pass(std::string_view name) {
  if (name == armed && --passes_left == 0) std::raise(SIGKILL);
}

}  // namespace

void (*failpoint_hook)(std::string_view name) = nullptr;

std::span<const std::string_view> Failpoints() { return kNames; }

Status ArmFailpoints() {
  const char* text = std::getenv("ATELIER_FAILPOINT");
  if (text == nullptr || *text == '\0') return OkStatus();
  std::string_view name = text;
  int count = 1;
  if (const size_t colon = name.rfind(':'); colon != std::string_view::npos) {
    const std::string_view digits = name.substr(colon + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), count);
    if (error != std::errc() || end != digits.data() + digits.size() || count < 1)
      return InvalidArgument("ATELIER_FAILPOINT is \"", text, "\", expected NAME or NAME:COUNT");
    name = name.substr(0, colon);
  }
  for (const std::string_view known : kNames)
    if (known == name) armed = known;
  if (armed.empty()) return InvalidArgument("ATELIER_FAILPOINT names no failpoint: \"", name, "\"");
  passes_left = count;
  failpoint_hook = &Pass;
  return OkStatus();
}

}  // namespace atelier
