// The table of state changes: nothing else is possible, and docs/reliability.md shows it.
#include "master/control/transitions.h"

#include <catch2/catch.hpp>
#include <fstream>
#include <set>
#include <sstream>

namespace atelier {
namespace {

template <typename State>
void CheckAll(const std::string& kind, const std::vector<State>& states, std::set<std::string>& lines) {
  for (const State from : states) {
    for (const State to : states) {
      State state = from;
      Effects out;
      const bool made = Become(state, to, "it", out);
      CHECK(made == MayFollow(from, to));
      CHECK(state == (made ? to : from));
      CHECK(out.size() == (made ? 0u : 1u));
      if (!made) {
        REQUIRE(std::get_if<effect::Refused>(&out[0]) != nullptr);
        CHECK(std::get<effect::Refused>(out[0]).what == Cat("it may not go from ", Name(from), " to ", Name(to)));
      }
    }
    for (const auto& one : TransitionsOf(from))
      if (one.from == from)
        lines.insert(Cat("| ", kind, " | ", Name(one.from), " | ", Name(one.to), " | ", one.when, " |"));
  }
}

TEST_CASE("only what the table has may follow, and the page shows the table") {
  std::set<std::string> lines;
  using enum JobState;
  CheckAll<JobState>("job", {kQueued, kRunning, kSaving, kDone, kFailed, kCancelled}, lines);
  CheckAll<TaskState>(
      "task", {TaskState::kWaiting, TaskState::kReady, TaskState::kLeased, TaskState::kDone, TaskState::kFailed},
      lines);
  using S = Stage::State;
  CheckAll<S>("stage", {S::kWaiting, S::kOpening, S::kRunning, S::kClosing, S::kDone}, lines);
  using F = Stream::State;
  CheckAll<F>("stream", {F::kWaiting, F::kOpening, F::kRunning, F::kDone}, lines);
  // Ends are ends.
  for (const JobState end : {kDone, kFailed, kCancelled}) CHECK_FALSE(MayFollow(end, kRunning));
  CHECK_FALSE(MayFollow(TaskState::kDone, TaskState::kReady));
  CHECK_FALSE(MayFollow(kSaving, kCancelled));

  std::ifstream page(ATELIER_SOURCE_DIR "/docs/reliability.md");
  std::set<std::string> shown;
  for (std::string line; std::getline(page, line);)
    for (const char* kind : {"| job |", "| task |", "| stage |", "| stream |"})
      if (line.starts_with(kind)) shown.insert(line);
  for (const std::string& line : lines) {
    INFO(line);
    CHECK(shown.contains(line));
  }
  CHECK(shown.size() == lines.size());
}

}  // namespace
}  // namespace atelier
