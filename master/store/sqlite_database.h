// The database of a master by itself: one SQLite file (WAL, synchronous=FULL), taken for this process alone. And its
// list of identities: a second file, which `atelier-master token` changes while the master runs.
#pragma once

#include <memory>
#include <string>

#include "master/store/sql_database.h"

struct sqlite3;

namespace atelier {

class SqliteDatabase final : public SqlDatabase {
 public:
  /// Opens or makes it. Errors, one sentence each: FAILED_PRECONDITION when another process has it open, when it is of
  /// a newer version, or when the folder cannot be written; DATA_LOSS when it is damaged.
  static StatusOr<std::unique_ptr<SqliteDatabase>> Open(const std::string& path);
  /// The list of identities: opened or made for its owner alone, together with other processes; `tables` makes what is
  /// not there. Errors: FAILED_PRECONDITION, DATA_LOSS; from then on also UNAVAILABLE (another process holds it for 5
  /// s).
  static StatusOr<std::unique_ptr<SqliteDatabase>> OpenIdentities(const std::string& path, const char* tables);
  ~SqliteDatabase() override;
  SqliteDatabase(const SqliteDatabase&) = delete;
  SqliteDatabase& operator=(const SqliteDatabase&) = delete;

  StatusOr<SqlResult> Run(std::string_view sql, const std::vector<SqlBind>& values, std::string_view doing) override;
  Status Begin() override;
  Status Commit() override;
  void Rollback() override;
  Status BeginPart() override;
  Status EndPart() override;
  void UndoPart() override;
  StatusOr<uint64_t> BackupTo(const std::string& path) override;

 private:
  SqliteDatabase(std::string path, bool identities) : path_(std::move(path)), identities_(identities) {}
  Status Execute(const char* sql);
  Status Failure(int rc, std::string_view doing) const;
  StatusOr<int64_t> Number(const char* sql);
  Status TakeAndCheck();

  const std::string path_;
  const bool identities_;
  sqlite3* db_ = nullptr;
};

}  // namespace atelier
