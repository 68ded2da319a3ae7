#include "master/store/sqlite_database.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "master/store/files.h"

namespace atelier {
namespace {

constexpr int kSchemaVersion = 1;
constexpr int kBusyMs = 5000;
constexpr int64_t kPagesCheckedMax = 16'384;  // 64 MiB; more would delay the start of the master
constexpr char kSchema[] = R"sql(
CREATE TABLE schema_version(version INTEGER NOT NULL);
CREATE TABLE key_value(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE jobs(
  number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, prompt_json TEXT NOT NULL,
  workflow_json TEXT NOT NULL, settings_json TEXT NOT NULL, replicas INTEGER NOT NULL, tiles TEXT NOT NULL,
  state TEXT NOT NULL, error TEXT NOT NULL, plan_digest TEXT NOT NULL, created_unix_ms INTEGER NOT NULL,
  ended_unix_ms INTEGER NOT NULL, seconds REAL NOT NULL);
CREATE INDEX open_jobs ON jobs(number) WHERE ended_unix_ms = 0;
CREATE TABLE inputs(
  job_id TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, name TEXT NOT NULL, hash TEXT NOT NULL,
  size INTEGER NOT NULL, PRIMARY KEY(job_id, name)) WITHOUT ROWID;
CREATE TABLE accepted_tasks(
  number INTEGER PRIMARY KEY, job_id TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, task_id TEXT NOT NULL,
  results TEXT NOT NULL, files TEXT NOT NULL, worker TEXT NOT NULL, attempt INTEGER NOT NULL, seconds REAL NOT NULL,
  UNIQUE(job_id, task_id));
CREATE TABLE intents(
  job_id TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, file_index INTEGER NOT NULL, type TEXT NOT NULL,
  subfolder TEXT NOT NULL, base TEXT NOT NULL, counter INTEGER NOT NULL, extension TEXT NOT NULL,
  PRIMARY KEY(job_id, file_index)) WITHOUT ROWID;
CREATE TABLE outputs(
  job_id TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, file_index INTEGER NOT NULL, node TEXT NOT NULL,
  type TEXT NOT NULL, path TEXT NOT NULL, subfolder TEXT NOT NULL, filename TEXT NOT NULL, batch_index INTEGER NOT NULL,
  PRIMARY KEY(job_id, file_index)) WITHOUT ROWID;
INSERT INTO schema_version VALUES(1);
)sql";

struct FinalizeStatement {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};

void Bind(sqlite3_stmt* statement, int place, const SqlBind& value) {
  if (const auto* text = std::get_if<std::string_view>(&value))
    // Never a null pointer, which would be NULL.
    sqlite3_bind_text64(statement, place, text->data() == nullptr ? "" : text->data(), text->size(), SQLITE_STATIC,
                        SQLITE_UTF8);
  else if (const auto* number = std::get_if<int64_t>(&value))
    sqlite3_bind_int64(statement, place, *number);
  else
    sqlite3_bind_double(statement, place, std::get<double>(value));
}

SqlValue Column(sqlite3_stmt* statement, int column) {
  switch (sqlite3_column_type(statement, column)) {
    case SQLITE_INTEGER:
      return sqlite3_column_int64(statement, column);
    case SQLITE_FLOAT:
      return sqlite3_column_double(statement, column);
    default: {
      const void* bytes = sqlite3_column_blob(statement, column);
      if (bytes == nullptr) return std::string();
      return std::string(static_cast<const char*>(bytes), static_cast<size_t>(sqlite3_column_bytes(statement, column)));
    }
  }
}

}  // namespace

SqliteDatabase::~SqliteDatabase() { sqlite3_close(db_); }

Status SqliteDatabase::Failure(int rc, std::string_view doing) const {
  const std::string detail = db_ == nullptr ? sqlite3_errstr(rc) : sqlite3_errmsg(db_);
  const std::string what = Cat(identities_ ? "the list of identities '" : "the job database '", path_, "'");
  switch (rc & 0xff) {
    case SQLITE_CONSTRAINT:
      switch (db_ == nullptr ? rc : sqlite3_extended_errcode(db_)) {
        case SQLITE_CONSTRAINT_FOREIGNKEY:
          return NotFound("cannot ", doing, ": there is no such job");
        case SQLITE_CONSTRAINT_UNIQUE:
        case SQLITE_CONSTRAINT_PRIMARYKEY:
          return MakeStatus(StatusCode::kAlreadyExists, "cannot ", doing, ": it is recorded already");
        default:
          return Internal("cannot ", doing, ": ", detail);
      }
    case SQLITE_FULL:
      return ResourceExhausted("cannot ", doing, ": the disk of '", path_,
                               "' is full; free some space there or set master.state_dir to a larger disk");
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return DataLoss(what, " is damaged; restore a copy, or move it (and its -wal file) away ",
                      identities_ ? "and let everyone join again" : "to start with no jobs");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      if (identities_) return Unavailable("another process holds ", what, "; try again");
      return FailedPrecondition(what,
                                " is in use by another master; stop that one or give this one another state folder");
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return FailedPrecondition(what, " cannot be written: ", detail, "; check the folder's owner and permissions");
    case SQLITE_IOERR:
      return DataLoss("cannot ", doing, ": the disk of '", path_, "' reports an error (", detail,
                      "); check the disk and its free space");
    default:
      return Internal("cannot ", doing, " in '", path_, "': ", detail);
  }
}

Status SqliteDatabase::Execute(const char* sql) {
  const int rc = sqlite3_exec(db_, sql, nullptr, nullptr, nullptr);
  return rc == SQLITE_OK ? OkStatus() : Failure(rc, "use it");
}

StatusOr<SqlResult> SqliteDatabase::Run(std::string_view sql, const std::vector<SqlBind>& values,
                                        std::string_view doing) {
  sqlite3_stmt* made = nullptr;
  int rc = sqlite3_prepare_v2(db_, sql.data(), static_cast<int>(sql.size()), &made, nullptr);
  const std::unique_ptr<sqlite3_stmt, FinalizeStatement> statement(made);
  if (rc != SQLITE_OK) return Failure(rc, doing);
  for (size_t i = 0; i < values.size(); ++i) Bind(made, static_cast<int>(i) + 1, values[i]);
  SqlResult result;
  const int columns = sqlite3_column_count(made);
  while ((rc = sqlite3_step(made)) == SQLITE_ROW) {
    std::vector<SqlValue>& row = result.rows.emplace_back();
    for (int column = 0; column < columns; ++column) row.push_back(Column(made, column));
  }
  if (rc != SQLITE_DONE) return Failure(rc, doing);
  result.changed = sqlite3_changes(db_);
  return result;
}

Status SqliteDatabase::Begin() { return Execute("BEGIN IMMEDIATE"); }
Status SqliteDatabase::Commit() { return Execute("COMMIT"); }
void SqliteDatabase::Rollback() {
  // A failed COMMIT may have rolled back by itself.
  if (sqlite3_get_autocommit(db_) == 0) Execute("ROLLBACK").IgnoreError();
}
Status SqliteDatabase::BeginPart() { return Execute("SAVEPOINT part"); }
Status SqliteDatabase::EndPart() { return Execute("RELEASE part"); }
void SqliteDatabase::UndoPart() {
  Execute("ROLLBACK TO part").IgnoreError();
  Execute("RELEASE part").IgnoreError();
}

StatusOr<int64_t> SqliteDatabase::Number(const char* sql) {
  ASSIGN_OR_RETURN(const SqlResult result, Run(sql, {}, "read the job database"));
  const int64_t* number =
      result.rows.empty() || result.rows[0].empty() ? nullptr : std::get_if<int64_t>(&result.rows[0][0]);
  if (number == nullptr) return int64_t{0};
  return *number;
}

StatusOr<std::unique_ptr<SqliteDatabase>> SqliteDatabase::Open(const std::string& path) {
  std::unique_ptr<SqliteDatabase> database(new SqliteDatabase(path, false));
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (!folder.empty()) RETURN_IF_ERROR(MakeFolders(folder.string()));
  const int rc = sqlite3_open_v2(path.c_str(), &database->db_,
                                 SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  if (rc != SQLITE_OK) return database->Failure(rc, "open the job database");
  RETURN_IF_ERROR(database->TakeAndCheck());
  return database;
}

StatusOr<std::unique_ptr<SqliteDatabase>> SqliteDatabase::OpenIdentities(const std::string& path, const char* tables) {
  std::unique_ptr<SqliteDatabase> database(new SqliteDatabase(path, true));
  {
    // Made first, since SQLite would make it readable for all; its journal takes over the mode.
    const Fd made(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!made.valid()) return FailedPrecondition("the file ", path, " cannot be written: ", std::strerror(errno));
  }
  const int rc = sqlite3_open_v2(path.c_str(), &database->db_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  if (rc != SQLITE_OK) return database->Failure(rc, "open it");
  sqlite3_extended_result_codes(database->db_, 1);
  sqlite3_busy_timeout(database->db_, kBusyMs);
  RETURN_IF_ERROR(database->Execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA trusted_schema=OFF"));
  RETURN_IF_ERROR(database->Execute(tables));
  return database;
}

Status SqliteDatabase::TakeAndCheck() {
  sqlite3_extended_result_codes(db_, 1);
  // Exclusive: two masters on one state folder would both lease the same tasks.
  RETURN_IF_ERROR(
      Execute("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; "
              "PRAGMA foreign_keys=ON; PRAGMA trusted_schema=OFF; PRAGMA temp_store=MEMORY;"
              "PRAGMA journal_size_limit=67108864; PRAGMA cache_size=-4096;"));
  RETURN_IF_ERROR(Begin());  // takes the lock
  ASSIGN_OR_RETURN(const int64_t tables, Number("SELECT count(*) FROM sqlite_master"));
  ASSIGN_OR_RETURN(const int64_t versioned, Number("SELECT count(*) FROM sqlite_master WHERE name = 'schema_version'"));
  if (tables == 0) {
    RETURN_IF_ERROR(Execute(kSchema));
  } else if (versioned == 0) {
    return FailedPrecondition("'", path_, "' is a database of another program; give the master another state folder");
  }
  RETURN_IF_ERROR(Commit());
  ASSIGN_OR_RETURN(const int64_t version, Number("SELECT max(version) FROM schema_version"));
  if (version > kSchemaVersion) {
    return FailedPrecondition("the job database '", path_, "' has version ", version, " and this master knows ",
                              kSchemaVersion, "; start the newer master or give this one another state folder");
  }
  if (version != kSchemaVersion) {
    return DataLoss("the job database '", path_, "' is damaged (version ", version,
                    "); restore a copy, or move it (and its -wal file) away to start with no jobs");
  }
  // A look at every page costs milliseconds for a usual database, and damage is told now, not in the middle of a job.
  ASSIGN_OR_RETURN(const int64_t pages, Number("PRAGMA page_count"));
  if (pages <= kPagesCheckedMax) {
    ASSIGN_OR_RETURN(const SqlResult check, Run("PRAGMA quick_check(1)", {}, "check the job database"));
    if (check.rows.at(0).at(0) != SqlValue(std::string("ok"))) return Failure(SQLITE_CORRUPT, "check the job database");
  }
  // Later than version 1 of the schema, but no reader of it minds an index.
  return Execute("CREATE INDEX IF NOT EXISTS ended_jobs ON jobs(ended_unix_ms, number, id) WHERE ended_unix_ms <> 0");
}

StatusOr<uint64_t> SqliteDatabase::BackupTo(const std::string& path) {
  sqlite3* copy = nullptr;
  int rc = sqlite3_open_v2(path.c_str(), &copy, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
  uint64_t bytes = 0;
  if (rc == SQLITE_OK) {
    sqlite3_backup* backup = sqlite3_backup_init(copy, "main", db_, "main");
    rc = backup == nullptr ? sqlite3_errcode(copy) : sqlite3_backup_step(backup, -1);
    if (backup != nullptr && (rc == SQLITE_DONE || rc == SQLITE_OK)) {
      bytes = static_cast<uint64_t>(sqlite3_backup_pagecount(backup)) * 4096;
      rc = sqlite3_backup_finish(backup);
    } else if (backup != nullptr) {
      sqlite3_backup_finish(backup);
    }
  }
  const std::string detail = sqlite3_errmsg(copy);
  // The copy is one file, without a log beside it.
  if (rc == SQLITE_OK) rc = sqlite3_exec(copy, "PRAGMA journal_mode=DELETE", nullptr, nullptr, nullptr);
  sqlite3_close(copy);
  if ((rc & 0xff) == SQLITE_FULL)
    return ResourceExhausted("cannot back up to '", path, "': the disk is full; free some space there");
  if (rc != SQLITE_OK) return FailedPrecondition("cannot back up to '", path, "': ", detail);
  return bytes;
}

}  // namespace atelier
