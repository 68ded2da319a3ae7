// `atelier-master backup DIR`.
#pragma once

#include <string>

#include "common/base/status.h"
#include "common/security/identity.h"

namespace atelier {

struct BackupOptions {
  std::string state_dir;               // of the master
  std::string address;                 // HOST:PORT of the master, when one runs
  std::string to;                      // must not be there
  const Identity* identity = nullptr;  // to call it with; null: without TLS
};

/// Copies the jobs (database), the blobs of open jobs and the authority with its list of identities into `to`, which is
/// then a state folder that a master can be started on. A running master makes the copy itself, at one instant; without
/// one the state is read directly. What it did, for people. Errors: INVALID_ARGUMENT (`to` is there), UNAVAILABLE (a
/// master runs but does not answer), RESOURCE_EXHAUSTED, FAILED_PRECONDITION. Thread: any.
StatusOr<std::string> BackUp(const BackupOptions& options);

}  // namespace atelier
