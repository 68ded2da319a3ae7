// Chunks for other workers, where this one offers an address.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "common/base/status.h"
#include "common/files/throttle.h"
#include "common/security/identity.h"

namespace grpc {
class Server;
}

namespace atelier {

/// Without an identity: serves whoever shows the key, to processes of this machine. With one: over TLS, as kWorkerName,
/// serves workers of the same authority that show a ticket of the master (common/security/peer_ticket.h).
/// Threads: the library's, at most 16.
class PeerServer {
 public:
  using Read = std::function<StatusOr<std::string>(const std::string& hash, uint32_t index)>;

  /// `listen`: HOST:PORT by which others reach it, of a loopback address where there is no identity; port 0 takes a
  /// free one. Errors: INVALID_ARGUMENT for another host, FAILED_PRECONDITION when the identity's certificate may not
  /// serve, UNAVAILABLE when the port is taken.
  static StatusOr<std::unique_ptr<PeerServer>> Start(const std::string& listen, const std::string& key,
                                                     const Identity* identity, Read read, Throttle* throttle);
  ~PeerServer();
  /// Where it answers.
  const std::string& address() const { return address_; }
  /// Bytes of chunks given out.
  uint64_t sent() const { return *sent_; }

 private:
  class Service;
  PeerServer() = default;
  std::string address_;
  std::shared_ptr<std::atomic<uint64_t>> sent_;
  std::unique_ptr<Service> service_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace atelier
