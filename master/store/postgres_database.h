// The database of two or more masters: PostgreSQL, in which exactly one of them is the active one.
//
// Who is active holds an advisory lock on the very connection that it writes on, so that the server gives the lock to
// another one only once nothing can be written on that connection any more; and every transaction that writes first
// finds (and locks) its term in the table `leader`, which the next active master raises. A beat each half second tells
// those who stand by that the holder still runs: after 2.5 s of silence they end its connection and take over.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "master/store/sql_database.h"

struct pg_conn;
struct pg_result;

namespace atelier {

struct PostgresOptions {
  std::string url;       // of libpq: "postgresql://host/database" or "host=... dbname=..."; without a password
  std::string password;  // "": what libpq finds, as $PGPASSWORD or ~/.pgpass
  std::string holder;    // where this master is reached, told to those who ask the ones that stand by
  /// Told once that this master, which was active, no longer is, or cannot know: nothing that it does from then on may
  /// count. Null: only the statuses tell. Called by any thread.
  std::function<void(const Status& why)> lost = nullptr;
};

/// SqlDatabase of the active master. After it was lost each call gives ABORTED (another master has taken over) or
/// UNAVAILABLE (the server is gone). Thread: one at a time, beside its own.
class PostgresDatabase final : public SqlDatabase {
 public:
  /// Connects and makes the tables where there are none. Errors: INVALID_ARGUMENT (the url, or a password in it),
  /// UNAVAILABLE (no server, or it refuses us), FAILED_PRECONDITION (tables of a newer version).
  static StatusOr<std::unique_ptr<PostgresDatabase>> Connect(PostgresOptions options);
  /// Beside the active master's database: any process changes it, one at a time, whoever is active. It connects when it
  /// is first used and again when that is lost, and makes `tables` where there are none (CREATE ... IF NOT EXISTS).
  static std::unique_ptr<PostgresDatabase> Beside(PostgresOptions options, std::string tables);
  ~PostgresDatabase() override;
  PostgresDatabase(const PostgresDatabase&) = delete;
  PostgresDatabase& operator=(const PostgresDatabase&) = delete;

  /// True: this is the active master from now on. False: another one is, and shows a sign of life. Call about ten
  /// times a second until it is true. Errors: UNAVAILABLE; connect anew then.
  StatusOr<bool> TryTake();
  /// Where the active master is reached, "" when there never was one. Errors: UNAVAILABLE.
  StatusOr<std::string> ActiveMaster();
  /// How often a master was made the active one so far, this one included; 0 before TryTake() was true.
  uint64_t term() const { return term_; }

  StatusOr<SqlResult> Run(std::string_view sql, const std::vector<SqlBind>& values, std::string_view doing) override;
  Status Begin() override;
  Status Commit() override;
  void Rollback() override;
  Status BeginPart() override;
  Status EndPart() override;
  void UndoPart() override;
  StatusOr<uint64_t> BackupTo(const std::string& path) override;

 private:
  struct Close {
    void operator()(pg_conn* connection) const;
  };
  using Connection = std::unique_ptr<pg_conn, Close>;

  explicit PostgresDatabase(PostgresOptions options) : options_(std::move(options)) {}
  static StatusOr<Connection> Dial(const PostgresOptions& options);
  Status MakeTables();
  Status Reconnect();
  Status Execute(const std::string& sql, std::string_view doing, int* rows = nullptr, std::string* tag = nullptr);
  Status Failure(pg_conn* connection, const pg_result* result, std::string_view doing);
  Status Lost(Status why);
  Status Fenced();
  StatusOr<int64_t> Number(std::string_view sql);
  void Beat();

  const PostgresOptions options_;
  std::string tables_;  // of Beside(), else ""
  bool begun_ = false;
  Connection connection_;
  uint64_t term_ = 0;
  Connection beat_connection_;  // of the thread, once it runs
  std::thread beat_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable ending_changed_;
  bool ending_ = false;
  Status lost_;
};

}  // namespace atelier
