// The database of a master by itself: one SQLite file (WAL, synchronous=FULL), taken for this process alone.
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
  explicit SqliteDatabase(std::string path) : path_(std::move(path)) {}
  Status Execute(const char* sql);
  Status Failure(int rc, std::string_view doing) const;
  StatusOr<int64_t> Number(const char* sql);
  Status TakeAndCheck();

  const std::string path_;
  sqlite3* db_ = nullptr;
};

}  // namespace atelier
