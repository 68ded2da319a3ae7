// Asking the listener of probe_server.h, for commands and tests.
#pragma once

#include <string>

#include "common/base/status.h"
#include "common/obs/probe_server.h"

namespace atelier {

/// GET `path` at HOST:PORT, with the key where one is given ("": none); over TLS to the owner of kMasterName under the
/// authority of this certificate, or without TLS (""). Five seconds at most. Errors: UNAVAILABLE (nobody answers, or
/// not in time), FAILED_PRECONDITION (who answers proves nothing). Thread: any.
StatusOr<ProbeReply> AskProbe(const std::string& address, const std::string& path, const std::string& key,
                              const std::string& authority);

}  // namespace atelier
