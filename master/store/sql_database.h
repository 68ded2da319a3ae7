// What JobStore asks of a database: one statement at a time, transactions, parts of a transaction that can fail alone.
// Implementations: sqlite_database.h, postgres_database.h. The SQL is the part that both understand; text is bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "common/base/status.h"

namespace atelier {

/// A value that a statement is given, for one "?" of it; a text's bytes must outlive the call.
using SqlBind = std::variant<int64_t, double, std::string_view>;
/// A value of a row. There are no NULLs.
using SqlValue = std::variant<int64_t, double, std::string>;

struct SqlResult {
  std::vector<std::vector<SqlValue>> rows;
  int64_t changed = 0;  // rows that an INSERT, UPDATE or DELETE touched
};

/// Thread: one at a time. Every method may give RESOURCE_EXHAUSTED (disk full), DATA_LOSS (damaged), or UNAVAILABLE and
/// ABORTED where another process has the database (postgres_database.h).
class SqlDatabase {
 public:
  virtual ~SqlDatabase() = default;

  /// Runs one statement to its end; `doing` ("record job j1") stands in the errors. Errors: ALREADY_EXISTS (a key that
  /// is there), NOT_FOUND (a job that is not there), INTERNAL. Inside a part a failed statement leaves the rest of the
  /// transaction alone, once the part is undone.
  virtual StatusOr<SqlResult> Run(std::string_view sql, const std::vector<SqlBind>& values, std::string_view doing) = 0;

  /// A transaction that writes; one at a time. Durable once Commit() gave OK; else nothing of it is kept.
  virtual Status Begin() = 0;
  virtual Status Commit() = 0;
  virtual void Rollback() = 0;

  /// A part of the transaction; parts nest.
  virtual Status BeginPart() = 0;
  virtual Status EndPart() = 0;
  virtual void UndoPart() = 0;

  /// Copies all of it into the file `path`; its bytes. Errors: FAILED_PRECONDITION, with how to copy it instead where
  /// it does not do so itself.
  virtual StatusOr<uint64_t> BackupTo(const std::string& path) = 0;
};

/// One use of one statement: values bound and columns read in the order of the SQL.
class SqlStatement {
 public:
  SqlStatement(SqlDatabase& database, std::string_view sql) : database_(database), sql_(sql) {}
  SqlStatement& Text(std::string_view text) { return Bind(text); }
  SqlStatement& Integer(int64_t number) { return Bind(number); }
  SqlStatement& Unsigned(uint64_t number) { return Bind(static_cast<int64_t>(number)); }
  SqlStatement& Real(double number) { return Bind(number); }

  /// Runs it at the first call; then whether there is one more row.
  StatusOr<bool> Row(std::string_view doing) {
    if (!ran_) {
      ran_ = true;
      ASSIGN_OR_RETURN(result_, database_.Run(sql_, values_, doing));
    } else {
      ++row_;
    }
    column_ = 0;
    return row_ < result_.rows.size();
  }
  Status Run(std::string_view doing) { return Row(doing).status(); }
  int64_t changed() const { return result_.changed; }

  std::string TextColumn() { return std::get<std::string>(std::move(Column())); }
  int64_t IntegerColumn() { return std::get<int64_t>(Column()); }
  uint64_t UnsignedColumn() { return static_cast<uint64_t>(IntegerColumn()); }
  uint32_t Unsigned32Column() { return static_cast<uint32_t>(IntegerColumn()); }
  double RealColumn() { return std::get<double>(Column()); }

 private:
  SqlStatement& Bind(SqlBind value) {
    values_.push_back(value);
    return *this;
  }
  SqlValue& Column() { return result_.rows.at(row_).at(column_++); }

  SqlDatabase& database_;
  const std::string sql_;
  std::vector<SqlBind> values_;
  SqlResult result_;
  size_t row_ = 0, column_ = 0;
  bool ran_ = false;
};

}  // namespace atelier
