// Where the jobs of a test are on record: tests that do not look into the file itself run on both databases.
#pragma once

#include <poll.h>

#include <catch2/catch.hpp>
#include <memory>
#include <string>

#include "master/store/job_store.h"
#include "master/store/postgres_database.h"
#include "tests/harness/postgres.h"
#include "tests/unit/store/temp_folder.h"

namespace atelier {

class StorePlace {
 public:
  explicit StorePlace(const std::string& kind) : postgres_(kind == "postgres"), path_(temp_.path() + "/state/jobs.db") {
    if (postgres_ && test::PostgresServer::Get() != nullptr) url_ = test::PostgresServer::Get()->NewSchema();
  }
  /// Says so, too.
  bool Missing() const {
    if (!postgres_ || !url_.empty()) return false;
    WARN("SKIPPED on PostgreSQL: Debian's package postgresql is not installed (deploy/deps --checks)");
    return true;
  }
  StatusOr<std::unique_ptr<JobStore>> Try() const {
    if (!postgres_) return JobStore::Open(path_);
    ASSIGN_OR_RETURN(std::unique_ptr<PostgresDatabase> database, PostgresDatabase::Connect({url_, "", "here"}));
    // The server may not have noticed yet that the one before is gone.
    for (int i = 0; i < 200; ++i) {
      ASSIGN_OR_RETURN(const bool taken, database->TryTake());
      if (taken) return std::make_unique<JobStore>(std::move(database));
      poll(nullptr, 0, 50);
    }
    return Unavailable("another one stays the active one");
  }
  std::unique_ptr<JobStore> Open() const {
    auto store = Try();
    INFO(store.status().ToString());
    REQUIRE(store.ok());
    return std::move(*store);
  }
  const std::string& url() const { return url_; }

 private:
  const bool postgres_;
  TempFolder temp_;
  const std::string path_;
  std::string url_;
};

}  // namespace atelier
