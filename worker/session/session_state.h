// What a worker's session holds and has yet to say: the rules of docs/protocol.md without threads or clocks.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "atelier/v1/session.pb.h"

namespace atelier {

struct ResultBlob {
  std::string hash;
  std::shared_ptr<const std::string> bytes;
};

/// One lease and what became of it.
struct Attempt {
  v1::Lease lease;                      // constant
  std::atomic<bool> cancelled = false;  // may be read by any thread
  bool finished = false;                // report is set
  v1::FromWorker report;
  std::vector<ResultBlob> blobs;
  bool progress_waits = false;
  v1::Progress progress;
};
using AttemptPtr = std::shared_ptr<Attempt>;

/// Thread: none of its own; its owner holds one lock over all of it.
struct SessionState {
  using Clock = std::chrono::steady_clock;

  // ---- The stream ----

  /// A new stream was opened: nothing is promised on it yet.
  void BeginStream();
  void EndStream() { welcomed = false; }

  /// The master took us: what it has not acknowledged is told or uploaded again, since it may be another.
  void Welcome(const v1::Welcome& welcome, Clock::time_point now);

  /// The next thing to say, in order of urgency; false when there is nothing.
  bool NextMessage(v1::FromWorker& message, Clock::time_point now);

  /// Keeps a line for the master; the oldest of too many are dropped.
  void Log(v1::LogLine line);

  // ---- Work ----

  /// Names everything held in the attach message.
  void FillHeld(v1::Attach& attach) const;

  /// Queues a lease, or hands it back while draining. True when an older attempt was given up for it.
  bool TakeLease(v1::Lease lease);

  /// True when that attempt was held and is given up now.
  bool Cancel(const v1::CancelTask& cancel);
  void Acknowledge(const v1::Ack& ack);

  /// Forgets an attempt and says so; a running node is told to stop, its slot is free when it has.
  void GiveUp(AttemptPtr attempt, const std::string& reason);
  void HandBackQueued(const std::string& reason);
  void HandBackAll(const std::string& reason);

  /// Asks for as many tasks as there are free slots.
  void MaybePull();

  /// Progress of a running attempt; what the stream is too slow for is replaced by the next step.
  void Progress(Attempt& attempt, const std::string& node, int64_t step, int64_t total, std::string preview);

  /// The result of an attempt is known: it is told now, or once its blobs are at the master.
  void Finish(const AttemptPtr& attempt, v1::FromWorker report, std::vector<ResultBlob> blobs);

  /// The blobs of an attempt taken from `uploads` are at the master.
  void Uploaded(const AttemptPtr& attempt);
  void UploadAgain(const AttemptPtr& attempt);

  /// Only after everything is acknowledged or handed back.
  bool Drained() const { return draining && attempts.empty(); }

  std::map<std::string, AttemptPtr> attempts;  // by task: leased and not yet acknowledged, handed back or given up
  std::deque<AttemptPtr> queue;                // of those, the ones that wait to run
  AttemptPtr running;                          // may be given up already
  std::deque<AttemptPtr> uploads;
  std::deque<v1::FromWorker> outbox;  // of the present stream; bounded by the attempts and answers above
  std::deque<v1::LogLine> logs;
  bool welcomed = false;
  bool left = false;
  bool draining = false;
  uint32_t credits = 0;  // tasks that we asked for and have not got
  Clock::time_point next_heartbeat;
  std::chrono::milliseconds heartbeat{2000};

 private:
  void PushReturned(const Attempt& attempt, const std::string& reason);
};

}  // namespace atelier
