// A small HTTP listener for probes: GET and HEAD of a few paths, answered by one function. On loopback it asks nobody
// who calls, so nothing secret may be told here; outside it speaks TLS and asks for a key.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/security/identity.h"

namespace atelier {

struct ProbeReply {
  int status = 200;  // 200, 404 or 503; of the listener itself: 400, 401, 403, 405
  std::string type = "text/plain; charset=utf-8";
  std::string body;
};

/// Who is answered. Host must be an address or a known name, so that a page whose name was bent to this machine is
/// refused; a request that a page of another origin sent (Origin) is refused, too.
struct ProbeGuard {
  std::string key;                 // "": none is asked for; else "Authorization: Bearer KEY" must be there
  std::vector<std::string> hosts;  // names beside addresses, localhost and this machine's name
  // Null: HTTP without TLS. Else HTTPS with this key and certificate, and whoever does not speak TLS is told to.
  std::shared_ptr<const Identity> tls;
};

/// The guard of a listener at HOST:PORT: without a key on loopback; outside it with TLS as `identity`, and the key of
/// `key_file`, a secret file of at least 32 characters. Errors: FAILED_PRECONDITION (outside loopback and no file or
/// identity, or a short key), those of ReadSecretFile. Thread: any.
StatusOr<ProbeGuard> MakeProbeGuard(const std::string& listen, const std::string& key_file,
                                    std::shared_ptr<const Identity> identity);

/// One thread. At most 32 connections, each 5 s for a request and its answer, requests of at most 8 KiB without a
/// body; what goes beyond is closed.
class ProbeServer {
 public:
  /// Called by the server's thread with the path without its query; a slow answer delays the others.
  using Handler = std::function<ProbeReply(std::string_view path)>;
  /// Listens on HOST:PORT, HOST an address or a name, port 0: any free one. Errors: UNAVAILABLE with the reason,
  /// FAILED_PRECONDITION (key or certificate cannot be used).
  static StatusOr<std::unique_ptr<ProbeServer>> Start(const std::string& listen, Handler handler,
                                                      ProbeGuard guard = {});
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
