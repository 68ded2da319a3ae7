#include "master/fleet/fleet.h"

#include <atomic>
#include <chrono>
#include <deque>

#include "common/base/log.h"
#include "common/base/status.h"
#include "common/rpc/channel.h"
#include "common/rpc/protocol.h"

namespace atelier {
namespace {

constexpr size_t kQueuedMessagesMax = 10'000;  // to one worker; a stream that falls so far behind is cut

int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

// One stream. Kept alive by Fleet::all_ until gRPC says OnDone.
class Fleet::Session final : public grpc::ServerBidiReactor<v1::FromWorker, v1::ToWorker> {
 public:
  Session(Fleet* fleet, grpc::CallbackServerContext* context) : fleet_(fleet), context_(context), last_ms_(NowMs()) {}

  void Begin() { StartRead(&incoming_); }

  void OnReadDone(bool ok) override {
    if (!ok) {
      End(grpc::Status::OK);
      return;
    }
    {
      std::lock_guard lock(mutex_);
      last_ms_ = NowMs();
    }
    if (name_.empty()) {
      if (!Attach()) return;
    } else if (incoming_.kind_case() == v1::FromWorker::kAttach) {
      End({grpc::StatusCode::INVALID_ARGUMENT, "attach comes once, as the first message"});
      return;
    } else if (incoming_.kind_case() != v1::FromWorker::kHeartbeat || incoming_.heartbeat().has_desktop()) {
      fleet_->events_.message(name_, std::move(incoming_));
    }
    incoming_ = {};
    StartRead(&incoming_);
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    writing_ = false;
    if (!ok) {
      outgoing_.clear();
      return;
    }
    outgoing_.pop_front();
    WriteNext();
  }

  void OnDone() override {
    std::shared_ptr<Session> self;
    bool was_current = false;
    {
      std::lock_guard lock(fleet_->mutex_);
      auto it = fleet_->by_name_.find(name_);
      if (it != fleet_->by_name_.end() && it->second.get() == this) {
        fleet_->by_name_.erase(it);
        was_current = true;
      }
      auto all = fleet_->all_.find(this);
      self = std::move(all->second);
      fleet_->all_.erase(all);
    }
    if (was_current) fleet_->events_.lost(name_, StreamId(), !cut_ && context_->IsCancelled());
  }

  void Send(v1::ToWorker message) {
    std::lock_guard lock(mutex_);
    if (ended_) return;
    if (outgoing_.size() >= kQueuedMessagesMax) {
      LogWarning("worker \"", name_, "\" does not read its messages; its stream is cut");
      cut_ = true;
      context_->TryCancel();
      return;
    }
    outgoing_.push_back(std::move(message));
    WriteNext();
  }

  void End(const grpc::Status& status) {
    std::lock_guard lock(mutex_);
    if (ended_) return;
    ended_ = true;
    Finish(status);
  }

  void Cut() {
    std::lock_guard lock(mutex_);
    cut_ = true;
    if (!ended_) context_->TryCancel();
  }

  // Ends it unless it has not attached yet, or is still admitted.
  void EndIfRefused() {
    std::string name;
    {
      std::lock_guard lock(mutex_);
      if (!attached_ || ended_) return;
      name = name_;
    }
    const Status admitted = Admitted(name);
    if (admitted.ok()) return;
    LogWarning("the session of worker \"", name, "\" is ended: ", Message(admitted));
    End(ToGrpc(admitted));
  }

  int64_t silent_ms() {
    std::lock_guard lock(mutex_);
    return NowMs() - last_ms_;
  }
  const std::string& name() const { return name_; }

 private:
  // What the core sees as the instance: a late "lost" of an old stream of the same process means nothing to the new
  // one.
  std::string StreamId() const { return Cat(instance_, "#", stream_); }

  Status Admitted(const std::string& name) const {
    return fleet_->options_.admit ? fleet_->options_.admit(*context_->auth_context(), name) : OkStatus();
  }

  bool Attach() {
    if (incoming_.kind_case() != v1::FromWorker::kAttach || incoming_.attach().name().empty()) {
      End({grpc::StatusCode::INVALID_ARGUMENT, "the first message must be an attach with a name"});
      return false;
    }
    const v1::Attach& attach = incoming_.attach();
    if (attach.protocol() < kProtocolOldest || attach.protocol() > kProtocolVersion) {
      const std::string why = Cat("worker \"", attach.name(), "\" is version ", attach.version(), " (protocol ",
                                  attach.protocol(), "), this master is version ", kProgramVersion, " (protocol ",
                                  kProtocolVersion, ", or ", kProtocolOldest, "): install the same version on both");
      LogWarning(why);
      End({grpc::StatusCode::FAILED_PRECONDITION, why});
      return false;
    }
    if (const Status admitted = Admitted(attach.name()); !admitted.ok()) {
      LogWarning("worker \"", attach.name(), "\" was refused: ", Message(admitted));
      End(ToGrpc(admitted));
      return false;
    }
    {
      std::lock_guard lock(fleet_->mutex_);
      auto it = fleet_->by_name_.find(attach.name());
      if (fleet_->shutdown_) {
        End({grpc::StatusCode::UNAVAILABLE, "the master is ending"});
        return false;
      }
      if (it != fleet_->by_name_.end() && it->second->instance_ != attach.instance()) {
        End({grpc::StatusCode::ALREADY_EXISTS,
             Cat("a worker named \"", attach.name(), "\" is connected: give this one another --name")});
        return false;
      }
      if (fleet_->by_name_.size() >= fleet_->options_.workers_max) {
        End({grpc::StatusCode::RESOURCE_EXHAUSTED, "too many workers are connected"});
        return false;
      }
      name_ = attach.name();
      instance_ = attach.instance();
      if (it != fleet_->by_name_.end()) it->second->Cut();  // an older stream of the same process
      fleet_->by_name_[name_] = fleet_->all_.at(this);
    }
    {
      std::lock_guard lock(mutex_);
      attached_ = true;
    }
    incoming_.mutable_attach()->set_instance(StreamId());
    fleet_->events_.attached(std::move(*incoming_.mutable_attach()));
    return true;
  }

  // REQUIRES: mutex_ held.
  void WriteNext() {
    if (writing_ || ended_ || outgoing_.empty()) return;
    writing_ = true;
    StartWrite(&outgoing_.front());
  }

  Fleet* const fleet_;
  grpc::CallbackServerContext* const context_;
  const uint64_t stream_ = ++streams_;
  v1::FromWorker incoming_;
  std::string name_, instance_;  // set by the first message, then constant
  std::mutex mutex_;
  int64_t last_ms_;
  bool attached_ = false, writing_ = false, ended_ = false;
  std::atomic<bool> cut_ = false;
  std::deque<v1::ToWorker> outgoing_;
  static inline std::atomic<uint64_t> streams_ = 0;
};

Fleet::Fleet(FleetOptions options, FleetEvents events) : options_(std::move(options)), events_(std::move(events)) {}
Fleet::~Fleet() = default;

grpc::ServerBidiReactor<v1::FromWorker, v1::ToWorker>* Fleet::Connect(grpc::CallbackServerContext* context) {
  auto session = std::make_shared<Session>(this, context);
  {
    std::lock_guard lock(mutex_);
    all_[session.get()] = session;
  }
  session->Begin();
  return session.get();
}

void Fleet::Send(const std::string& worker, v1::ToWorker message) {
  std::shared_ptr<Session> session;
  {
    std::lock_guard lock(mutex_);
    auto it = by_name_.find(worker);
    if (it == by_name_.end()) return;
    session = it->second;
  }
  session->Send(std::move(message));
}

std::vector<std::shared_ptr<Fleet::Session>> Fleet::Sessions() {
  std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Session>> sessions;
  for (auto& [raw, session] : all_) sessions.push_back(session);
  return sessions;
}

void Fleet::EndRefused() {
  if (!options_.admit) return;
  for (auto& session : Sessions()) session->EndIfRefused();
}

void Fleet::Tick() {
  // A little late is in time, or a timer's jitter would make five ticks of four.
  const bool beats = NowMs() + options_.heartbeat_ms / 8 >= next_beat_ms_;
  if (beats) {
    next_beat_ms_ = NowMs() + options_.heartbeat_ms;
    EndRefused();
  }
  for (auto& session : Sessions()) {
    if (session->silent_ms() > options_.silent_ms_max) {
      LogWarning("worker \"", session->name(), "\" has been silent for ", session->silent_ms() / 1000,
                 " s; its stream is cut");
      session->Cut();
      continue;
    }
    if (!beats) continue;
    v1::ToWorker beat;
    beat.mutable_heartbeat();
    session->Send(std::move(beat));
  }
}

void Fleet::Shutdown() {
  std::lock_guard lock(mutex_);
  shutdown_ = true;
  for (auto& [raw, session] : all_) session->Cut();
}

size_t Fleet::connected() const {
  std::lock_guard lock(mutex_);
  return by_name_.size();
}

}  // namespace atelier
