#include "worker/session/session_state.h"

#include <catch2/catch.hpp>

namespace atelier {
namespace {

v1::Lease Lease(const std::string& task, int attempt) {
  v1::Lease lease;
  lease.set_task_id(task);
  lease.set_attempt(attempt);
  return lease;
}

SessionState Welcomed() {
  SessionState state;
  state.BeginStream();
  v1::Welcome welcome;
  welcome.set_heartbeat_ms(60'000);
  state.Welcome(welcome, {});
  return state;
}

// All that it has to say before its next heartbeat, in words.
std::string Said(SessionState& state) {
  std::string said;
  v1::FromWorker message;
  while (state.NextMessage(message, {})) {
    if (message.has_pull()) said += "pull" + std::to_string(message.pull().count());
    if (message.has_returned()) said += "returned " + message.returned().task_id();
    if (message.has_progress()) said += "step" + std::to_string(message.progress().step());
    if (message.has_done()) said += "done " + message.done().task_id();
    if (message.has_leaving()) said += "leaving";
    said += ";";
    message.Clear();
  }
  return said;
}

AttemptPtr Start(SessionState& state) {
  state.running = state.queue.front();
  state.queue.pop_front();
  return state.running;
}

v1::FromWorker Done(const std::string& task) {
  v1::FromWorker report;
  report.mutable_done()->set_task_id(task);
  return report;
}

TEST_CASE("two tasks are held: one to run, one to fetch inputs for") {
  SessionState state = Welcomed();
  CHECK(Said(state) == "pull2;");
  state.TakeLease(Lease("a", 1));
  state.TakeLease(Lease("b", 1));
  state.MaybePull();
  CHECK(Said(state).empty());
  const AttemptPtr a = Start(state);
  state.Finish(a, Done("a"), {});
  state.running = nullptr;
  state.MaybePull();
  CHECK(Said(state) == "done a;pull1;");
}

TEST_CASE("a newer attempt replaces the held one, the same one told again does not") {
  SessionState state = Welcomed();
  Said(state);
  CHECK_FALSE(state.TakeLease(Lease("a", 1)));
  const AttemptPtr first = Start(state);
  CHECK_FALSE(state.TakeLease(Lease("a", 1)));
  CHECK_FALSE(first->cancelled);
  CHECK(state.TakeLease(Lease("a", 2)));
  CHECK(first->cancelled);
  CHECK(state.attempts.at("a")->lease.attempt() == 2);
  CHECK(Said(state) == "returned a;");
}

TEST_CASE("the last step is told before the report") {
  SessionState state = Welcomed();
  Said(state);
  state.TakeLease(Lease("a", 1));
  const AttemptPtr a = Start(state);
  state.Progress(*a, "3", 1, 4, "");
  state.Progress(*a, "3", 4, 4, "");
  state.Finish(a, Done("a"), {});
  CHECK(Said(state) == "step4;done a;");
}

TEST_CASE("an unacknowledged result is told to the next master, its blobs first") {
  SessionState state = Welcomed();
  Said(state);
  state.TakeLease(Lease("a", 1));
  state.TakeLease(Lease("b", 1));
  const AttemptPtr a = Start(state);
  state.Finish(a, Done("a"), {});
  const AttemptPtr b = Start(state);
  state.Finish(b, Done("b"), {{"hash", std::make_shared<const std::string>("bytes")}});
  state.running = nullptr;
  CHECK(Said(state) == "done a;");
  REQUIRE(state.uploads.size() == 1);
  state.uploads.pop_front();
  state.Uploaded(b);
  CHECK(Said(state) == "done b;");

  state.EndStream();
  state.BeginStream();
  v1::Welcome welcome;
  welcome.set_heartbeat_ms(60'000);
  state.Welcome(welcome, {});
  CHECK(Said(state) == "done a;pull2;");
  REQUIRE(state.uploads.size() == 1);
  v1::Ack ack;
  ack.set_task_id("a");
  ack.set_attempt(1);
  state.Acknowledge(ack);
  CHECK(state.attempts.size() == 1);
}

TEST_CASE("a drained worker hands back what waits and leaves when the rest is acknowledged") {
  SessionState state = Welcomed();
  Said(state);
  state.TakeLease(Lease("a", 1));
  state.TakeLease(Lease("b", 1));
  const AttemptPtr a = Start(state);
  state.draining = true;
  state.HandBackQueued("closing time");
  CHECK(state.TakeLease(Lease("c", 1)) == false);
  state.Finish(a, Done("a"), {});
  CHECK(Said(state) == "returned b;returned c;done a;");
  v1::Ack ack;
  ack.set_task_id("a");
  ack.set_attempt(1);
  state.Acknowledge(ack);
  CHECK(Said(state) == "leaving;");
  CHECK(Said(state).empty());
}

TEST_CASE("nothing is said of what a stream that is down has lost") {
  SessionState state = Welcomed();
  Said(state);
  state.TakeLease(Lease("a", 1));
  state.EndStream();
  state.HandBackAll("the worker is ending");
  CHECK(state.attempts.empty());
  CHECK(state.queue.empty());
  CHECK(Said(state).empty());
}

}  // namespace
}  // namespace atelier
