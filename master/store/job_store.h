// The master's memory: jobs, accepted tasks, outputs, in a database (SqlDatabase: SQLite or PostgreSQL). What a method
// returned OK for outside a Transaction, or a Transaction committed, survives a crash of the process, the system and
// the power.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "master/store/records.h"
#include "master/store/sql_database.h"

namespace atelier {

/// A job that has not ended, with all that is needed to go on with it.
struct OpenJob {
  JobRecord job;
  std::vector<InputBinding> inputs;
  std::vector<AcceptedTask> accepted;  // in order of acceptance
  std::vector<OutputIntent> intents;   // by index; empty before the outputs were planned
};

/// Thread: one at a time. Every method may give the errors of SqlDatabase besides those it names.
class JobStore {
 public:
  explicit JobStore(std::unique_ptr<SqlDatabase> database);
  /// The same on a SQLite file. Errors: those of SqliteDatabase::Open.
  static StatusOr<std::unique_ptr<JobStore>> Open(const std::string& path);
  ~JobStore();
  JobStore(const JobStore&) = delete;
  JobStore& operator=(const JobStore&) = delete;

  /// Several changes with one fsync. Not committed when it goes: undone. At most one at a time; must not outlive the
  /// store.
  class Transaction {
   public:
    Transaction(Transaction&& other) noexcept : store_(other.store_) { other.store_ = nullptr; }
    Transaction& operator=(Transaction&&) = delete;
    ~Transaction();
    /// Makes the changes durable. On an error nothing of them is kept. Call once.
    Status Commit();

   private:
    friend class JobStore;
    explicit Transaction(JobStore* store) : store_(store) {}
    JobStore* store_;
  };
  /// Errors: INTERNAL when one is open already.
  StatusOr<Transaction> Begin();

  /// A new job with its inputs. Errors: ALREADY_EXISTS.
  Status InsertJob(const JobRecord& job, const std::vector<InputBinding>& inputs);
  /// Changes state, error, end (0: open) and seconds. Errors: NOT_FOUND.
  Status UpdateJob(std::string_view id, std::string_view state, std::string_view error, int64_t ended_unix_ms,
                   double seconds);
  /// Records the accepted result of a task. Errors: ALREADY_EXISTS for a second one, NOT_FOUND (no such job).
  Status AcceptTask(const AcceptedTask& task);
  /// Records (replaces) where the job's outputs are going to be written. Errors: NOT_FOUND.
  Status PutIntents(std::string_view job_id, const std::vector<OutputIntent>& intents);
  StatusOr<std::vector<OutputIntent>> GetIntents(std::string_view job_id);
  /// Adds outputs of a job; the same index again replaces. Errors: NOT_FOUND.
  Status InsertOutputs(std::string_view job_id, const std::vector<SavedOutput>& outputs);
  /// Ends a job and records its outputs, all or nothing; its intents are dropped. Errors: NOT_FOUND.
  Status FinishJob(std::string_view id, std::string_view state, std::string_view error, int64_t ended_unix_ms,
                   double seconds, const std::vector<SavedOutput>& outputs);
  /// Drops the accepted results of a job that is planned anew.
  Status ForgetAccepted(std::string_view job_id);
  /// Removes an ended job and all that belongs to it. Errors: NOT_FOUND, FAILED_PRECONDITION (still open).
  Status DeleteJob(std::string_view id);

  /// Forgets where an ended job's files lie, which were deleted.
  Status DeleteOutputs(std::string_view job_id);
  /// Copies the whole database into the file `path`, which must not be there, as of now; its bytes. Errors:
  /// FAILED_PRECONDITION, also of a database that is copied by its own tools.
  StatusOr<uint64_t> BackupTo(const std::string& path);

  struct Ended {
    std::string id;
    int64_t ended_unix_ms = 0;
  };
  /// Jobs that ended before a time, those that ended first first; `limit` 0: all.
  StatusOr<std::vector<Ended>> EndedJobs(int64_t before_unix_ms, uint32_t limit);
  StatusOr<int64_t> CountEndedJobs();

  /// The jobs that have not ended, in order of creation (as inserted).
  StatusOr<std::vector<OpenJob>> LoadOpenJobs();
  /// The newest jobs first; `limit` 0: all.
  StatusOr<std::vector<JobRecord>> ListJobs(uint32_t limit);
  /// Errors: NOT_FOUND.
  StatusOr<JobRecord> GetJob(std::string_view id);
  StatusOr<std::vector<InputBinding>> GetInputs(std::string_view id);
  StatusOr<std::vector<AcceptedTask>> GetAcceptedTasks(std::string_view id);
  /// By index.
  StatusOr<std::vector<SavedOutput>> GetOutputs(std::string_view id);
  /// Hashes of the inputs, results and files of all open jobs.
  StatusOr<std::set<std::string>> LiveBlobs();

  /// Errors: NOT_FOUND.
  StatusOr<std::string> GetValue(std::string_view key);
  Status SetValue(std::string_view key, std::string_view value);
  /// Adds one to the stored epoch and returns it, the first is 1; durable before it returns (outside a Transaction).
  StatusOr<uint64_t> NextEpoch();

 private:
  class Scope;
  SqlStatement Prepare(std::string_view sql);
  Status Change(SqlStatement& statement, std::string_view doing);
  Status PutValue(std::string_view key, std::string_view value);
  Status CheckJob(std::string_view id);
  StatusOr<std::vector<JobRecord>> QueryJobs(std::string_view where_sql, std::string_view argument);

  const std::unique_ptr<SqlDatabase> db_;
  int depth_ = 0;  // of transactions and their parts
};

}  // namespace atelier
