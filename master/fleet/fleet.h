// The worker sessions: one bidirectional stream each, opened by the worker. This side only carries messages; what they
// mean is the core's business.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "atelier/v1/session.grpc.pb.h"
#include "atelier/v1/session.pb.h"
#include "common/base/status.h"

namespace atelier {

/// Called by gRPC threads, in order for one session. They must hand over and return.
struct FleetEvents {
  /// A session attached under a name that no other process holds.
  std::function<void(v1::Attach attach)> attached;
  /// Any later message.
  std::function<void(const std::string& name, v1::FromWorker message)> message;
  /// The stream of exactly this process ended. `died`: its connection broke; neither side hung up.
  std::function<void(const std::string& name, const std::string& instance, bool died)> lost;
};

struct FleetOptions {
  uint32_t heartbeat_ms = 2000;
  uint32_t silent_ms_max = 5000;  // a stream that says nothing for so long is cut
  size_t workers_max = 4096;
  /// Whether the peer may have a session under this name: asked when it attaches and at every heartbeat, so that a
  /// session ends with its certificate. Null: anyone may. Called by any thread.
  std::function<Status(const grpc::AuthContext& peer, const std::string& name)> admit = nullptr;
};

/// Thread: any.
class Fleet final : public v1::WorkerService::CallbackService {
 public:
  Fleet(FleetOptions options, FleetEvents events);
  ~Fleet() override;

  grpc::ServerBidiReactor<v1::FromWorker, v1::ToWorker>* Connect(grpc::CallbackServerContext* context) override;

  /// Queues a message; dropped when the worker is not connected (the core learns of the loss by `lost`).
  void Send(const std::string& worker, v1::ToWorker message);
  /// Cuts silent streams, and sends the heartbeats that are due. Call about four times a heartbeat. Thread: one.
  void Tick();
  /// Ends the sessions that are no longer admitted, at once.
  void EndRefused();
  /// Ends every stream; further ones are refused.
  void Shutdown();
  size_t connected() const;

 private:
  class Session;
  friend class Session;
  std::vector<std::shared_ptr<Session>> Sessions();

  const FleetOptions options_;
  const FleetEvents events_;
  mutable std::mutex mutex_;
  bool shutdown_ = false;
  std::map<std::string, std::shared_ptr<Session>> by_name_;
  std::map<Session*, std::shared_ptr<Session>> all_;
  int64_t next_beat_ms_ = 0;  // of Tick()
};

}  // namespace atelier
