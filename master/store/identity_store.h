// Tokens and identities of a master, in a SQLite file of their own: `atelier-master token` writes it while a master
// runs, and what a backup of jobs restores must not bring back what was revoked.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "common/security/identity.h"

struct sqlite3;

namespace atelier {

/// Every change is one transaction, durable when it returns. Every method may give RESOURCE_EXHAUSTED (disk full),
/// UNAVAILABLE (another process holds the file for 5 s) or DATA_LOSS. Thread: any; several processes may have it open.
class IdentityStore {
 public:
  /// Opens or makes the file, for its owner alone. `shared`: it lies on a file system that other machines write as
  /// well, where the faster journal of one machine (WAL) does not work. Errors: FAILED_PRECONDITION.
  static StatusOr<std::unique_ptr<IdentityStore>> Open(const std::string& path, bool shared = false);
  ~IdentityStore();
  IdentityStore(const IdentityStore&) = delete;
  IdentityStore& operator=(const IdentityStore&) = delete;

  /// Keeps a token by its hash (HashSecret), good for so many joins. Tokens a day too
  /// old and identities whose last certificate ended a month ago are removed.
  Status AddToken(std::string_view hash, Role role, int64_t expires_unix, int64_t uses = 1);
  /// Uses the token up for an identity named `name`, all or nothing; the identity, whose certificate may be good for
  /// `worker_seconds` or, of another role, `person_seconds`. Errors:
  /// UNAUTHENTICATED (unknown, used or expired token), ALREADY_EXISTS (a worker of this name has a certificate that is
  /// good), which leaves the token unused.
  StatusOr<IdentityInfo> UseToken(std::string_view hash, const std::string& name, int64_t now_unix,
                                  int64_t worker_seconds, int64_t person_seconds);
  /// An identity that the master makes by itself; an earlier one of this name and role is revoked if `replace`.
  StatusOr<IdentityInfo> Add(const std::string& name, Role role, int64_t certificate_ends_unix, bool replace);
  /// Its certificate was renewed until then.
  Status Renewed(const std::string& id, int64_t certificate_ends_unix);
  /// OK for an identity that may call. Errors: UNAUTHENTICATED (revoked, or not of this master).
  Status Check(const std::string& id);
  /// Revokes all of this name; how many. Errors: NOT_FOUND.
  StatusOr<int> Revoke(const std::string& name);
  /// Copies everything into the file `path`, which must not be there.
  Status BackupTo(const std::string& path);

 private:
  class Statement;
  class Change;
  IdentityStore() = default;
  Status Execute(const char* sql);
  Status Failure(int rc) const;
  StatusOr<IdentityInfo> Insert(const std::string& name, Role role, int64_t certificate_ends_unix,
                                std::string_view token);

  sqlite3* db_ = nullptr;
  std::string path_;
  std::mutex mutex_;
};

}  // namespace atelier
