#include "worker/session/session_state.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace atelier {
namespace {

constexpr uint32_t kSlots = 2;         // tasks held: one runs, the next one's inputs are fetched meanwhile
constexpr int kUnackedMax = 4;         // finished results kept before no more work is pulled
constexpr size_t kLogLinesMax = 1000;  // waiting to be sent

bool Holds(const std::deque<AttemptPtr>& list, const AttemptPtr& attempt) {
  return std::find(list.begin(), list.end(), attempt) != list.end();
}

void Remove(std::deque<AttemptPtr>& list, const AttemptPtr& attempt) {
  list.erase(std::remove(list.begin(), list.end(), attempt), list.end());
}

}  // namespace

void SessionState::BeginStream() {
  welcomed = false;
  left = false;
  credits = 0;
  outbox.clear();
}

void SessionState::Welcome(const v1::Welcome& welcome, Clock::time_point now) {
  welcomed = true;
  heartbeat = std::chrono::milliseconds(std::clamp<uint32_t>(welcome.heartbeat_ms(), 10, 60'000));
  next_heartbeat = now + heartbeat;
  for (const auto& [id, attempt] : attempts) {
    if (!attempt->finished) continue;
    if (attempt->blobs.empty()) {
      outbox.push_back(attempt->report);
    } else {
      UploadAgain(attempt);
    }
  }
  MaybePull();
}

bool SessionState::NextMessage(v1::FromWorker& message, Clock::time_point now) {
  if (now >= next_heartbeat) {
    next_heartbeat = now + heartbeat;
    message.mutable_heartbeat();
    return true;
  }
  if (!outbox.empty()) {
    message = std::move(outbox.front());
    outbox.pop_front();
    return true;
  }
  for (const auto& [id, attempt] : attempts) {
    if (!attempt->progress_waits) continue;
    attempt->progress_waits = false;
    *message.mutable_progress() = std::move(attempt->progress);
    attempt->progress.Clear();
    return true;
  }
  if (!logs.empty()) {
    *message.mutable_log() = std::move(logs.front());
    logs.pop_front();
    return true;
  }
  if (Drained() && !left) {
    left = true;
    message.mutable_leaving();
    return true;
  }
  return false;
}

void SessionState::Log(v1::LogLine line) {
  if (logs.size() >= kLogLinesMax) logs.pop_front();
  logs.push_back(std::move(line));
}

void SessionState::FillHeld(v1::Attach& attach) const {
  for (const auto& [id, attempt] : attempts) {
    v1::HeldAttempt& held = *attach.add_held();
    held.set_task_id(id);
    held.set_attempt(attempt->lease.attempt());
    held.set_finished(attempt->finished);
    held.set_running(attempt == running);
  }
}

bool SessionState::TakeLease(v1::Lease lease) {
  if (credits > 0) --credits;
  bool gave_up = false;
  if (const auto it = attempts.find(lease.task_id()); it != attempts.end()) {
    if (it->second->lease.attempt() == lease.attempt()) return false;  // told again after a reconnect
    GiveUp(it->second, "replaced by a newer attempt");
    gave_up = true;
  }
  auto attempt = std::make_shared<Attempt>();
  attempt->lease = std::move(lease);
  if (draining) {
    PushReturned(*attempt, "the worker is draining");
    return gave_up;
  }
  attempts[attempt->lease.task_id()] = attempt;
  queue.push_back(std::move(attempt));
  return gave_up;
}

bool SessionState::Cancel(const v1::CancelTask& cancel) {
  const auto it = attempts.find(cancel.task_id());
  if (it == attempts.end() || it->second->lease.attempt() != cancel.attempt()) return false;
  GiveUp(it->second, cancel.reason().empty() ? "cancelled" : cancel.reason());
  return true;
}

void SessionState::Acknowledge(const v1::Ack& ack) {
  const auto it = attempts.find(ack.task_id());
  if (it != attempts.end() && it->second->lease.attempt() == ack.attempt() && it->second->finished) attempts.erase(it);
}

// By value: what is given may be the entry of `attempts` that is erased.
// NOLINTNEXTLINE(performance-unnecessary-value-param)
void SessionState::GiveUp(AttemptPtr attempt, const std::string& reason) {
  attempt->cancelled = true;
  if (!attempt->finished) PushReturned(*attempt, reason);
  Remove(queue, attempt);
  Remove(uploads, attempt);
  attempts.erase(attempt->lease.task_id());
}

void SessionState::HandBackQueued(const std::string& reason) {
  while (!queue.empty()) GiveUp(queue.front(), reason);
}

void SessionState::HandBackAll(const std::string& reason) {
  while (!attempts.empty()) GiveUp(attempts.begin()->second, reason);
}

void SessionState::PushReturned(const Attempt& attempt, const std::string& reason) {
  if (!welcomed) return;  // the next attach does not list it, which says the same
  v1::FromWorker message;
  v1::TaskReturned& returned = *message.mutable_returned();
  returned.set_task_id(attempt.lease.task_id());
  returned.set_attempt(attempt.lease.attempt());
  returned.set_reason(reason);
  outbox.push_back(std::move(message));
}

void SessionState::MaybePull() {
  if (!welcomed || draining) return;
  const auto unacked =
      std::count_if(attempts.begin(), attempts.end(), [](const auto& item) { return item.second->finished; });
  if (unacked >= kUnackedMax) return;
  const uint32_t used = static_cast<uint32_t>(queue.size()) + (running != nullptr ? 1 : 0) + credits;
  if (used >= kSlots) return;
  v1::FromWorker message;
  message.mutable_pull()->set_count(kSlots - used);
  credits += kSlots - used;
  outbox.push_back(std::move(message));
}

void SessionState::Progress(Attempt& attempt, const std::string& node, int64_t step, int64_t total,
                            std::string preview) {
  const auto count = [](int64_t n) {
    return static_cast<uint32_t>(std::clamp<int64_t>(n, 0, std::numeric_limits<uint32_t>::max()));
  };
  v1::Progress& progress = attempt.progress;
  progress.set_task_id(attempt.lease.task_id());
  progress.set_attempt(attempt.lease.attempt());
  progress.set_node(node);
  progress.set_step(count(step));
  progress.set_total(count(total));
  if (!preview.empty()) progress.set_preview(std::move(preview));
  attempt.progress_waits = true;
}

void SessionState::Finish(const AttemptPtr& attempt, v1::FromWorker report, std::vector<ResultBlob> blobs) {
  attempt->report = std::move(report);
  attempt->blobs = std::move(blobs);
  attempt->finished = true;
  if (attempt->progress_waits && welcomed) {  // the last step is told before the report
    v1::FromWorker last;
    *last.mutable_progress() = std::move(attempt->progress);
    outbox.push_back(std::move(last));
  }
  attempt->progress_waits = false;
  if (!attempt->blobs.empty()) {
    uploads.push_back(attempt);
  } else if (welcomed) {
    outbox.push_back(attempt->report);
  }
}

void SessionState::Uploaded(const AttemptPtr& attempt) {
  const bool again = Holds(uploads, attempt);  // a new master meanwhile
  if (welcomed && !again) outbox.push_back(attempt->report);
}

void SessionState::UploadAgain(const AttemptPtr& attempt) {
  if (!Holds(uploads, attempt)) uploads.push_back(attempt);
}

}  // namespace atelier
