#include "master/store/postgres_database.h"

#include <endian.h>
#include <libpq-fe.h>
#include <pthread.h>

#include <bit>
#include <chrono>
#include <cstring>

#include "master/store/files.h"

namespace atelier {
namespace {

constexpr int kPostgresSchemaVersion = 1;
constexpr std::chrono::milliseconds kBeatEvery{500};
// The second key of the lock is the schema, so that several clusters may share a database.
constexpr char kLock[] = "1096041036, hashtext(current_schema()::text)";
constexpr char kBesideLock[] = "1096041038, hashtext(current_schema()::text)";
// A commit is on the disk when it returns, whatever the server's default is.
constexpr char kDurable[] =
    "SELECT set_config('synchronous_commit', 'on', false) FROM pg_settings "
    "WHERE name = 'synchronous_commit' AND setting = 'off'";
constexpr char kSilent[] = "SELECT (clock_timestamp() - at > interval '2.5 seconds')::int FROM leader_beat";
constexpr char kEndHolder[] =
    "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND classid = 1096041036 "
    "AND objid = (hashtext(current_schema()::text)::bigint & 4294967295)::oid AND objsubid = 2 "
    "AND pid <> pg_backend_pid()";

constexpr Oid kBytea = 17, kInt8 = 20, kInt4 = 23, kFloat8 = 701;

// Text is BYTEA: names of files and messages may be any bytes, and sort as such.
constexpr char kPostgresSchema[] = R"sql(
CREATE TABLE schema_version(version BIGINT NOT NULL);
CREATE TABLE leader(term BIGINT NOT NULL, holder BYTEA NOT NULL);
CREATE TABLE leader_beat(term BIGINT NOT NULL, at TIMESTAMPTZ NOT NULL);
CREATE TABLE key_value(key BYTEA PRIMARY KEY, value BYTEA NOT NULL);
CREATE TABLE jobs(
  number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id BYTEA NOT NULL UNIQUE, name BYTEA NOT NULL,
  prompt_json BYTEA NOT NULL, workflow_json BYTEA NOT NULL, settings_json BYTEA NOT NULL, replicas BIGINT NOT NULL,
  tiles BYTEA NOT NULL, state BYTEA NOT NULL, error BYTEA NOT NULL, plan_digest BYTEA NOT NULL,
  created_unix_ms BIGINT NOT NULL, ended_unix_ms BIGINT NOT NULL, seconds DOUBLE PRECISION NOT NULL);
CREATE INDEX open_jobs ON jobs(number) WHERE ended_unix_ms = 0;
CREATE INDEX ended_jobs ON jobs(ended_unix_ms, number, id) WHERE ended_unix_ms <> 0;
CREATE TABLE inputs(
  job_id BYTEA NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, name BYTEA NOT NULL, hash BYTEA NOT NULL,
  size BIGINT NOT NULL, PRIMARY KEY(job_id, name));
CREATE TABLE accepted_tasks(
  number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, job_id BYTEA NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,
  task_id BYTEA NOT NULL, results BYTEA NOT NULL, files BYTEA NOT NULL, worker BYTEA NOT NULL, attempt BIGINT NOT NULL,
  seconds DOUBLE PRECISION NOT NULL, UNIQUE(job_id, task_id));
CREATE TABLE intents(
  job_id BYTEA NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, file_index BIGINT NOT NULL, type BYTEA NOT NULL,
  subfolder BYTEA NOT NULL, base BYTEA NOT NULL, counter BIGINT NOT NULL, extension BYTEA NOT NULL,
  PRIMARY KEY(job_id, file_index));
CREATE TABLE outputs(
  job_id BYTEA NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, file_index BIGINT NOT NULL, node BYTEA NOT NULL,
  type BYTEA NOT NULL, path BYTEA NOT NULL, subfolder BYTEA NOT NULL, filename BYTEA NOT NULL,
  batch_index BIGINT NOT NULL, PRIMARY KEY(job_id, file_index));
INSERT INTO leader VALUES(0, '');
INSERT INTO leader_beat VALUES(0, 'epoch');
INSERT INTO schema_version VALUES(1);
)sql";

struct Clear {
  void operator()(PGresult* result) const { PQclear(result); }
};
using Result = std::unique_ptr<PGresult, Clear>;

// What the library says, on one line.
std::string Line(const char* text) {
  std::string line(text == nullptr ? "" : text);
  while (!line.empty() && line.back() == '\n') line.pop_back();
  for (char& c : line)
    if (c == '\n') c = ' ';
  return line.empty() ? "no reason given" : line;
}

// "?" is "$1", "$2"... here.
std::string Numbered(std::string_view sql) {
  std::string text;
  int place = 0;
  for (const char c : sql)
    if (c == '?')
      text += "$" + std::to_string(++place);
    else
      text += c;
  return text;
}

std::string BigEndian(uint64_t bits) {
  bits = htobe64(bits);
  return std::string(reinterpret_cast<const char*>(&bits), sizeof bits);
}

// The values of one statement as the wire has them.
struct Parameters {
  explicit Parameters(const std::vector<SqlBind>& values) {
    numbers.reserve(values.size());  // their bytes stay where they are
    for (const SqlBind& value : values) {
      if (const auto* text = std::get_if<std::string_view>(&value)) {
        Add(kBytea, text->data() == nullptr ? "" : text->data(), text->size());
        continue;
      }
      const auto* whole = std::get_if<int64_t>(&value);
      numbers.push_back(BigEndian(whole != nullptr ? static_cast<uint64_t>(*whole)
                                                   : std::bit_cast<uint64_t>(std::get<double>(value))));
      Add(whole != nullptr ? kInt8 : kFloat8, numbers.back().data(), numbers.back().size());
    }
  }
  void Add(Oid type, const char* bytes, size_t size) {
    types.push_back(type);
    pointers.push_back(bytes);
    lengths.push_back(static_cast<int>(size));
    formats.push_back(1);
  }
  std::vector<std::string> numbers;
  std::vector<Oid> types;
  std::vector<const char*> pointers;
  std::vector<int> lengths, formats;
};

StatusOr<SqlValue> Column(const PGresult* result, int row, int column) {
  const char* bytes = PQgetvalue(result, row, column);
  const auto size = static_cast<size_t>(PQgetlength(result, row, column));
  const Oid type = PQftype(result, column);
  if (PQgetisnull(result, row, column) == 0) {
    if (type == kBytea) return std::string(bytes, size);
    if ((type == kInt8 || type == kFloat8) && size == 8) {
      uint64_t bits = 0;
      std::memcpy(&bits, bytes, sizeof bits);
      bits = be64toh(bits);
      if (type == kFloat8) return std::bit_cast<double>(bits);
      return static_cast<int64_t>(bits);
    }
    if (type == kInt4 && size == 4) {
      uint32_t bits = 0;
      std::memcpy(&bits, bytes, sizeof bits);
      return int64_t{static_cast<int32_t>(be32toh(bits))};
    }
  }
  return Internal("the column ", PQfname(result, column), " of the job database has the type ", type);
}

}  // namespace

void PostgresDatabase::Close::operator()(PGconn* connection) const { PQfinish(connection); }

// ---------------------------------------------------------------- connections

StatusOr<PostgresDatabase::Connection> PostgresDatabase::Dial(const PostgresOptions& options) {
  char* fault = nullptr;
  PQconninfoOption* parsed = PQconninfoParse(options.url.c_str(), &fault);
  if (parsed == nullptr) {
    // The library's text may quote the url.
    PQfreemem(fault);
    return InvalidArgument("store.url is no connection string of PostgreSQL, expected as postgresql://HOST/DATABASE");
  }
  bool with_password = false;
  for (const PQconninfoOption* one = parsed; one->keyword != nullptr; ++one)
    with_password |= std::strcmp(one->keyword, "password") == 0 && one->val != nullptr;
  PQconninfoFree(parsed);
  if (with_password)
    return InvalidArgument("store.url holds a password, which would stand in logs; put it into store.password_file");
  // What the url says goes over what stands before it here.
  const char* const keys[] = {"connect_timeout",  "keepalives_idle",  "keepalives_interval",
                              "keepalives_count", "tcp_user_timeout", "application_name",
                              "dbname",           "password",         nullptr};
  const char* const values[] = {"3",
                                "2",
                                "1",
                                "3",
                                "3000",
                                "atelier-master",
                                options.url.c_str(),
                                options.password.empty() ? nullptr : options.password.c_str(),
                                nullptr};
  Connection connection(PQconnectdbParams(keys, values, 1));
  if (connection == nullptr || PQstatus(connection.get()) != CONNECTION_OK)
    return Unavailable("PostgreSQL does not let us in: ", Line(PQerrorMessage(connection.get())),
                       "; check store.url and store.password_file");
  PQsetNoticeProcessor(
      connection.get(), [](void*, const char*) {}, nullptr);
  return connection;
}

StatusOr<std::unique_ptr<PostgresDatabase>> PostgresDatabase::Connect(PostgresOptions options) {
  std::unique_ptr<PostgresDatabase> database(new PostgresDatabase(std::move(options)));
  ASSIGN_OR_RETURN(database->connection_, Dial(database->options_));
  // Read-only but for the transactions that Begin() begins, which check that this master is the active one.
  RETURN_IF_ERROR(database->Execute(
      Cat("SET default_transaction_read_only = on; SET idle_in_transaction_session_timeout = 0; ", kDurable),
      "set up the connection"));
  RETURN_IF_ERROR(database->MakeTables());
  return database;
}

std::unique_ptr<PostgresDatabase> PostgresDatabase::Beside(PostgresOptions options, std::string tables) {
  std::unique_ptr<PostgresDatabase> database(new PostgresDatabase(std::move(options)));
  database->tables_ = std::move(tables);
  return database;
}

// Not in the middle of a transaction, of which a new connection knows nothing.
Status PostgresDatabase::Reconnect() {
  if (tables_.empty() || begun_ || (connection_ != nullptr && PQstatus(connection_.get()) == CONNECTION_OK))
    return OkStatus();
  connection_.reset();
  ASSIGN_OR_RETURN(Connection connection, Dial(options_));
  connection_ = std::move(connection);
  // Nobody waits long for one that stopped in the middle of a change, which the server then ends.
  Status made = Execute(Cat(kDurable, "; SET lock_timeout = '4s'; SET idle_in_transaction_session_timeout = '3s'"),
                        "set up the connection");
  if (made.ok())
    made = Execute(Cat("BEGIN READ WRITE; SELECT pg_advisory_xact_lock(", kBesideLock, "); ", tables_, "; COMMIT"),
                   "make the tables");
  if (!made.ok()) connection_.reset();
  return made;
}

Status PostgresDatabase::MakeTables() {
  constexpr char kCount[] = "SELECT count(*) FROM pg_class WHERE oid = to_regclass('schema_version')";
  ASSIGN_OR_RETURN(int64_t tables, Number(kCount));
  if (tables == 0) {
    const std::string lock = "BEGIN READ WRITE; SELECT pg_advisory_xact_lock(1096041037)";  // one master makes them
    RETURN_IF_ERROR(Execute(lock, "make the tables"));
    const StatusOr<int64_t> now = Number(kCount);
    Status made = now.ok() && *now == 0 ? Execute(kPostgresSchema, "make the tables") : now.status();
    if (made.ok()) made = Execute("COMMIT", "make the tables");
    Rollback();
    RETURN_IF_ERROR(made);
  }
  ASSIGN_OR_RETURN(const int64_t version, Number("SELECT max(version) FROM schema_version"));
  if (version != kPostgresSchemaVersion)
    return FailedPrecondition("the job database has version ", version, " and this master knows ",
                              kPostgresSchemaVersion,
                              "; start the newer master, or name another database or schema in store.url");
  return OkStatus();
}

PostgresDatabase::~PostgresDatabase() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  ending_changed_.notify_all();
  if (beat_.joinable()) beat_.join();
}

// ---------------------------------------------------------------- who is active

StatusOr<bool> PostgresDatabase::TryTake() {
  ASSIGN_OR_RETURN(const int64_t locked, Number(Cat("SELECT pg_try_advisory_lock(", kLock, ")::int")));
  if (locked == 0) {
    ASSIGN_OR_RETURN(const int64_t silent, Number(kSilent));
    // A stopped process, or one behind a broken network: its connection ends here, and what is under way on it with it.
    if (silent != 0) RETURN_IF_ERROR(Number(kEndHolder).status());
    return false;
  }
  StatusOr<Connection> beat = Dial(options_);
  RETURN_IF_ERROR(beat.status());
  RETURN_IF_ERROR(Execute("BEGIN READ WRITE", "take over"));
  RETURN_IF_ERROR(Run("UPDATE leader SET term = term + 1, holder = ?", {options_.holder}, "take over").status());
  RETURN_IF_ERROR(
      Execute("UPDATE leader_beat SET term = (SELECT term FROM leader), at = clock_timestamp()", "take over"));
  ASSIGN_OR_RETURN(const int64_t term, Number("SELECT term FROM leader"));
  RETURN_IF_ERROR(Execute("COMMIT", "take over"));
  term_ = static_cast<uint64_t>(term);
  beat_connection_ = *std::move(beat);
  beat_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "leader");
    Beat();
  });
  return true;
}

StatusOr<std::string> PostgresDatabase::ActiveMaster() {
  ASSIGN_OR_RETURN(const SqlResult result, Run("SELECT holder FROM leader", {}, "ask who is active"));
  return result.rows.empty() ? "" : std::get<std::string>(result.rows[0][0]);
}

void PostgresDatabase::Beat() {
  PGconn* const connection = beat_connection_.get();
  // A beat that is lost with the server's machine is no loss.
  const Result set(PQexec(connection, "SET synchronous_commit = off"));
  const std::string beat = Cat("UPDATE leader_beat SET at = clock_timestamp() WHERE term = ", term_);
  std::unique_lock lock(mutex_);
  while (!ending_changed_.wait_for(lock, kBeatEvery, [&] { return ending_ || !lost_.ok(); })) {
    lock.unlock();
    const Result result(PQexec(connection, beat.c_str()));
    if (PQresultStatus(result.get()) != PGRES_COMMAND_OK)
      (void)Lost(Unavailable("the connection to PostgreSQL broke: ", Line(PQerrorMessage(connection))));
    else if (std::strcmp(PQcmdTuples(result.get()), "1") != 0)
      (void)Fenced();
    lock.lock();
  }
}

Status PostgresDatabase::Fenced() {
  return Lost(MakeStatus(StatusCode::kAborted, "another master has taken over; this one had term ", term_));
}

Status PostgresDatabase::Lost(Status why) {
  {
    const std::lock_guard lock(mutex_);
    if (term_ == 0 || ending_) return why;
    if (!lost_.ok()) return lost_;
    lost_ = why;
  }
  ending_changed_.notify_all();
  if (options_.lost) options_.lost(why);
  return why;
}

// ---------------------------------------------------------------- statements

Status PostgresDatabase::Failure(PGconn* connection, const PGresult* result, std::string_view doing) {
  const char* code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const std::string_view state = code == nullptr ? "" : code;
  const std::string detail = Line(PQerrorMessage(connection));
  if (PQstatus(connection) != CONNECTION_OK || state.starts_with("57P") || state.starts_with("08") || state.empty())
    return Lost(Unavailable("cannot ", doing, ": the connection to PostgreSQL broke: ", detail));
  if (state == "55P03")
    return Unavailable("cannot ", doing, ": another process is in the middle of a change; try again");
  if (state == "23505") return MakeStatus(StatusCode::kAlreadyExists, "cannot ", doing, ": it is recorded already");
  if (state == "23503") return NotFound("cannot ", doing, ": there is no such job");
  if (state == "53100")
    return ResourceExhausted("cannot ", doing, ": the disk of the PostgreSQL server is full; free some space there");
  if (state.starts_with("XX"))
    return DataLoss("cannot ", doing, ": the PostgreSQL server says that its data is damaged: ", detail);
  if (state == "42501" || state == "25006")
    return FailedPrecondition("cannot ", doing, ": the PostgreSQL server refuses it: ", detail,
                              "; the role of store.url must own the tables, and the server must take writes");
  return Internal("cannot ", doing, " in PostgreSQL: ", detail);
}

Status PostgresDatabase::Execute(const std::string& sql, std::string_view doing, int* rows, std::string* tag) {
  const Result result(PQexec(connection_.get(), sql.c_str()));
  const ExecStatusType status = PQresultStatus(result.get());
  if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) return Failure(connection_.get(), result.get(), doing);
  if (rows != nullptr) *rows = PQntuples(result.get());
  if (tag != nullptr) *tag = PQcmdStatus(result.get());
  return OkStatus();
}

StatusOr<SqlResult> PostgresDatabase::Run(std::string_view sql, const std::vector<SqlBind>& values,
                                          std::string_view doing) {
  {
    const std::lock_guard lock(mutex_);
    RETURN_IF_ERROR(lost_);
  }
  RETURN_IF_ERROR(Reconnect());
  const Parameters parameters(values);
  const Result result(PQexecParams(connection_.get(), Numbered(sql).c_str(), static_cast<int>(values.size()),
                                   parameters.types.data(), parameters.pointers.data(), parameters.lengths.data(),
                                   parameters.formats.data(), 1));
  const ExecStatusType status = PQresultStatus(result.get());
  if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) return Failure(connection_.get(), result.get(), doing);
  SqlResult out;
  out.changed = std::strtoll(PQcmdTuples(result.get()), nullptr, 10);
  for (int row = 0; row < PQntuples(result.get()); ++row) {
    std::vector<SqlValue>& columns = out.rows.emplace_back();
    for (int column = 0; column < PQnfields(result.get()); ++column) {
      ASSIGN_OR_RETURN(SqlValue value, Column(result.get(), row, column));
      columns.push_back(std::move(value));
    }
  }
  return out;
}

StatusOr<int64_t> PostgresDatabase::Number(std::string_view sql) {
  ASSIGN_OR_RETURN(const SqlResult result, Run(sql, {}, "ask the job database"));
  const int64_t* number =
      result.rows.empty() || result.rows[0].empty() ? nullptr : std::get_if<int64_t>(&result.rows[0][0]);
  if (number == nullptr) return Internal("the job database gave no number");
  return *number;
}

// ---------------------------------------------------------------- transactions

Status PostgresDatabase::Begin() {
  {
    const std::lock_guard lock(mutex_);
    RETURN_IF_ERROR(lost_);
  }
  if (!tables_.empty()) {
    RETURN_IF_ERROR(Reconnect());
    Status begun = Execute(Cat("BEGIN READ WRITE; SELECT pg_advisory_xact_lock(", kBesideLock, ")"), "begin a change");
    if (!begun.ok()) Rollback();
    begun_ = begun.ok();
    return begun;
  }
  int rows = 0;
  RETURN_IF_ERROR(Execute(Cat("BEGIN READ WRITE; SELECT 1 FROM leader WHERE term = ", term_, " FOR SHARE"),
                          "begin a change", &rows));
  if (rows == 1 && term_ > 0) return OkStatus();
  Rollback();
  return Fenced();
}

Status PostgresDatabase::Commit() {
  begun_ = false;
  std::string tag;
  RETURN_IF_ERROR(Execute("COMMIT", "commit a change", nullptr, &tag));
  if (tag != "COMMIT") return Internal("a transaction in which something failed was undone as a whole");
  return OkStatus();
}

void PostgresDatabase::Rollback() {
  begun_ = false;
  if (PQtransactionStatus(connection_.get()) != PQTRANS_IDLE) Execute("ROLLBACK", "undo a change").IgnoreError();
}

Status PostgresDatabase::BeginPart() { return Execute("SAVEPOINT part", "begin a part of a change"); }
Status PostgresDatabase::EndPart() { return Execute("RELEASE part", "end a part of a change"); }
void PostgresDatabase::UndoPart() {
  Execute("ROLLBACK TO part; RELEASE part", "undo a part of a change").IgnoreError();
}

StatusOr<uint64_t> PostgresDatabase::BackupTo(const std::string&) {
  return FailedPrecondition(
      "the jobs are in PostgreSQL: back them up with pg_dump, then the folders blobs and authority of the state "
      "folder");
}

}  // namespace atelier
