#include "master/store/identity_store.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "master/store/files.h"

namespace atelier {
namespace {

constexpr int kBusyMs = 5000;
constexpr int64_t kTokenKeptSeconds = 86'400;  // after its end, so that a late use is told why it is refused
constexpr int64_t kIdentityKeptSeconds = int64_t{30} * 86'400;  // after the end of its last certificate
constexpr char kIdentitySchema[] = R"sql(
CREATE TABLE IF NOT EXISTS tokens(
  hash TEXT PRIMARY KEY, role TEXT NOT NULL, expires_unix INTEGER NOT NULL,
  uses INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS identities(
  id TEXT PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, ends_unix INTEGER NOT NULL,
  revoked INTEGER NOT NULL DEFAULT 0, token TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS identity_names ON identities(name);
)sql";

template <typename... Args>
Status Unauthenticated(const Args&... args) {
  return MakeStatus(StatusCode::kUnauthenticated, args...);
}

}  // namespace

// One prepared statement; binds and columns in the order of the SQL.
class IdentityStore::Statement {
 public:
  Statement(IdentityStore* store, const char* sql) : store_(store) {
    rc_ = sqlite3_prepare_v2(store->db_, sql, -1, &statement_, nullptr);
  }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  Statement& Text(std::string_view text) {
    sqlite3_bind_text64(statement_, ++bound_, text.data() == nullptr ? "" : text.data(), text.size(), SQLITE_TRANSIENT,
                        SQLITE_UTF8);
    return *this;
  }
  Statement& Integer(int64_t number) {
    sqlite3_bind_int64(statement_, ++bound_, number);
    return *this;
  }
  // Whether there is a row.
  StatusOr<bool> Row() {
    if (rc_ != SQLITE_OK) return store_->Failure(rc_);
    rc_ = sqlite3_step(statement_);
    if (rc_ != SQLITE_ROW && rc_ != SQLITE_DONE) return store_->Failure(rc_);
    const bool row = rc_ == SQLITE_ROW;
    rc_ = SQLITE_OK;
    return row;
  }
  // Runs it to its end; how many rows changed.
  StatusOr<int> Run() {
    RETURN_IF_ERROR(Row().status());
    return sqlite3_changes(store_->db_);
  }
  int64_t Integer(int column) { return sqlite3_column_int64(statement_, column); }
  std::string Text(int column) {
    const void* bytes = sqlite3_column_blob(statement_, column);
    return bytes == nullptr ? ""
                            : std::string(static_cast<const char*>(bytes),
                                          static_cast<size_t>(sqlite3_column_bytes(statement_, column)));
  }

 private:
  IdentityStore* const store_;
  sqlite3_stmt* statement_ = nullptr;
  int rc_ = SQLITE_OK;
  int bound_ = 0;
};

// A transaction that takes the writer's lock at once, so that what it reads stays true until it commits.
class IdentityStore::Change {
 public:
  explicit Change(IdentityStore* store) : store_(store), begun_(store->Execute("BEGIN IMMEDIATE")) {}
  ~Change() {
    if (begun_.ok() && !ended_) store_->Execute("ROLLBACK").IgnoreError();
  }
  Change(const Change&) = delete;
  Change& operator=(const Change&) = delete;
  const Status& begun() const { return begun_; }
  Status Commit() {
    RETURN_IF_ERROR(store_->Execute("COMMIT"));
    ended_ = true;
    return OkStatus();
  }

 private:
  IdentityStore* const store_;
  const Status begun_;
  bool ended_ = false;
};

Status IdentityStore::Failure(int rc) const {
  const char* detail = db_ == nullptr ? sqlite3_errstr(rc) : sqlite3_errmsg(db_);
  switch (rc & 0xff) {
    case SQLITE_FULL:
      return ResourceExhausted("the disk of ", path_, " is full");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return Unavailable("another process holds ", path_, "; try again");
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_IOERR:
      return DataLoss("the list of identities ", path_, " is damaged (", detail,
                      "); restore a copy, or remove it and let everyone join again");
    default:
      return FailedPrecondition("the list of identities ", path_, " cannot be used: ", detail);
  }
}

Status IdentityStore::Execute(const char* sql) {
  const int rc = sqlite3_exec(db_, sql, nullptr, nullptr, nullptr);
  return rc == SQLITE_OK ? OkStatus() : Failure(rc);
}

IdentityStore::~IdentityStore() { sqlite3_close(db_); }

StatusOr<std::unique_ptr<IdentityStore>> IdentityStore::Open(const std::string& path, bool shared) {
  std::unique_ptr<IdentityStore> store(new IdentityStore);
  store->path_ = path;
  {
    // Made first, since SQLite would make it readable for all; its journal takes over the mode.
    const Fd made(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!made.valid()) return FailedPrecondition("the file ", path, " cannot be written: ", std::strerror(errno));
  }
  const int rc = sqlite3_open_v2(path.c_str(), &store->db_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  if (rc != SQLITE_OK) return store->Failure(rc);
  sqlite3_busy_timeout(store->db_, kBusyMs);
  RETURN_IF_ERROR(store->Execute(shared ? "PRAGMA journal_mode=DELETE" : "PRAGMA journal_mode=WAL"));
  RETURN_IF_ERROR(store->Execute("PRAGMA synchronous=FULL; PRAGMA trusted_schema=OFF"));
  RETURN_IF_ERROR(store->Execute(kIdentitySchema));
  return store;
}

Status IdentityStore::AddToken(std::string_view hash, Role role, int64_t expires_unix, int64_t uses) {
  const std::lock_guard lock(mutex_);
  Change change(this);
  RETURN_IF_ERROR(change.begun());
  RETURN_IF_ERROR(Statement(this, "DELETE FROM tokens WHERE expires_unix < unixepoch() - ?")
                      .Integer(kTokenKeptSeconds)
                      .Run()
                      .status());
  RETURN_IF_ERROR(Statement(this, "DELETE FROM identities WHERE ends_unix < unixepoch() - ?")
                      .Integer(kIdentityKeptSeconds)
                      .Run()
                      .status());
  RETURN_IF_ERROR(Statement(this, "INSERT INTO tokens(hash, role, expires_unix, uses) VALUES(?,?,?,?)")
                      .Text(hash)
                      .Text(RoleName(role))
                      .Integer(expires_unix)
                      .Integer(uses)
                      .Run()
                      .status());
  return change.Commit();
}

StatusOr<IdentityInfo> IdentityStore::Insert(const std::string& name, Role role, int64_t certificate_ends_unix,
                                             std::string_view token) {
  IdentityInfo info{name, role, RandomHex(16)};
  RETURN_IF_ERROR(Statement(this, "INSERT INTO identities(id, name, role, ends_unix, token) VALUES(?,?,?,?,?)")
                      .Text(info.id)
                      .Text(name)
                      .Text(RoleName(role))
                      .Integer(certificate_ends_unix)
                      .Text(token)
                      .Run()
                      .status());
  return info;
}

StatusOr<IdentityInfo> IdentityStore::UseToken(std::string_view hash, const std::string& name, int64_t now_unix,
                                               int64_t worker_seconds, int64_t person_seconds) {
  const std::lock_guard lock(mutex_);
  Change change(this);
  RETURN_IF_ERROR(change.begun());
  Role role = Role::kViewer;
  {
    Statement find(this, "SELECT role, expires_unix, uses FROM tokens WHERE hash = ?");
    ASSIGN_OR_RETURN(const bool found, find.Text(hash).Row());
    if (!found) return Unauthenticated("this token is not known here; make one with `atelier-master token`");
    if (find.Integer(2) <= 0)
      return Unauthenticated("this token has been used; each is good once, make another with `atelier-master token`");
    if (find.Integer(1) <= now_unix)
      return Unauthenticated("this token is too old; make another with `atelier-master token`");
    ASSIGN_OR_RETURN(role, ParseRole(find.Text(0)));
  }
  if (role == Role::kWorker) {
    Statement taken(this,
                    "SELECT 1 FROM identities WHERE name = ? AND role = 'worker' AND revoked = 0 AND ends_unix > ?");
    ASSIGN_OR_RETURN(const bool row, taken.Text(name).Integer(now_unix).Row());
    if (row)
      return MakeStatus(StatusCode::kAlreadyExists, "a worker named \"", name,
                        "\" has joined: give this one another --name, or let an operator run `atelier workers forget ",
                        name, "` first");
  }
  RETURN_IF_ERROR(Statement(this, "UPDATE tokens SET uses = uses - 1 WHERE hash = ?").Text(hash).Run().status());
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
    RETURN_IF_ERROR(Statement(this, "UPDATE identities SET revoked = 1 WHERE name = ? AND role = ?")
                        .Text(name)
                        .Text(RoleName(role))
                        .Run()
                        .status());
  ASSIGN_OR_RETURN(IdentityInfo info, Insert(name, role, certificate_ends_unix, ""));
  RETURN_IF_ERROR(change.Commit());
  return info;
}

Status IdentityStore::Renewed(const std::string& id, int64_t certificate_ends_unix) {
  const std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(const int changed,
                   Statement(this, "UPDATE identities SET ends_unix = ? WHERE id = ? AND revoked = 0")
                       .Integer(certificate_ends_unix)
                       .Text(id)
                       .Run());
  return changed == 1 ? OkStatus() : Unauthenticated("this identity was revoked meanwhile");
}

Status IdentityStore::Check(const std::string& id) {
  const std::lock_guard lock(mutex_);
  Statement find(this, "SELECT revoked FROM identities WHERE id = ?");
  ASSIGN_OR_RETURN(const bool found, find.Text(id).Row());
  if (!found) return Unauthenticated("this identity is not in this master's list; join again with a new token");
  if (find.Integer(0) != 0)
    return Unauthenticated("this identity was revoked (`atelier workers forget`); join again with a new token");
  return OkStatus();
}

StatusOr<int> IdentityStore::Revoke(const std::string& name) {
  const std::lock_guard lock(mutex_);
  Change change(this);
  RETURN_IF_ERROR(change.begun());
  // Whoever is forgotten may still hold the token that it came with.
  RETURN_IF_ERROR(
      Statement(this, "UPDATE tokens SET uses = 0 WHERE hash IN (SELECT token FROM identities WHERE name = ?)")
          .Text(name)
          .Run()
          .status());
  ASSIGN_OR_RETURN(
      const int changed,
      Statement(this, "UPDATE identities SET revoked = 1 WHERE name = ? AND revoked = 0").Text(name).Run());
  if (changed == 0) return NotFound("no identity is named \"", name, "\"");
  RETURN_IF_ERROR(change.Commit());
  return changed;
}

Status IdentityStore::BackupTo(const std::string& path) {
  const std::lock_guard lock(mutex_);
  // An empty file of this mode is what SQLite then fills.
  const Fd made(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!made.valid()) return FileError(errno, "write the list of identities", path);
  return Statement(this, "VACUUM INTO ?").Text(path).Run().status();
}

}  // namespace atelier
