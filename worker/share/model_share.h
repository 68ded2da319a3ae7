// A worker's model files as the cluster sees them: what is here, what is brought from elsewhere and given to others.
// docs/models.md tells the rules.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "atelier/v1/session.pb.h"
#include "common/base/status.h"
#include "common/graph/schema.h"
#include "common/security/identity.h"

namespace grpc {
class Channel;
}

namespace atelier {

struct ShareOptions {
  std::shared_ptr<grpc::Channel> master;  // of its own, so that a model never delays a heartbeat or a tensor
  std::string worker;                     // name
  std::vector<std::string> roots;
  std::string state_dir;          // hashes are kept below it; "": files are known by name alone, nothing is brought
  uint64_t disk_bytes_max = 0;    // of brought files; 0: what the disk has
  uint64_t bytes_per_second = 0;  // taken, and given to peers; 0: any
  std::string peer_listen;        // HOST:PORT on which other workers may ask; "": none
  std::function<std::shared_ptr<const Identity>()> identity;  // now; needed outside loopback, null where there is none
  std::function<void()> changed;  // Inventory() or Messages() have something new; called by any thread, without a lock
  std::function<void(std::string_view point)> on_point;  // "chunk": one was written, "named": a file has its name
};

/// Threads of its own: one looks at the folders and hashes, one fetches (with three for chunks), one answers the
/// master, and those of the peers' server. Thread: any.
class ModelShare {
 public:
  explicit ModelShare(ShareOptions options);
  ~ModelShare();
  ModelShare(const ModelShare&) = delete;
  ModelShare& operator=(const ModelShare&) = delete;

  /// Errors: those of the peers' server; the rest works then.
  Status Start();
  void Stop();

  /// Goes on with another connection to the master. Outside loopback the peers' server starts anew with the present
  /// identity; chunks under way are fetched elsewhere.
  void SetChannel(const std::shared_ptr<grpc::Channel>& master);
  /// The names of all files.
  Inventory Files() const;
  /// Says where peers find this worker.
  void FillAttach(v1::Attach& attach) const;
  /// What the master has not been told: after a welcome all (`whole`), else what is new.
  std::vector<v1::FromWorker> Messages(bool whole);
  /// fetch_model, pin_model and want_part of the master; false for anything else.
  bool Handle(const v1::ToWorker& message);
  /// A task opens a file.
  void Used(const std::string& folder, const std::string& name);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace atelier
