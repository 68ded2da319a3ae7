// Chunks for other workers, where this one offers an address.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "common/base/status.h"
#include "common/files/throttle.h"

namespace grpc {
class Server;
}

namespace atelier {

/// Serves whoever shows the key. Threads: the library's, at most 16.
class PeerServer {
 public:
  using Read = std::function<StatusOr<std::string>(const std::string& hash, uint32_t index)>;

  /// `listen`: HOST:PORT of a loopback address; port 0 takes a free one. Errors: INVALID_ARGUMENT for another host,
  /// UNAVAILABLE when the port is taken.
  static StatusOr<std::unique_ptr<PeerServer>> Start(const std::string& listen, const std::string& key, Read read,
                                                     Throttle* throttle);
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
