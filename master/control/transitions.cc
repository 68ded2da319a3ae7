#include "master/control/transitions.h"

namespace atelier {

const std::vector<Transition<JobState>>& TransitionsOf(JobState) {
  using enum JobState;
  static const auto* const table = new std::vector<Transition<JobState>>{
      {kQueued, kRunning, "a task is leased, or a worker comes back with one"},
      {kQueued, kSaving, "every result was accepted before a restart"},
      {kRunning, kSaving, "every result is accepted"},
      {kSaving, kDone, "files and end are recorded"},
      {kQueued, kFailed, "its work cannot be done"},
      {kRunning, kFailed, "a task failed for good, or the master's own work on it did"},
      {kSaving, kFailed, "its files cannot be written"},
      {kQueued, kCancelled, "asked for"},
      {kRunning, kCancelled, "asked for"},
  };
  return *table;
}

const std::vector<Transition<TaskState>>& TransitionsOf(TaskState) {
  using enum TaskState;
  static const auto* const table = new std::vector<Transition<TaskState>>{
      {kWaiting, kReady, "all that it needs is accepted and, of a tile, cut"},
      {kWaiting, kLeased, "a worker comes back after a restart with an attempt at it"},
      {kWaiting, kDone, "its result was accepted before a restart, or an attempt from then ends"},
      {kReady, kLeased, "a worker gets it, or comes back with an attempt at it"},
      {kReady, kDone, "an attempt whose worker was lost ends after all"},
      {kLeased, kReady, "no attempt is left"},
      {kLeased, kWaiting, "no attempt is left, and the crop is not cut yet after a restart"},
      {kLeased, kDone, "its first complete result is accepted"},
      {kLeased, kFailed, "it fails the same everywhere"},
      {kReady, kFailed, "an attempt whose worker was lost tells that it fails everywhere"},
      {kWaiting, kFailed, "the same, with the crop not cut yet after a restart"},
  };
  return *table;
}

const std::vector<Transition<Stage::State>>& TransitionsOf(Stage::State) {
  using enum Stage::State;
  static const auto* const table = new std::vector<Transition<Stage::State>>{
      {kWaiting, kOpening, "all that it needs is accepted"},
      {kWaiting, kDone, "its canvas was accepted before a restart"},
      {kOpening, kRunning, "the canvas is there and its tiles are known"},
      {kRunning, kClosing, "every tile is pasted"},
      {kClosing, kDone, "the canvas is a blob"},
  };
  return *table;
}

const std::vector<Transition<Stream::State>>& TransitionsOf(Stream::State) {
  using enum Stream::State;
  static const auto* const table = new std::vector<Transition<Stream::State>>{
      {kWaiting, kOpening, "all that it needs is accepted"},
      {kOpening, kRunning, "its windows are known"},
      {kRunning, kDone, "every window is accepted"},
  };
  return *table;
}

const char* Name(Stream::State state) {
  switch (state) {
    case Stream::State::kWaiting:
      return "waiting";
    case Stream::State::kOpening:
      return "opening";
    case Stream::State::kRunning:
      return "running";
    case Stream::State::kDone:
      return "done";
  }
  return "?";
}

const char* Name(Stage::State state) {
  switch (state) {
    case Stage::State::kWaiting:
      return "waiting";
    case Stage::State::kOpening:
      return "opening";
    case Stage::State::kRunning:
      return "running";
    case Stage::State::kClosing:
      return "closing";
    case Stage::State::kDone:
      return "done";
  }
  return "?";
}

}  // namespace atelier
