#include "master/store/identity_store.h"

#include <fcntl.h>

#include <cerrno>
#include <ctime>

#include "master/store/files.h"
#include "master/store/sqlite_database.h"

namespace atelier {
namespace {

constexpr int64_t kTokenKeptSeconds = 86'400;  // after its end, so that a late use is told why it is refused
constexpr int64_t kIdentityKeptSeconds = int64_t{30} * 86'400;  // after the end of its last certificate
constexpr char kIdentitySqliteTables[] = R"sql(
CREATE TABLE IF NOT EXISTS tokens(
  hash TEXT PRIMARY KEY, role TEXT NOT NULL, expires_unix INTEGER NOT NULL,
  uses INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS identities(
  id TEXT PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, ends_unix INTEGER NOT NULL,
  revoked INTEGER NOT NULL DEFAULT 0, token TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS identity_names ON identities(name);
)sql";
constexpr char kIdentityPostgresTables[] = R"sql(
CREATE TABLE IF NOT EXISTS tokens(
  hash BYTEA PRIMARY KEY, role BYTEA NOT NULL, expires_unix BIGINT NOT NULL, uses BIGINT NOT NULL);
CREATE TABLE IF NOT EXISTS identities(
  id BYTEA PRIMARY KEY, name BYTEA NOT NULL, role BYTEA NOT NULL, ends_unix BIGINT NOT NULL,
  revoked BIGINT NOT NULL DEFAULT 0, token BYTEA NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS identity_names ON identities(name)
)sql";

template <typename... Args>
Status Unauthenticated(const Args&... args) {
  return MakeStatus(StatusCode::kUnauthenticated, args...);
}

}  // namespace

// A transaction that takes the writer's lock at once, so that what it reads stays true until it commits.
class IdentityStore::Change {
 public:
  explicit Change(IdentityStore* store) : db_(*store->db_), begun_(db_.Begin()) {}
  ~Change() {
    if (begun_.ok() && !ended_) db_.Rollback();
  }
  Change(const Change&) = delete;
  Change& operator=(const Change&) = delete;
  const Status& begun() const { return begun_; }
  Status Commit() {
    RETURN_IF_ERROR(db_.Commit());
    ended_ = true;
    return OkStatus();
  }

 private:
  SqlDatabase& db_;
  const Status begun_;
  bool ended_ = false;
};

StatusOr<std::unique_ptr<IdentityStore>> IdentityStore::Open(const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<SqlDatabase> database, SqliteDatabase::OpenIdentities(path, kIdentitySqliteTables));
  return std::unique_ptr<IdentityStore>(new IdentityStore(std::move(database)));
}

std::unique_ptr<IdentityStore> IdentityStore::OnPostgres(PostgresOptions options) {
  return std::unique_ptr<IdentityStore>(
      new IdentityStore(PostgresDatabase::Beside(std::move(options), kIdentityPostgresTables)));
}

Status IdentityStore::AddToken(std::string_view hash, Role role, int64_t expires_unix, int64_t uses) {
  const std::lock_guard lock(mutex_);
  const int64_t now = std::time(nullptr);
  Change change(this);
  RETURN_IF_ERROR(change.begun());
  RETURN_IF_ERROR(
      Prepare("DELETE FROM tokens WHERE expires_unix < ?").Integer(now - kTokenKeptSeconds).Run("remove old tokens"));
  RETURN_IF_ERROR(Prepare("DELETE FROM identities WHERE ends_unix < ?")
                      .Integer(now - kIdentityKeptSeconds)
                      .Run("remove old identities"));
  RETURN_IF_ERROR(Prepare("INSERT INTO tokens(hash, role, expires_unix, uses) VALUES(?,?,?,?)")
                      .Text(hash)
                      .Text(RoleName(role))
                      .Integer(expires_unix)
                      .Integer(uses)
                      .Run("keep a token"));
  return change.Commit();
}

StatusOr<IdentityInfo> IdentityStore::Insert(const std::string& name, Role role, int64_t certificate_ends_unix,
                                             std::string_view token) {
  IdentityInfo info{name, role, RandomHex(16)};
  RETURN_IF_ERROR(Prepare("INSERT INTO identities(id, name, role, ends_unix, token) VALUES(?,?,?,?,?)")
                      .Text(info.id)
                      .Text(name)
                      .Text(RoleName(role))
                      .Integer(certificate_ends_unix)
                      .Text(token)
                      .Run("keep an identity"));
  return info;
}

StatusOr<IdentityInfo> IdentityStore::UseToken(std::string_view hash, const std::string& name, int64_t now_unix,
                                               int64_t worker_seconds, int64_t person_seconds) {
  const std::lock_guard lock(mutex_);
  Change change(this);
  RETURN_IF_ERROR(change.begun());
  SqlStatement find = Prepare("SELECT role, expires_unix, uses FROM tokens WHERE hash = ?");
  ASSIGN_OR_RETURN(const bool found, find.Text(hash).Row("look for a token"));
  if (!found) return Unauthenticated("this token is not known here; make one with `atelier-master token`");
  const std::string role_name = find.TextColumn();
  const int64_t expires_unix = find.IntegerColumn();
  if (find.IntegerColumn() <= 0)
    return Unauthenticated("this token has been used; each is good once, make another with `atelier-master token`");
  if (expires_unix <= now_unix)
    return Unauthenticated("this token is too old; make another with `atelier-master token`");
  ASSIGN_OR_RETURN(const Role role, ParseRole(role_name));
  if (role == Role::kWorker) {
    SqlStatement taken =
        Prepare("SELECT 1 FROM identities WHERE name = ? AND role = 'worker' AND revoked = 0 AND ends_unix > ?");
    ASSIGN_OR_RETURN(const bool row, taken.Text(name).Integer(now_unix).Row("look for a name"));
    if (row)
      return MakeStatus(StatusCode::kAlreadyExists, "a worker named \"", name,
                        "\" has joined: give this one another --name, or let an operator run `atelier workers forget ",
                        name, "` first");
  }
  RETURN_IF_ERROR(Prepare("UPDATE tokens SET uses = uses - 1 WHERE hash = ?").Text(hash).Run("use a token"));
  const int64_t seconds = role == Role::kWorker ? worker_seconds : person_seconds;
  ASSIGN_OR_RETURN(IdentityInfo info, Insert(name, role, now_unix + seconds, hash));
  RETURN_IF_ERROR(change.Commit());
  info.ends_unix = now_unix + seconds;
  return info;
}

StatusOr<IdentityInfo> IdentityStore::Add(const std::string& name, Role role, int64_t certificate_ends_unix,
                                          bool replace) {
  const std::lock_guard lock(mutex_);
  Change change(this);
  RETURN_IF_ERROR(change.begun());
  if (replace)
    RETURN_IF_ERROR(Prepare("UPDATE identities SET revoked = 1 WHERE name = ? AND role = ?")
                        .Text(name)
                        .Text(RoleName(role))
                        .Run("replace an identity"));
  ASSIGN_OR_RETURN(IdentityInfo info, Insert(name, role, certificate_ends_unix, ""));
  RETURN_IF_ERROR(change.Commit());
  return info;
}

Status IdentityStore::Renewed(const std::string& id, int64_t certificate_ends_unix) {
  const std::lock_guard lock(mutex_);
  SqlStatement update = Prepare("UPDATE identities SET ends_unix = ? WHERE id = ? AND revoked = 0");
  RETURN_IF_ERROR(update.Integer(certificate_ends_unix).Text(id).Run("renew an identity"));
  return update.changed() == 1 ? OkStatus() : Unauthenticated("this identity was revoked meanwhile");
}

Status IdentityStore::Check(const std::string& id) {
  const std::lock_guard lock(mutex_);
  SqlStatement find = Prepare("SELECT revoked FROM identities WHERE id = ?");
  ASSIGN_OR_RETURN(const bool found, find.Text(id).Row("look for an identity"));
  if (!found) return Unauthenticated("this identity is not in this master's list; join again with a new token");
  if (find.IntegerColumn() != 0)
    return Unauthenticated("this identity was revoked (`atelier workers forget`); join again with a new token");
  return OkStatus();
}

StatusOr<int> IdentityStore::Revoke(const std::string& name) {
  const std::lock_guard lock(mutex_);
  Change change(this);
  RETURN_IF_ERROR(change.begun());
  // Whoever is forgotten may still hold the token that it came with.
  RETURN_IF_ERROR(Prepare("UPDATE tokens SET uses = 0 WHERE hash IN (SELECT token FROM identities WHERE name = ?)")
                      .Text(name)
                      .Run("end a token"));
  SqlStatement revoke = Prepare("UPDATE identities SET revoked = 1 WHERE name = ? AND revoked = 0");
  RETURN_IF_ERROR(revoke.Text(name).Run("revoke an identity"));
  if (revoke.changed() == 0) return NotFound("no identity is named \"", name, "\"");
  RETURN_IF_ERROR(change.Commit());
  return static_cast<int>(revoke.changed());
}

Status IdentityStore::BackupTo(const std::string& path) {
  const std::lock_guard lock(mutex_);
  // An empty file of this mode is what SQLite then fills.
  const Fd made(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!made.valid()) return FileError(errno, "write the list of identities", path);
  return db_->BackupTo(path).status();
}

}  // namespace atelier
