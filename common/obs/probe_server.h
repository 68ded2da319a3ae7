// A small HTTP listener for probes: GET and HEAD of a few paths, answered by one function. It serves nothing that asks
// for an identity, so nothing secret may be told here.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace atelier {

struct ProbeReply {
  int status = 200;  // 200, 404 or 503
  std::string type = "text/plain; charset=utf-8";
  std::string body;
};

/// One thread. At most 32 connections, each 5 s for a request and its answer, requests of at most 8 KiB without a
/// body; what goes beyond is closed.
class ProbeServer {
 public:
  /// Called by the server's thread with the path without its query; a slow answer delays the others.
  using Handler = std::function<ProbeReply(std::string_view path)>;
  /// Listens on HOST:PORT, HOST an address or a name, port 0: any free one. Errors: UNAVAILABLE with the reason.
  static StatusOr<std::unique_ptr<ProbeServer>> Start(const std::string& listen, Handler handler);
  /// Closes all connections and joins. REQUIRES: what the handler uses is still there.
  ~ProbeServer();
  ProbeServer(const ProbeServer&) = delete;
  ProbeServer& operator=(const ProbeServer&) = delete;
  uint16_t port() const;

 private:
  class Impl;
  explicit ProbeServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace atelier
