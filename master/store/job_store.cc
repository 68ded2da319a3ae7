#include "master/store/job_store.h"

#include <sqlite3.h>

#include <filesystem>
#include <utility>

#include "common/json/json.h"
#include "master/store/files.h"

namespace atelier {
namespace {

constexpr int kSchemaVersion = 1;
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

Json ToJson(const BlobRef& blob) { return Json{{"hash", blob.hash}, {"size", blob.size}}; }

std::string ResultsText(const std::vector<BlobRef>& blobs) {
  Json list = Json::array();
  for (const BlobRef& blob : blobs) list.push_back(ToJson(blob));
  return DumpJson(list);
}

std::string FilesText(const std::vector<OutputFileMeta>& files) {
  Json list = Json::array();
  for (const OutputFileMeta& file : files) {
    Json item = Json{{"node", file.node},
                     {"type", file.type},
                     {"prefix", file.prefix},
                     {"extension", file.extension},
                     {"batch_index", file.batch_index},
                     {"width", file.width},
                     {"height", file.height},
                     {"embed_workflow", file.embed_workflow},
                     {"blob", ToJson(file.blob)}};
    if (file.suffix.has_value()) item["suffix"] = *file.suffix;
    list.push_back(std::move(item));
  }
  return DumpJson(list);
}

// Reads what the functions above wrote; anything else means a damaged database.
bool ReadBlob(const Json& json, BlobRef* blob) {
  if (!json.is_object()) return false;
  const auto hash = json.find("hash"), size = json.find("size");
  if (hash == json.end() || !hash->is_string() || size == json.end() || !size->is_number_unsigned()) return false;
  *blob = {hash->get<std::string>(), size->get<uint64_t>()};
  return true;
}

bool ReadFile(const Json& json, OutputFileMeta* file) {
  if (!json.is_object()) return false;
  const auto text = [&](const char* key, std::string* to) {
    const auto at = json.find(key);
    if (at == json.end() || !at->is_string()) return false;
    *to = at->get<std::string>();
    return true;
  };
  const auto number = [&](const char* key, uint32_t* to) {
    const auto at = json.find(key);
    if (at == json.end() || !at->is_number_unsigned()) return false;
    *to = at->get<uint32_t>();
    return true;
  };
  const auto embed = json.find("embed_workflow"), blob = json.find("blob");
  if (embed == json.end() || !embed->is_boolean() || blob == json.end()) return false;
  file->embed_workflow = embed->get<bool>();
  if (json.contains("suffix") && !text("suffix", &file->suffix.emplace())) return false;
  return text("node", &file->node) && text("type", &file->type) && text("prefix", &file->prefix) &&
         text("extension", &file->extension) && number("batch_index", &file->batch_index) &&
         number("width", &file->width) && number("height", &file->height) && ReadBlob(*blob, &file->blob);
}

template <typename T>
StatusOr<std::vector<T>> ReadList(const std::string& text, bool (*read)(const Json&, T*)) {
  StatusOr<Json> json = ParseJson(text);
  std::vector<T> list;
  if (!json.ok() || !json->is_array()) return DataLoss("the job database holds a list that cannot be read");
  for (const Json& item : *json) {
    if (!read(item, &list.emplace_back())) return DataLoss("the job database holds a list that cannot be read");
  }
  return list;
}

// A column for both: an extension has letters and digits only.
std::string ExtensionText(const OutputIntent& intent) {
  return intent.suffix.has_value() ? Cat(*intent.suffix, ".", intent.extension) : intent.extension;
}

void ReadExtension(const std::string& text, OutputIntent& intent) {
  const size_t dot = text.rfind('.');
  if (dot != std::string::npos) intent.suffix = text.substr(0, dot);
  intent.extension = dot == std::string::npos ? text : text.substr(dot + 1);
}

}  // namespace

// A prepared statement. Binds and columns in the order of the SQL.
class JobStore::Statement {
 public:
  Statement(const JobStore* store, sqlite3_stmt* statement) : store_(store), statement_(statement) {}
  Statement(Statement&& other) noexcept : store_(other.store_), statement_(std::exchange(other.statement_, nullptr)) {}
  Statement& operator=(Statement&&) = delete;
  ~Statement() { sqlite3_finalize(statement_); }

  Statement& Text(std::string_view text) {
    // Never a null pointer, which would be NULL; the callers' bytes outlive the statement's only use.
    sqlite3_bind_text64(statement_, ++bound_, text.data() == nullptr ? "" : text.data(), text.size(), SQLITE_STATIC,
                        SQLITE_UTF8);
    return *this;
  }
  Statement& Integer(int64_t number) {
    sqlite3_bind_int64(statement_, ++bound_, number);
    return *this;
  }
  Statement& Unsigned(uint64_t number) { return Integer(static_cast<int64_t>(number)); }
  Statement& Real(double number) {
    sqlite3_bind_double(statement_, ++bound_, number);
    return *this;
  }

  // The next row, or false at the end.
  StatusOr<bool> Row(std::string_view doing) {
    column_ = 0;
    const int rc = sqlite3_step(statement_);
    if (rc == SQLITE_ROW) return true;
    if (rc == SQLITE_DONE) return false;
    return store_->Failure(rc, doing);
  }
  Status Run(std::string_view doing) { return Row(doing).status(); }

  std::string TextColumn() {
    const int column = column_++;
    const void* bytes = sqlite3_column_blob(statement_, column);
    if (bytes == nullptr) return "";
    return std::string(static_cast<const char*>(bytes), static_cast<size_t>(sqlite3_column_bytes(statement_, column)));
  }
  int64_t IntegerColumn() { return sqlite3_column_int64(statement_, column_++); }
  uint64_t UnsignedColumn() { return static_cast<uint64_t>(IntegerColumn()); }
  uint32_t Unsigned32Column() { return static_cast<uint32_t>(IntegerColumn()); }
  double RealColumn() { return sqlite3_column_double(statement_, column_++); }

 private:
  const JobStore* store_;
  sqlite3_stmt* statement_;
  int bound_ = 0, column_ = 0;
};

// All or nothing: outside a transaction one of its own, inside it a part that can fail alone.
class JobStore::Scope {
 public:
  explicit Scope(JobStore* store) : store_(store), begun_(store->Execute("SAVEPOINT method")) {}
  ~Scope() {
    if (open_ && begun_.ok()) {
      store_->Execute("ROLLBACK TO method").IgnoreError();
      store_->Execute("RELEASE method").IgnoreError();
    }
  }
  const Status& status() const { return begun_; }
  /// The failpoints "NAME before commit" and "NAME after commit" surround it.
  Status Commit(std::string_view name) {
    if (failpoint_hook != nullptr) failpoint_hook(Cat(name, " before commit"));
    RETURN_IF_ERROR(store_->Execute("RELEASE method"));
    open_ = false;
    if (failpoint_hook != nullptr) failpoint_hook(Cat(name, " after commit"));
    return OkStatus();
  }

 private:
  JobStore* store_;
  Status begun_;
  bool open_ = true;
};

JobStore::~JobStore() { sqlite3_close(db_); }

Status JobStore::Failure(int rc, std::string_view doing) const {
  const std::string detail = db_ == nullptr ? sqlite3_errstr(rc) : sqlite3_errmsg(db_);
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
      return DataLoss("the job database '", path_,
                      "' is damaged; restore a copy, or move it (and its -wal file) away to start with no jobs");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return FailedPrecondition("the job database '", path_,
                                "' is in use by another master; stop that one or give this one another state folder");
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return FailedPrecondition("the job database '", path_, "' cannot be written: ", detail,
                                "; check the folder's owner and permissions");
    case SQLITE_IOERR:
      return DataLoss("cannot ", doing, ": the disk of '", path_, "' reports an error (", detail,
                      "); check the disk and its free space");
    default:
      return Internal("cannot ", doing, " in '", path_, "': ", detail);
  }
}

Status JobStore::Execute(const char* sql) {
  const int rc = sqlite3_exec(db_, sql, nullptr, nullptr, nullptr);
  return rc == SQLITE_OK ? OkStatus() : Failure(rc, "use the job database");
}

StatusOr<JobStore::Statement> JobStore::Prepare(const char* sql) {
  sqlite3_stmt* statement = nullptr;
  const int rc = sqlite3_prepare_v2(db_, sql, -1, &statement, nullptr);
  if (rc != SQLITE_OK) return Failure(rc, "use the job database");
  return Statement(this, statement);
}

StatusOr<std::unique_ptr<JobStore>> JobStore::Open(const std::string& path) {
  std::unique_ptr<JobStore> store(new JobStore);
  store->path_ = path;
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (!folder.empty()) RETURN_IF_ERROR(MakeFolders(folder.string()));
  const int rc = sqlite3_open_v2(path.c_str(), &store->db_,
                                 SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  if (rc != SQLITE_OK) return store->Failure(rc, "open the job database");
  sqlite3_extended_result_codes(store->db_, 1);
  // Exclusive: two masters on one state folder would both lease the same tasks.
  RETURN_IF_ERROR(
      store->Execute("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; "
                     "PRAGMA foreign_keys=ON; PRAGMA trusted_schema=OFF; PRAGMA temp_store=MEMORY;"
                     "PRAGMA journal_size_limit=67108864; PRAGMA cache_size=-4096;"));
  RETURN_IF_ERROR(store->Execute("BEGIN IMMEDIATE"));  // takes the lock
  int64_t tables = 0;
  bool versioned = false;
  {
    ASSIGN_OR_RETURN(Statement count,
                     store->Prepare("SELECT count(*), sum(name = 'schema_version') FROM sqlite_master"));
    RETURN_IF_ERROR(count.Run("read the job database"));
    tables = count.IntegerColumn();
    versioned = count.IntegerColumn() > 0;
  }
  if (tables == 0) {
    RETURN_IF_ERROR(store->Execute(kSchema));
  } else if (!versioned) {
    return FailedPrecondition("'", path, "' is a database of another program; give the master another state folder");
  }
  RETURN_IF_ERROR(store->Execute("COMMIT"));
  int64_t version = 0;
  {
    ASSIGN_OR_RETURN(Statement select, store->Prepare("SELECT max(version) FROM schema_version"));
    RETURN_IF_ERROR(select.Run("read the job database"));
    version = select.IntegerColumn();
  }
  if (version > kSchemaVersion) {
    return FailedPrecondition("the job database '", path, "' has version ", version, " and this master knows ",
                              kSchemaVersion, "; start the newer master or give this one another state folder");
  }
  if (version != kSchemaVersion) {
    return DataLoss("the job database '", path, "' is damaged (version ", version,
                    "); restore a copy, or move it (and its -wal file) away to start with no jobs");
  }
  {
    // A look at every page costs milliseconds for a usual database, and damage is told now, not in the middle of a job.
    ASSIGN_OR_RETURN(Statement pages, store->Prepare("PRAGMA page_count"));
    RETURN_IF_ERROR(pages.Run("check the job database"));
    if (pages.IntegerColumn() <= kPagesCheckedMax) {
      ASSIGN_OR_RETURN(Statement check, store->Prepare("PRAGMA quick_check(1)"));
      RETURN_IF_ERROR(check.Run("check the job database"));
      if (check.TextColumn() != "ok") return store->Failure(SQLITE_CORRUPT, "check the job database");
    }
  }
  // Later than version 1 of the schema, but no reader of it minds an index.
  RETURN_IF_ERROR(store->Execute(
      "CREATE INDEX IF NOT EXISTS ended_jobs ON jobs(ended_unix_ms, number, id) WHERE ended_unix_ms <> 0"));
  return store;
}

// ---------------------------------------------------------------- transactions

StatusOr<JobStore::Transaction> JobStore::Begin() {
  if (in_transaction_) return Internal("a second transaction while one is open");
  RETURN_IF_ERROR(Execute("BEGIN IMMEDIATE"));
  in_transaction_ = true;
  return Transaction(this);
}

JobStore::Transaction::~Transaction() {
  if (store_ == nullptr) return;
  // A failed COMMIT may have rolled back by itself.
  if (sqlite3_get_autocommit(store_->db_) == 0) store_->Execute("ROLLBACK").IgnoreError();
  store_->in_transaction_ = false;
}

Status JobStore::Transaction::Commit() {
  if (store_ == nullptr) return Internal("a transaction committed twice");
  Failpoint("results before commit");
  RETURN_IF_ERROR(store_->Execute("COMMIT"));
  Failpoint("results after commit");
  store_->in_transaction_ = false;
  store_ = nullptr;
  return OkStatus();
}

// ---------------------------------------------------------------- writing

Status JobStore::CheckJob(std::string_view id) {
  ASSIGN_OR_RETURN(Statement select, Prepare("SELECT 1 FROM jobs WHERE id = ?"));
  ASSIGN_OR_RETURN(const bool found, select.Text(id).Row("find a job"));
  if (!found) return NotFound("there is no job '", id.substr(0, 80), "'");
  return OkStatus();
}

Status JobStore::InsertJob(const JobRecord& job, const std::vector<InputBinding>& inputs) {
  Scope scope(this);
  RETURN_IF_ERROR(scope.status());
  {
    ASSIGN_OR_RETURN(Statement insert,
                     Prepare("INSERT INTO jobs(id, name, prompt_json, workflow_json, settings_json, replicas, tiles, "
                             "state, error, plan_digest, created_unix_ms, ended_unix_ms, seconds) "
                             "VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?)"));
    insert.Text(job.id).Text(job.name).Text(job.prompt_json).Text(job.workflow_json).Text(job.settings_json);
    insert.Integer(job.replicas).Text(job.tiles).Text(job.state).Text(job.error).Text(job.plan_digest);
    insert.Integer(job.created_unix_ms).Integer(job.ended_unix_ms).Real(job.seconds);
    RETURN_IF_ERROR(insert.Run(Cat("record job ", job.id)));
  }
  for (const InputBinding& input : inputs) {
    ASSIGN_OR_RETURN(Statement insert, Prepare("INSERT INTO inputs(job_id, name, hash, size) VALUES(?,?,?,?)"));
    insert.Text(job.id).Text(input.name).Text(input.blob.hash).Unsigned(input.blob.size);
    RETURN_IF_ERROR(insert.Run(Cat("record input '", input.name, "' of job ", job.id)));
  }
  return scope.Commit("job");
}

Status JobStore::UpdateJob(std::string_view id, std::string_view state, std::string_view error, int64_t ended_unix_ms,
                           double seconds) {
  ASSIGN_OR_RETURN(Statement update,
                   Prepare("UPDATE jobs SET state = ?, error = ?, ended_unix_ms = ?, seconds = ? WHERE id = ?"));
  update.Text(state).Text(error).Integer(ended_unix_ms).Real(seconds).Text(id);
  RETURN_IF_ERROR(update.Run(Cat("change job ", id)));
  if (sqlite3_changes(db_) == 0) return NotFound("there is no job '", id.substr(0, 80), "'");
  return OkStatus();
}

Status JobStore::AcceptTask(const AcceptedTask& task) {
  const std::string results = ResultsText(task.results), files = FilesText(task.files);
  ASSIGN_OR_RETURN(Statement insert,
                   Prepare("INSERT INTO accepted_tasks(job_id, task_id, results, files, worker, attempt, seconds) "
                           "VALUES(?,?,?,?,?,?,?)"));
  insert.Text(task.job_id).Text(task.task_id).Text(results).Text(files).Text(task.worker).Unsigned(task.attempt);
  return insert.Real(task.seconds).Run(Cat("record the result of task ", task.task_id, " of job ", task.job_id));
}

Status JobStore::PutIntents(std::string_view job_id, const std::vector<OutputIntent>& intents) {
  Scope scope(this);
  RETURN_IF_ERROR(scope.status());
  RETURN_IF_ERROR(CheckJob(job_id));
  {
    ASSIGN_OR_RETURN(Statement remove, Prepare("DELETE FROM intents WHERE job_id = ?"));
    RETURN_IF_ERROR(remove.Text(job_id).Run("record output names"));
  }
  for (const OutputIntent& intent : intents) {
    ASSIGN_OR_RETURN(Statement insert,
                     Prepare("INSERT INTO intents(job_id, file_index, type, subfolder, base, counter, extension) "
                             "VALUES(?,?,?,?,?,?,?)"));
    insert.Text(job_id).Integer(intent.index).Text(intent.type).Text(intent.subfolder).Text(intent.base);
    const std::string extension = ExtensionText(intent);
    insert.Unsigned(intent.counter).Text(extension);
    RETURN_IF_ERROR(insert.Run(Cat("record output names of job ", job_id)));
  }
  return scope.Commit("intents");
}

Status JobStore::InsertOutputs(std::string_view job_id, const std::vector<SavedOutput>& outputs) {
  Scope scope(this);
  RETURN_IF_ERROR(scope.status());
  RETURN_IF_ERROR(CheckJob(job_id));
  for (const SavedOutput& output : outputs) {
    ASSIGN_OR_RETURN(
        Statement insert,
        Prepare("INSERT OR REPLACE INTO outputs(job_id, file_index, node, type, path, subfolder, filename, "
                "batch_index) VALUES(?,?,?,?,?,?,?,?)"));
    insert.Text(job_id).Integer(output.index).Text(output.node).Text(output.type).Text(output.path);
    insert.Text(output.subfolder).Text(output.filename).Integer(output.batch_index);
    RETURN_IF_ERROR(insert.Run(Cat("record outputs of job ", job_id)));
  }
  return scope.Commit("outputs");
}

Status JobStore::FinishJob(std::string_view id, std::string_view state, std::string_view error, int64_t ended_unix_ms,
                           double seconds, const std::vector<SavedOutput>& outputs) {
  Scope scope(this);
  RETURN_IF_ERROR(scope.status());
  RETURN_IF_ERROR(UpdateJob(id, state, error, ended_unix_ms, seconds));
  RETURN_IF_ERROR(InsertOutputs(id, outputs));
  {
    ASSIGN_OR_RETURN(Statement remove, Prepare("DELETE FROM intents WHERE job_id = ?"));
    RETURN_IF_ERROR(remove.Text(id).Run("end a job"));
  }
  return scope.Commit("end");
}

Status JobStore::ForgetAccepted(std::string_view job_id) {
  ASSIGN_OR_RETURN(Statement remove, Prepare("DELETE FROM accepted_tasks WHERE job_id = ?"));
  return remove.Text(job_id).Run(Cat("drop the results of job ", job_id));
}

Status JobStore::DeleteJob(std::string_view id) {
  ASSIGN_OR_RETURN(const JobRecord job, GetJob(id));
  if (job.ended_unix_ms == 0) return FailedPrecondition("job ", id, " has not ended; cancel it first");
  ASSIGN_OR_RETURN(Statement remove, Prepare("DELETE FROM jobs WHERE id = ?"));
  return remove.Text(id).Run(Cat("delete job ", id));
}

Status JobStore::DeleteOutputs(std::string_view job_id) {
  ASSIGN_OR_RETURN(Statement remove, Prepare("DELETE FROM outputs WHERE job_id = ?"));
  return remove.Text(job_id).Run(Cat("forget the outputs of job ", job_id));
}

StatusOr<uint64_t> JobStore::BackupTo(const std::string& path) {
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

// ---------------------------------------------------------------- reading

StatusOr<std::vector<JobStore::Ended>> JobStore::EndedJobs(int64_t before_unix_ms, uint32_t limit) {
  ASSIGN_OR_RETURN(Statement select, Prepare("SELECT id, ended_unix_ms FROM jobs WHERE ended_unix_ms <> 0 AND "
                                             "ended_unix_ms < ? ORDER BY ended_unix_ms, number LIMIT ?"));
  select.Integer(before_unix_ms).Integer(limit == 0 ? -1 : int64_t{limit});
  std::vector<Ended> ended;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, select.Row("read jobs"));
    if (!row) return ended;
    std::string id = select.TextColumn();
    ended.push_back({std::move(id), select.IntegerColumn()});
  }
}

StatusOr<int64_t> JobStore::CountEndedJobs() {
  ASSIGN_OR_RETURN(Statement count, Prepare("SELECT count(*) FROM jobs WHERE ended_unix_ms <> 0"));
  RETURN_IF_ERROR(count.Run("count jobs"));
  return count.IntegerColumn();
}

StatusOr<std::vector<JobRecord>> JobStore::QueryJobs(const char* where_sql, std::string_view argument) {
  const std::string sql =
      Cat("SELECT id, name, prompt_json, workflow_json, settings_json, replicas, tiles, state, error, plan_digest, "
          "created_unix_ms, ended_unix_ms, seconds FROM jobs ",
          where_sql);
  ASSIGN_OR_RETURN(Statement select, Prepare(sql.c_str()));
  if (sql.find('?') != std::string::npos) select.Text(argument);
  std::vector<JobRecord> jobs;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, select.Row("read jobs"));
    if (!row) return jobs;
    JobRecord& job = jobs.emplace_back();
    job.id = select.TextColumn();
    job.name = select.TextColumn();
    job.prompt_json = select.TextColumn();
    job.workflow_json = select.TextColumn();
    job.settings_json = select.TextColumn();
    job.replicas = static_cast<int32_t>(select.IntegerColumn());
    job.tiles = select.TextColumn();
    job.state = select.TextColumn();
    job.error = select.TextColumn();
    job.plan_digest = select.TextColumn();
    job.created_unix_ms = select.IntegerColumn();
    job.ended_unix_ms = select.IntegerColumn();
    job.seconds = select.RealColumn();
  }
}

StatusOr<std::vector<OpenJob>> JobStore::LoadOpenJobs() {
  ASSIGN_OR_RETURN(std::vector<JobRecord> jobs, QueryJobs("WHERE ended_unix_ms = 0 ORDER BY number", ""));
  std::vector<OpenJob> open;
  for (JobRecord& job : jobs) {
    ASSIGN_OR_RETURN(std::vector<InputBinding> inputs, GetInputs(job.id));
    ASSIGN_OR_RETURN(std::vector<AcceptedTask> accepted, GetAcceptedTasks(job.id));
    ASSIGN_OR_RETURN(std::vector<OutputIntent> intents, GetIntents(job.id));
    open.push_back({std::move(job), std::move(inputs), std::move(accepted), std::move(intents)});
  }
  return open;
}

StatusOr<std::vector<JobRecord>> JobStore::ListJobs(uint32_t limit) {
  const std::string where = Cat("ORDER BY number DESC LIMIT ", limit == 0 ? int64_t{-1} : int64_t{limit});
  return QueryJobs(where.c_str(), "");
}

StatusOr<JobRecord> JobStore::GetJob(std::string_view id) {
  ASSIGN_OR_RETURN(std::vector<JobRecord> jobs, QueryJobs("WHERE id = ?", id));
  if (jobs.empty()) return NotFound("there is no job '", id.substr(0, 80), "'");
  return std::move(jobs.front());
}

StatusOr<std::vector<InputBinding>> JobStore::GetInputs(std::string_view id) {
  ASSIGN_OR_RETURN(Statement select, Prepare("SELECT name, hash, size FROM inputs WHERE job_id = ? ORDER BY name"));
  select.Text(id);
  std::vector<InputBinding> inputs;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, select.Row("read inputs"));
    if (!row) return inputs;
    InputBinding& input = inputs.emplace_back();
    input.name = select.TextColumn();
    input.blob.hash = select.TextColumn();
    input.blob.size = select.UnsignedColumn();
  }
}

StatusOr<std::vector<AcceptedTask>> JobStore::GetAcceptedTasks(std::string_view id) {
  ASSIGN_OR_RETURN(Statement select, Prepare("SELECT job_id, task_id, results, files, worker, attempt, seconds FROM "
                                             "accepted_tasks WHERE job_id = ? ORDER BY number"));
  select.Text(id);
  std::vector<AcceptedTask> tasks;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, select.Row("read accepted tasks"));
    if (!row) return tasks;
    AcceptedTask& task = tasks.emplace_back();
    task.job_id = select.TextColumn();
    task.task_id = select.TextColumn();
    ASSIGN_OR_RETURN(task.results, ReadList(select.TextColumn(), &ReadBlob));
    ASSIGN_OR_RETURN(task.files, ReadList(select.TextColumn(), &ReadFile));
    task.worker = select.TextColumn();
    task.attempt = select.UnsignedColumn();
    task.seconds = select.RealColumn();
  }
}

StatusOr<std::vector<OutputIntent>> JobStore::GetIntents(std::string_view job_id) {
  ASSIGN_OR_RETURN(Statement select,
                   Prepare("SELECT file_index, type, subfolder, base, counter, extension FROM intents "
                           "WHERE job_id = ? ORDER BY file_index"));
  select.Text(job_id);
  std::vector<OutputIntent> intents;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, select.Row("read output names"));
    if (!row) return intents;
    OutputIntent& intent = intents.emplace_back();
    intent.index = select.Unsigned32Column();
    intent.type = select.TextColumn();
    intent.subfolder = select.TextColumn();
    intent.base = select.TextColumn();
    intent.counter = select.UnsignedColumn();
    ReadExtension(select.TextColumn(), intent);
  }
}

StatusOr<std::vector<SavedOutput>> JobStore::GetOutputs(std::string_view id) {
  ASSIGN_OR_RETURN(Statement select,
                   Prepare("SELECT file_index, node, type, path, subfolder, filename, batch_index FROM "
                           "outputs WHERE job_id = ? ORDER BY file_index"));
  select.Text(id);
  std::vector<SavedOutput> outputs;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, select.Row("read outputs"));
    if (!row) return outputs;
    SavedOutput& output = outputs.emplace_back();
    output.index = select.Unsigned32Column();
    output.node = select.TextColumn();
    output.type = select.TextColumn();
    output.path = select.TextColumn();
    output.subfolder = select.TextColumn();
    output.filename = select.TextColumn();
    output.batch_index = select.Unsigned32Column();
  }
}

StatusOr<std::set<std::string>> JobStore::LiveBlobs() {
  std::set<std::string> live;
  ASSIGN_OR_RETURN(Statement select, Prepare("SELECT id FROM jobs WHERE ended_unix_ms = 0"));
  while (true) {
    ASSIGN_OR_RETURN(const bool row, select.Row("read jobs"));
    if (!row) return live;
    const std::string id = select.TextColumn();
    ASSIGN_OR_RETURN(const std::vector<InputBinding> inputs, GetInputs(id));
    for (const InputBinding& input : inputs) live.insert(input.blob.hash);
    ASSIGN_OR_RETURN(const std::vector<AcceptedTask> tasks, GetAcceptedTasks(id));
    for (const AcceptedTask& task : tasks) {
      for (const BlobRef& blob : task.results) live.insert(blob.hash);
      for (const OutputFileMeta& file : task.files) live.insert(file.blob.hash);
    }
  }
}

// ---------------------------------------------------------------- keys

StatusOr<std::string> JobStore::GetValue(std::string_view key) {
  ASSIGN_OR_RETURN(Statement select, Prepare("SELECT value FROM key_value WHERE key = ?"));
  ASSIGN_OR_RETURN(const bool row, select.Text(key).Row("read a setting"));
  if (!row) return NotFound("the job database has no value '", key, "'");
  return select.TextColumn();
}

Status JobStore::SetValue(std::string_view key, std::string_view value) {
  Scope scope(this);
  RETURN_IF_ERROR(scope.status());
  {
    ASSIGN_OR_RETURN(Statement insert, Prepare("INSERT OR REPLACE INTO key_value(key, value) VALUES(?,?)"));
    RETURN_IF_ERROR(insert.Text(key).Text(value).Run(Cat("record '", key, "'")));
  }
  return scope.Commit("value");
}

StatusOr<uint64_t> JobStore::NextEpoch() {
  Scope scope(this);
  RETURN_IF_ERROR(scope.status());
  uint64_t epoch = 0;
  {
    ASSIGN_OR_RETURN(Statement next,
                     Prepare("INSERT INTO key_value(key, value) VALUES('epoch', '1') ON CONFLICT(key) DO UPDATE SET "
                             "value = CAST(CAST(value AS INTEGER) + 1 AS TEXT) RETURNING CAST(value AS INTEGER)"));
    RETURN_IF_ERROR(next.Run("count the epoch"));
    epoch = next.UnsignedColumn();
    RETURN_IF_ERROR(next.Run("count the epoch"));
  }
  RETURN_IF_ERROR(scope.Commit("epoch"));
  return epoch;
}

}  // namespace atelier
