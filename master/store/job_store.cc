#include "master/store/job_store.h"

#include <charconv>
#include <limits>
#include <utility>

#include "common/json/json.h"
#include "master/store/files.h"
#include "master/store/sqlite_database.h"

namespace atelier {
namespace {

constexpr int64_t kAll = std::numeric_limits<int64_t>::max();  // rows

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

// All or nothing, durable when it commits: outside a transaction one of its own, inside it a part that can fail alone.
class JobStore::Scope {
 public:
  explicit Scope(JobStore* store)
      : store_(store), part_(store->depth_ > 0), begun_(part_ ? store->db_->BeginPart() : store->db_->Begin()) {
    if (begun_.ok()) ++store_->depth_;
  }
  ~Scope() {
    if (!begun_.ok()) return;
    --store_->depth_;
    if (ended_) return;
    part_ ? store_->db_->UndoPart() : store_->db_->Rollback();
  }
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;
  const Status& status() const { return begun_; }
  /// The failpoints "NAME before commit" and "NAME after commit" surround it; "": none do.
  Status Commit(std::string_view name) {
    if (failpoint_hook != nullptr && !name.empty()) failpoint_hook(Cat(name, " before commit"));
    RETURN_IF_ERROR(part_ ? store_->db_->EndPart() : store_->db_->Commit());
    ended_ = true;
    if (failpoint_hook != nullptr && !name.empty()) failpoint_hook(Cat(name, " after commit"));
    return OkStatus();
  }

 private:
  JobStore* const store_;
  const bool part_;
  const Status begun_;
  bool ended_ = false;
};

JobStore::JobStore(std::unique_ptr<SqlDatabase> database) : db_(std::move(database)) {}
JobStore::~JobStore() = default;

StatusOr<std::unique_ptr<JobStore>> JobStore::Open(const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<SqliteDatabase> database, SqliteDatabase::Open(path));
  return std::make_unique<JobStore>(std::move(database));
}

SqlStatement JobStore::Prepare(std::string_view sql) { return SqlStatement(*db_, sql); }

Status JobStore::Change(SqlStatement& statement, std::string_view doing) {
  Scope scope(this);
  RETURN_IF_ERROR(scope.status());
  RETURN_IF_ERROR(statement.Run(doing));
  return scope.Commit("");
}

// ---------------------------------------------------------------- transactions

StatusOr<JobStore::Transaction> JobStore::Begin() {
  if (depth_ > 0) return Internal("a second transaction while one is open");
  RETURN_IF_ERROR(db_->Begin());
  depth_ = 1;
  return Transaction(this);
}

JobStore::Transaction::~Transaction() {
  if (store_ == nullptr) return;
  store_->db_->Rollback();
  store_->depth_ = 0;
}

Status JobStore::Transaction::Commit() {
  if (store_ == nullptr) return Internal("a transaction committed twice");
  Failpoint("results before commit");
  RETURN_IF_ERROR(store_->db_->Commit());
  Failpoint("results after commit");
  store_->depth_ = 0;
  store_ = nullptr;
  return OkStatus();
}

// ---------------------------------------------------------------- writing

Status JobStore::CheckJob(std::string_view id) {
  SqlStatement select = Prepare("SELECT 1 FROM jobs WHERE id = ?");
  ASSIGN_OR_RETURN(const bool found, select.Text(id).Row("find a job"));
  if (!found) return NotFound("there is no job '", id.substr(0, 80), "'");
  return OkStatus();
}

Status JobStore::InsertJob(const JobRecord& job, const std::vector<InputBinding>& inputs) {
  Scope scope(this);
  RETURN_IF_ERROR(scope.status());
  {
    SqlStatement insert = Prepare(
        "INSERT INTO jobs(id, name, prompt_json, workflow_json, settings_json, replicas, tiles, "
        "state, error, plan_digest, created_unix_ms, ended_unix_ms, seconds) "
        "VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?)");
    insert.Text(job.id).Text(job.name).Text(job.prompt_json).Text(job.workflow_json).Text(job.settings_json);
    insert.Integer(job.replicas).Text(job.tiles).Text(job.state).Text(job.error).Text(job.plan_digest);
    insert.Integer(job.created_unix_ms).Integer(job.ended_unix_ms).Real(job.seconds);
    RETURN_IF_ERROR(insert.Run(Cat("record job ", job.id)));
  }
  for (const InputBinding& input : inputs) {
    SqlStatement insert = Prepare("INSERT INTO inputs(job_id, name, hash, size) VALUES(?,?,?,?)");
    insert.Text(job.id).Text(input.name).Text(input.blob.hash).Unsigned(input.blob.size);
    RETURN_IF_ERROR(insert.Run(Cat("record input '", input.name, "' of job ", job.id)));
  }
  return scope.Commit("job");
}

Status JobStore::UpdateJob(std::string_view id, std::string_view state, std::string_view error, int64_t ended_unix_ms,
                           double seconds) {
  SqlStatement update = Prepare("UPDATE jobs SET state = ?, error = ?, ended_unix_ms = ?, seconds = ? WHERE id = ?");
  update.Text(state).Text(error).Integer(ended_unix_ms).Real(seconds).Text(id);
  RETURN_IF_ERROR(Change(update, Cat("change job ", id)));
  if (update.changed() == 0) return NotFound("there is no job '", id.substr(0, 80), "'");
  return OkStatus();
}

Status JobStore::AcceptTask(const AcceptedTask& task) {
  const std::string results = ResultsText(task.results), files = FilesText(task.files);
  SqlStatement insert = Prepare(
      "INSERT INTO accepted_tasks(job_id, task_id, results, files, worker, attempt, seconds) "
      "VALUES(?,?,?,?,?,?,?)");
  insert.Text(task.job_id).Text(task.task_id).Text(results).Text(files).Text(task.worker).Unsigned(task.attempt);
  insert.Real(task.seconds);
  return Change(insert, Cat("record the result of task ", task.task_id, " of job ", task.job_id));
}

Status JobStore::PutIntents(std::string_view job_id, const std::vector<OutputIntent>& intents) {
  Scope scope(this);
  RETURN_IF_ERROR(scope.status());
  RETURN_IF_ERROR(CheckJob(job_id));
  {
    SqlStatement remove = Prepare("DELETE FROM intents WHERE job_id = ?");
    RETURN_IF_ERROR(remove.Text(job_id).Run("record output names"));
  }
  for (const OutputIntent& intent : intents) {
    SqlStatement insert = Prepare(
        "INSERT INTO intents(job_id, file_index, type, subfolder, base, counter, extension) "
        "VALUES(?,?,?,?,?,?,?)");
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
    SqlStatement insert = Prepare(
        "INSERT INTO outputs(job_id, file_index, node, type, path, subfolder, filename, batch_index) "
        "VALUES(?,?,?,?,?,?,?,?) ON CONFLICT(job_id, file_index) DO UPDATE SET node = excluded.node, "
        "type = excluded.type, path = excluded.path, subfolder = excluded.subfolder, "
        "filename = excluded.filename, batch_index = excluded.batch_index");
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
    SqlStatement remove = Prepare("DELETE FROM intents WHERE job_id = ?");
    RETURN_IF_ERROR(remove.Text(id).Run("end a job"));
  }
  return scope.Commit("end");
}

Status JobStore::ForgetAccepted(std::string_view job_id) {
  SqlStatement remove = Prepare("DELETE FROM accepted_tasks WHERE job_id = ?");
  return Change(remove.Text(job_id), Cat("drop the results of job ", job_id));
}

Status JobStore::DeleteJob(std::string_view id) {
  ASSIGN_OR_RETURN(const JobRecord job, GetJob(id));
  if (job.ended_unix_ms == 0) return FailedPrecondition("job ", id, " has not ended; cancel it first");
  SqlStatement remove = Prepare("DELETE FROM jobs WHERE id = ?");
  return Change(remove.Text(id), Cat("delete job ", id));
}

Status JobStore::DeleteOutputs(std::string_view job_id) {
  SqlStatement remove = Prepare("DELETE FROM outputs WHERE job_id = ?");
  return Change(remove.Text(job_id), Cat("forget the outputs of job ", job_id));
}

StatusOr<uint64_t> JobStore::BackupTo(const std::string& path) { return db_->BackupTo(path); }

// ---------------------------------------------------------------- reading

StatusOr<std::vector<JobStore::Ended>> JobStore::EndedJobs(int64_t before_unix_ms, uint32_t limit) {
  SqlStatement select = Prepare(
      "SELECT id, ended_unix_ms FROM jobs WHERE ended_unix_ms <> 0 AND "
      "ended_unix_ms < ? ORDER BY ended_unix_ms, number LIMIT ?");
  select.Integer(before_unix_ms).Integer(limit == 0 ? kAll : int64_t{limit});
  std::vector<Ended> ended;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, select.Row("read jobs"));
    if (!row) return ended;
    std::string id = select.TextColumn();
    ended.push_back({std::move(id), select.IntegerColumn()});
  }
}

StatusOr<int64_t> JobStore::CountEndedJobs() {
  SqlStatement count = Prepare("SELECT count(*) FROM jobs WHERE ended_unix_ms <> 0");
  ASSIGN_OR_RETURN(const bool row, count.Row("count jobs"));
  return row ? count.IntegerColumn() : 0;
}

StatusOr<std::vector<JobRecord>> JobStore::QueryJobs(std::string_view where_sql, std::string_view argument) {
  const std::string sql =
      Cat("SELECT id, name, prompt_json, workflow_json, settings_json, replicas, tiles, state, error, plan_digest, "
          "created_unix_ms, ended_unix_ms, seconds FROM jobs ",
          where_sql);
  SqlStatement select = Prepare(sql);
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
  const std::string where = Cat("ORDER BY number DESC LIMIT ", limit == 0 ? kAll : int64_t{limit});
  return QueryJobs(where, "");
}

StatusOr<JobRecord> JobStore::GetJob(std::string_view id) {
  ASSIGN_OR_RETURN(std::vector<JobRecord> jobs, QueryJobs("WHERE id = ?", id));
  if (jobs.empty()) return NotFound("there is no job '", id.substr(0, 80), "'");
  return std::move(jobs.front());
}

StatusOr<std::vector<InputBinding>> JobStore::GetInputs(std::string_view id) {
  SqlStatement select = Prepare("SELECT name, hash, size FROM inputs WHERE job_id = ? ORDER BY name");
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
  SqlStatement select = Prepare(
      "SELECT job_id, task_id, results, files, worker, attempt, seconds FROM "
      "accepted_tasks WHERE job_id = ? ORDER BY number");
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
  SqlStatement select = Prepare(
      "SELECT file_index, type, subfolder, base, counter, extension FROM intents "
      "WHERE job_id = ? ORDER BY file_index");
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
  SqlStatement select = Prepare(
      "SELECT file_index, node, type, path, subfolder, filename, batch_index FROM "
      "outputs WHERE job_id = ? ORDER BY file_index");
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
  SqlStatement select = Prepare("SELECT id FROM jobs WHERE ended_unix_ms = 0");
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
  SqlStatement select = Prepare("SELECT value FROM key_value WHERE key = ?");
  ASSIGN_OR_RETURN(const bool row, select.Text(key).Row("read a setting"));
  if (!row) return NotFound("the job database has no value '", key, "'");
  return select.TextColumn();
}

Status JobStore::PutValue(std::string_view key, std::string_view value) {
  SqlStatement insert =
      Prepare("INSERT INTO key_value(key, value) VALUES(?,?) ON CONFLICT(key) DO UPDATE SET value = excluded.value");
  return insert.Text(key).Text(value).Run(Cat("record '", key, "'"));
}

Status JobStore::SetValue(std::string_view key, std::string_view value) {
  Scope scope(this);
  RETURN_IF_ERROR(scope.status());
  RETURN_IF_ERROR(PutValue(key, value));
  return scope.Commit("value");
}

StatusOr<uint64_t> JobStore::NextEpoch() {
  Scope scope(this);
  RETURN_IF_ERROR(scope.status());
  const StatusOr<std::string> last = GetValue("epoch");
  if (!last.ok() && last.status().code() != StatusCode::kNotFound) return last.status();
  uint64_t epoch = 0;
  if (last.ok() && std::from_chars(last->data(), last->data() + last->size(), epoch).ec != std::errc())
    return DataLoss("the job database holds the epoch '", last->substr(0, 80), "', which is no number; restore a copy");
  ++epoch;
  RETURN_IF_ERROR(PutValue("epoch", std::to_string(epoch)));
  RETURN_IF_ERROR(scope.Commit("epoch"));
  return epoch;
}

}  // namespace atelier
