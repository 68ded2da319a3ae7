#include <poll.h>

#include <atomic>
#include <chrono>
#include <limits>

#include "master/store/postgres_database.h"
#include "tests/unit/store/stores.h"

namespace atelier {
namespace {

using Clock = std::chrono::steady_clock;

constexpr char kCutAll[] =
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'atelier-master'";

double Since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::unique_ptr<PostgresDatabase> Connect(const std::string& url, const std::string& holder,
                                          std::function<void(const Status&)> lost = nullptr) {
  auto database = PostgresDatabase::Connect({url, "", holder, std::move(lost)});
  INFO(database.status().ToString());
  REQUIRE(database.ok());
  return std::move(*database);
}

bool TakeWithin(PostgresDatabase& database, double seconds) {
  for (const auto start = Clock::now(); Since(start) < seconds;) {
    const auto taken = database.TryTake();
    INFO(taken.status().ToString());
    REQUIRE(taken.ok());
    if (*taken) return true;
    poll(nullptr, 0, 100);
  }
  return false;
}

JobRecord Job(const std::string& id) { return {.id = id, .prompt_json = "{}", .created_unix_ms = 1}; }

TEST_CASE("of two masters one is active, and the other takes over when it ends") {
  const StorePlace place("postgres");
  if (place.Missing()) return;
  auto first = Connect(place.url(), "one:1");
  REQUIRE(first->TryTake().value());
  CHECK(first->term() == 1);
  auto second = Connect(place.url(), "two:2");
  for (int i = 0; i < 3; ++i) CHECK_FALSE(second->TryTake().value());
  CHECK(second->ActiveMaster().value() == "one:1");
  // One that stands by writes nothing.
  CHECK(second->Begin().code() == StatusCode::kAborted);
  CHECK(second->Run("INSERT INTO key_value(key, value) VALUES(?,?)", {"k", "v"}, "try").status().code() ==
        StatusCode::kFailedPrecondition);
  const auto start = Clock::now();
  first.reset();
  REQUIRE(TakeWithin(*second, 10));
  CHECK(Since(start) < test::TakeoverSecondsMax());
  CHECK(second->term() == 2);
  CHECK(second->ActiveMaster().value() == "two:2");
}

TEST_CASE("clusters in schemas of their own do not meet") {
  const StorePlace one("postgres"), other("postgres");
  if (one.Missing()) return;
  auto here = one.Open(), there = other.Open();
  REQUIRE(here->InsertJob(Job("j"), {}).ok());
  CHECK(there->GetJob("j").status().code() == StatusCode::kNotFound);
}

TEST_CASE("no write of a master of an earlier term is accepted") {
  const StorePlace place("postgres");
  if (place.Missing()) return;
  std::atomic<int> told = 0;
  auto database =
      Connect(place.url(), "old", [&](const Status& why) { told += why.code() == StatusCode::kAborted ? 1 : 100; });
  REQUIRE(database->TryTake().value());
  JobStore store(std::move(database));
  REQUIRE(store.InsertJob(Job("before"), {}).ok());
  test::PostgresServer::Get()->Sql("UPDATE leader SET term = term + 1", place.url());
  CHECK(store.InsertJob(Job("after"), {}).code() == StatusCode::kAborted);
  CHECK(store.SetValue("k", "v").code() == StatusCode::kAborted);
  CHECK(store.Begin().status().code() == StatusCode::kAborted);
  CHECK(store.GetJob("before").status().code() == StatusCode::kAborted);  // what it reads may be old as well
  CHECK(told == 1);
  CHECK(test::PostgresServer::Get()->Sql("SELECT count(*) FROM jobs", place.url()) == "1");
  CHECK(test::PostgresServer::Get()->Sql("SELECT count(*) FROM key_value", place.url()) == "0");
}

TEST_CASE("a master that is stopped in the middle of a transaction is taken over, and what it had begun is undone") {
  const StorePlace place("postgres");
  if (place.Missing()) return;
  int ready[2];
  REQUIRE(pipe(ready) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    static std::atomic<bool> lost = false;
    auto database = PostgresDatabase::Connect({place.url(), "", "stopped", [](const Status&) { lost = true; }});
    if (!database.ok() || !(*database)->TryTake().value_or(false)) _exit(1);
    JobStore store(*std::move(database));
    if (!store.InsertJob(Job("kept"), {}).ok()) _exit(2);
    auto open = store.Begin();
    if (!open.ok() || !store.InsertJob(Job("torn"), {}).ok()) _exit(3);
    if (write(ready[1], "r", 1) != 1) _exit(4);
    raise(SIGSTOP);
    const bool refused = !open->Commit().ok() && !store.InsertJob(Job("late"), {}).ok();
    syscall(SYS_exit_group, refused && lost ? 0 : 5);  // _exit has ThreadSanitizer look for threads that are left
  }
  char byte = 0;
  REQUIRE(read(ready[0], &byte, 1) == 1);
  int status = 0;
  REQUIRE(waitpid(child, &status, WUNTRACED) == child);
  REQUIRE(WIFSTOPPED(status));
  const auto start = Clock::now();
  auto standby = Connect(place.url(), "next");
  const bool taken = TakeWithin(*standby, 20);
  const double seconds = Since(start);
  kill(child, SIGCONT);
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(taken);
  CHECK(seconds < test::TakeoverSecondsMax());
  CHECK(standby->term() == 2);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  JobStore store(std::move(standby));
  CHECK(store.GetJob("kept").ok());
  CHECK(store.GetJob("torn").status().code() == StatusCode::kNotFound);
  CHECK(store.GetJob("late").status().code() == StatusCode::kNotFound);
  close(ready[0]);
  close(ready[1]);
}

TEST_CASE("a master whose connection ends knows that it is lost") {
  const StorePlace place("postgres");
  if (place.Missing()) return;
  std::atomic<int> told = 0;
  auto database = Connect(place.url(), "cut", [&](const Status&) { ++told; });
  REQUIRE(database->TryTake().value());
  JobStore store(std::move(database));
  test::PostgresServer::Get()->Sql(kCutAll);
  SECTION("at once where it writes") { CHECK(store.InsertJob(Job("j"), {}).code() == StatusCode::kUnavailable); }
  SECTION("within a second where it does nothing") {
    for (const auto start = Clock::now(); told == 0 && Since(start) < 10;) poll(nullptr, 0, 20);
    CHECK(store.GetValue("k").status().code() == StatusCode::kUnavailable);
  }
  CHECK(told == 1);
}

TEST_CASE("texts are bytes, whatever they are") {
  const StorePlace place("postgres");
  if (place.Missing()) return;
  auto store = place.Open();
  JobRecord job = Job("j");
  job.error = std::string("\0\xff \\x41 ' \" ? $1", 15);
  job.seconds = -1.5e-300;
  job.created_unix_ms = std::numeric_limits<int64_t>::min();
  REQUIRE(store->InsertJob(job, {{job.error, {"h", std::numeric_limits<uint64_t>::max()}}}).ok());
  CHECK(store->GetJob("j").value() == job);
  CHECK(store->GetInputs("j")->front().name == job.error);
  CHECK(store->GetInputs("j")->front().blob.size == std::numeric_limits<uint64_t>::max());
}

TEST_CASE("a database that cannot be had is told in a sentence, without its password") {
  const StorePlace place("postgres");
  if (place.Missing()) return;
  const auto refused = [](const std::string& url, const std::string& password = "") {
    return PostgresDatabase::Connect({url, password, ""}).status();
  };
  for (const char* url :
       {"postgresql://u:s3cret@localhost/x", "host=x password=s3cret", "postgresql://u:s3cret@[", "s3cret"}) {
    INFO(url);
    CHECK(refused(url).code() == StatusCode::kInvalidArgument);
    CHECK(Message(refused(url)).find("s3cret") == std::string::npos);
  }
  const Status nobody = refused("host=/nowhere dbname=postgres", "s3cret");
  CHECK(nobody.code() == StatusCode::kUnavailable);
  CHECK(Message(nobody).find("s3cret") == std::string::npos);
  CHECK(Message(nobody).find("store.url") != std::string::npos);
  place.Open().reset();
  test::PostgresServer::Get()->Sql("UPDATE schema_version SET version = 9", place.url());
  CHECK(refused(place.url()).code() == StatusCode::kFailedPrecondition);
  CHECK(Message(refused(place.url())).find("version 9") != std::string::npos);
}

TEST_CASE("a backup of PostgreSQL is left to its own tool") {
  const StorePlace place("postgres");
  if (place.Missing()) return;
  auto store = place.Open();
  const auto backed = store->BackupTo("/nowhere");
  CHECK(backed.status().code() == StatusCode::kFailedPrecondition);
  CHECK(Message(backed.status()).find("pg_dump") != std::string::npos);
}

}  // namespace
}  // namespace atelier
