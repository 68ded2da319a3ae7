// Tokens and identities of a master, apart from its jobs: `atelier-master token` writes them while a master runs, and
// what a backup of jobs restores must not bring back what was revoked. In a SQLite file of their own, or in tables of
// the PostgreSQL database that several masters share.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "common/base/status.h"
#include "common/security/identity.h"
#include "master/store/postgres_database.h"

namespace atelier {

/// Every change is one transaction, durable when it returns. Every method may give RESOURCE_EXHAUSTED (disk full),
/// UNAVAILABLE (another process holds the file for 5 s; no server) or DATA_LOSS. Thread: any; several processes may
/// have it open.
class IdentityStore {
 public:
  /// Opens or makes the file, for its owner alone. Errors: FAILED_PRECONDITION.
  static StatusOr<std::unique_ptr<IdentityStore>> Open(const std::string& path);
  /// In the database of `options`, which need not be there yet.
  static std::unique_ptr<IdentityStore> OnPostgres(PostgresOptions options);
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
  class Change;
  explicit IdentityStore(std::unique_ptr<SqlDatabase> database) : db_(std::move(database)) {}
  SqlStatement Prepare(std::string_view sql) { return SqlStatement(*db_, sql); }
  StatusOr<IdentityInfo> Insert(const std::string& name, Role role, int64_t certificate_ends_unix,
                                std::string_view token);

  const std::unique_ptr<SqlDatabase> db_;
  std::mutex mutex_;
};

}  // namespace atelier
