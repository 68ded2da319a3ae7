#include "master/store/job_store.h"

#include <sqlite3.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>

#include "tests/unit/store/stores.h"

namespace atelier {
namespace {

JobRecord MakeJob(const std::string& id) {
  return {.id = id,
          .name = "portrait",
          .prompt_json = R"({"1": {"class_type": "KSampler", "inputs": {"text": "à \"b\""}}})",
          .workflow_json = "{}",
          .settings_json = "{\"a\":1}",
          .replicas = 4,
          .tiles = "exact",
          .state = "queued",
          .plan_digest = "d1",
          .created_unix_ms = 1700000000123};
}

AcceptedTask MakeTask(const std::string& job, const std::string& task) {
  return {.job_id = job,
          .task_id = task,
          .results = {{"h1", 10}, {"h2", 5'000'000'000}},
          .files = {{.node = "9:1",
                     .type = "temp",
                     .prefix = "a/b\"%year%",
                     .extension = "png",
                     .batch_index = 3,
                     .width = 64,
                     .height = 32,
                     .embed_workflow = true,
                     .blob = {"h3", 77}}},
          .worker = "w1",
          .attempt = 18'000'000'000'000'000'000U,
          .seconds = 1.25};
}

SavedOutput MakeOutput(uint32_t index) {
  return {index, "9", "output", Cat("/out/a_0000", index, "_.png"), "", Cat("a_0000", index, "_.png"), index};
}

std::unique_ptr<JobStore> Open(const std::string& path) {
  auto store = JobStore::Open(path);
  INFO(store.status().ToString());
  REQUIRE(store.ok());
  return std::move(*store);
}

TEST_CASE("what was recorded is there after a restart") {
  const StorePlace place(GENERATE("sqlite", "postgres"));
  if (place.Missing()) return;
  JobRecord job = MakeJob("j1");
  const std::vector<InputBinding> inputs = {{"a.png", {"in1", 4}}, {"b.png", {"in2", 5}}};
  const std::vector<OutputIntent> intents = {
      {.index = 0, .type = "output", .subfolder = "s", .base = "a", .counter = 7, .extension = "png"},
      {.index = 1, .type = "temp", .base = "b", .counter = 8, .extension = "mp4", .suffix = "-audio"},
      {.index = 2, .type = "temp", .base = "b", .counter = 8, .extension = "png", .suffix = ""}};
  {
    auto store = place.Open();
    REQUIRE(store->InsertJob(job, inputs).ok());
    REQUIRE(store->InsertJob(MakeJob("j2"), {}).ok());
    REQUIRE(store->AcceptTask(MakeTask("j1", "t2")).ok());
    REQUIRE(store->AcceptTask(MakeTask("j1", "t1")).ok());
    REQUIRE(store->PutIntents("j1", {}).ok());
    REQUIRE(store->PutIntents("j1", intents).ok());
    REQUIRE(store->UpdateJob("j1", "running", "", 0, 2.5).ok());
  }
  auto store = place.Open();
  job.state = "running";
  job.seconds = 2.5;
  CHECK(store->GetJob("j1").value() == job);
  auto open = store->LoadOpenJobs();
  REQUIRE(open.ok());
  REQUIRE(open->size() == 2);
  CHECK((*open)[0].job == job);
  CHECK((*open)[0].inputs == inputs);
  CHECK((*open)[0].accepted == std::vector<AcceptedTask>{MakeTask("j1", "t2"), MakeTask("j1", "t1")});
  CHECK((*open)[0].intents == intents);
  CHECK((*open)[1].job.id == "j2");
  CHECK(store->LiveBlobs().value() == std::set<std::string>{"in1", "in2", "h1", "h2", "h3"});

  REQUIRE(store->FinishJob("j1", "done", "", 1700000009000, 9, {MakeOutput(1), MakeOutput(0)}).ok());
  CHECK(store->LiveBlobs().value().empty());
  CHECK(store->LoadOpenJobs()->size() == 1);
  CHECK(store->GetOutputs("j1").value() == std::vector<SavedOutput>{MakeOutput(0), MakeOutput(1)});
  CHECK(store->GetIntents("j1")->empty());
  CHECK(store->GetJob("j1")->ended_unix_ms == 1700000009000);
  const auto listed = store->ListJobs(0);
  REQUIRE(listed->size() == 2);
  CHECK((*listed)[0].id == "j2");
  CHECK(store->ListJobs(1)->size() == 1);
  CHECK(store->DeleteJob("j2").code() == StatusCode::kFailedPrecondition);
  CHECK(store->DeleteJob("j1").ok());
  CHECK(store->GetJob("j1").status().code() == StatusCode::kNotFound);
  CHECK(store->GetOutputs("j1")->empty());
  CHECK(store->GetAcceptedTasks("j1")->empty());
}

TEST_CASE("a task is accepted once, a job inserted once, and only of jobs that exist") {
  const StorePlace place(GENERATE("sqlite", "postgres"));
  if (place.Missing()) return;
  auto store = place.Open();
  REQUIRE(store->InsertJob(MakeJob("j1"), {}).ok());
  CHECK(store->InsertJob(MakeJob("j1"), {}).code() == StatusCode::kAlreadyExists);
  REQUIRE(store->AcceptTask(MakeTask("j1", "t1")).ok());
  AcceptedTask other = MakeTask("j1", "t1");
  other.worker = "w2";
  CHECK(store->AcceptTask(other).code() == StatusCode::kAlreadyExists);
  CHECK(store->GetAcceptedTasks("j1")->front().worker == "w1");
  CHECK(store->AcceptTask(MakeTask("nobody", "t1")).code() == StatusCode::kNotFound);
  CHECK(store->UpdateJob("nobody", "done", "", 1, 1).code() == StatusCode::kNotFound);
  CHECK(store->FinishJob("nobody", "done", "", 1, 1, {}).code() == StatusCode::kNotFound);
  CHECK(store->InsertOutputs("nobody", {}).code() == StatusCode::kNotFound);
  CHECK(store->PutIntents("nobody", {}).code() == StatusCode::kNotFound);
  // A job whose second input is refused leaves nothing of itself.
  CHECK_FALSE(store->InsertJob(MakeJob("j3"), {{"same", {"a", 1}}, {"same", {"b", 2}}}).ok());
  CHECK(store->GetJob("j3").status().code() == StatusCode::kNotFound);
}

TEST_CASE("a transaction is kept whole or not at all") {
  const StorePlace place(GENERATE("sqlite", "postgres"));
  if (place.Missing()) return;
  auto store = place.Open();
  {
    auto transaction = store->Begin();
    REQUIRE(transaction.ok());
    CHECK(store->Begin().status().code() == StatusCode::kInternal);
    REQUIRE(store->InsertJob(MakeJob("lost"), {{"a", {"h", 1}}}).ok());
  }
  CHECK(store->GetJob("lost").status().code() == StatusCode::kNotFound);
  {
    auto transaction = store->Begin();
    REQUIRE(store->InsertJob(MakeJob("kept"), {}).ok());
    CHECK(store->AcceptTask(MakeTask("nobody", "t")).code() == StatusCode::kNotFound);  // only this change fails
    CHECK_FALSE(store->InsertJob(MakeJob("half"), {{"same", {"a", 1}}, {"same", {"b", 2}}}).ok());
    REQUIRE(store->AcceptTask(MakeTask("kept", "t")).ok());
    REQUIRE(transaction->Commit().ok());
    CHECK(transaction->Commit().code() == StatusCode::kInternal);
  }
  store.reset();
  store = place.Open();
  CHECK(store->GetJob("kept").ok());
  CHECK(store->GetAcceptedTasks("kept")->size() == 1);
  CHECK(store->GetJob("half").status().code() == StatusCode::kNotFound);
}

TEST_CASE("what was committed before a crash is there, what was not is gone") {
  const StorePlace place(GENERATE("sqlite", "postgres"));
  if (place.Missing()) return;
  REQUIRE(CrashAt("here", 1, [&] {
    auto store = place.Try();
    (*store)->InsertJob(MakeJob("kept"), {}).IgnoreError();
    (*store)->NextEpoch().IgnoreError();
    auto transaction = (*store)->Begin();
    (*store)->InsertJob(MakeJob("open"), {}).IgnoreError();
    Failpoint("here");
  }));
  auto store = place.Open();
  CHECK(store->GetJob("kept").ok());
  CHECK(store->GetJob("open").status().code() == StatusCode::kNotFound);
  CHECK(store->NextEpoch().value() == 2);
}

TEST_CASE("values and epochs") {
  const StorePlace place(GENERATE("sqlite", "postgres"));
  if (place.Missing()) return;
  auto store = place.Open();
  CHECK(store->GetValue("x").status().code() == StatusCode::kNotFound);
  REQUIRE(store->SetValue("x", "1").ok());
  REQUIRE(store->SetValue("x", "").ok());
  CHECK(store->GetValue("x").value().empty());
  for (uint64_t i = 1; i < 12; ++i) CHECK(store->NextEpoch().value() == i);
  CHECK(store->GetValue("epoch").value() == "11");
}

TEST_CASE("a database that cannot be used is told in a sentence") {
  TempFolder temp;
  const std::string path = temp.path() + "/jobs.db";
  SECTION("in use") {
    auto store = Open(path);
    REQUIRE(CrashAt("refused", 1, [&] {
      const auto second = JobStore::Open(path);
      if (second.status().code() == StatusCode::kFailedPrecondition &&
          Message(second.status()).find("in use by another master") != std::string::npos) {
        Failpoint("refused");
      }
    }));
    const auto here = JobStore::Open(path);
    CHECK(here.status().code() == StatusCode::kFailedPrecondition);
  }
  SECTION("newer") {
    Open(path).reset();
    sqlite3* db = nullptr;
    REQUIRE(sqlite3_open(path.c_str(), &db) == SQLITE_OK);
    REQUIRE(sqlite3_exec(db, "UPDATE schema_version SET version = 99", nullptr, nullptr, nullptr) == SQLITE_OK);
    sqlite3_close(db);
    const auto store = JobStore::Open(path);
    CHECK(store.status().code() == StatusCode::kFailedPrecondition);
    CHECK(Message(store.status()).find("version 99") != std::string::npos);
  }
  SECTION("of another program") {
    sqlite3* db = nullptr;
    REQUIRE(sqlite3_open(path.c_str(), &db) == SQLITE_OK);
    REQUIRE(sqlite3_exec(db, "CREATE TABLE songs(name)", nullptr, nullptr, nullptr) == SQLITE_OK);
    sqlite3_close(db);
    CHECK(JobStore::Open(path).status().code() == StatusCode::kFailedPrecondition);
  }
  SECTION("no database") {
    std::ofstream(path) << std::string(5000, 'x');
    CHECK(JobStore::Open(path).status().code() == StatusCode::kDataLoss);
  }
  SECTION("damaged") {
    {
      auto store = Open(path);
      for (int i = 0; i < 200; ++i) REQUIRE(store->InsertJob(MakeJob(Cat("j", i)), {}).ok());
    }
    std::fstream file(path, std::ios::in | std::ios::out);
    for (int page = 2; page < 12; ++page) {
      file.seekp(page * 4096);
      file << std::string(2000, '\xff');
    }
    file.close();
    const auto store = JobStore::Open(path);
    CHECK(store.status().code() == StatusCode::kDataLoss);
    CHECK(Message(store.status()).find("restore a copy") != std::string::npos);
  }
  SECTION("a folder") {
    std::filesystem::create_directory(path);
    CHECK(JobStore::Open(path).status().code() == StatusCode::kFailedPrecondition);
  }
}

TEST_CASE("a full disk refuses a change and keeps what was there") {
  TempFolder temp;
  const SmallDisk disk(temp.path(), 2 << 20);
  if (!disk.ok()) {
    WARN("skipped: a small disk can be mounted by root only");
    return;
  }
  auto store = Open(temp.path() + "/jobs.db");
  REQUIRE(store->InsertJob(MakeJob("kept"), {}).ok());
  Status status;
  for (int i = 0; i < 100 && status.ok(); ++i) {
    JobRecord job = MakeJob(Cat("j", i));
    job.workflow_json = std::string(100'000, 'x');
    status = store->InsertJob(job, {});
  }
  CHECK(status.code() == StatusCode::kResourceExhausted);
  CHECK(Message(status).find("free some space") != std::string::npos);
  CHECK(store->GetJob("kept").ok());
}

TEST_CASE("job store speed", "[.bench]") {
  const char* folder = std::getenv("ATELIER_BENCH_DIR");
  TempFolder temp(folder == nullptr ? "/tmp" : folder);
  auto store = Open(temp.path() + "/jobs.db");
  REQUIRE(store->InsertJob(MakeJob("j"), {}).ok());
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 500; ++i) REQUIRE(store->AcceptTask(MakeTask("j", Cat("t", i))).ok());
  const double each = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count() / 500;
  const auto begin = std::chrono::steady_clock::now();
  auto transaction = store->Begin();
  for (int i = 0; i < 500; ++i) REQUIRE(store->AcceptTask(MakeTask("j", Cat("u", i))).ok());
  REQUIRE(transaction->Commit().ok());
  const double batch =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count() / 500;
  WARN("accept " << each << " ms alone, " << batch << " ms in a batch of 500");
}

TEST_CASE("ended jobs are told by their end, and forgotten with all that is theirs") {
  const StorePlace place(GENERATE("sqlite", "postgres"));
  if (place.Missing()) return;
  auto store = place.Open();
  for (int i = 0; i < 5; ++i) {
    REQUIRE(store->InsertJob(MakeJob(Cat("j", i)), {}).ok());
    if (i == 4) continue;  // still open
    REQUIRE(store->AcceptTask(MakeTask(Cat("j", i), "t")).ok());
    REQUIRE(store->FinishJob(Cat("j", i), "done", "", 1000 - 100 * i, 1, {MakeOutput(0)}).ok());
  }
  CHECK(store->CountEndedJobs().value() == 4);
  const auto ids = [](const StatusOr<std::vector<JobStore::Ended>>& ended) {
    std::string all;
    for (const JobStore::Ended& one : ended.value()) all += one.id + " ";
    return all;
  };
  CHECK(ids(store->EndedJobs(10'000, 0)) == "j3 j2 j1 j0 ");
  CHECK(ids(store->EndedJobs(10'000, 2)) == "j3 j2 ");
  CHECK(ids(store->EndedJobs(900, 0)) == "j3 j2 ");
  REQUIRE(store->DeleteOutputs("j3").ok());
  CHECK(store->GetOutputs("j3")->empty());
  REQUIRE(store->DeleteJob("j3").ok());
  CHECK(store->GetAcceptedTasks("j3")->empty());
  CHECK(store->DeleteJob("j4").code() == StatusCode::kFailedPrecondition);
  CHECK(store->CountEndedJobs().value() == 3);
}

TEST_CASE("a backup is a whole database of one instant") {
  TempFolder temp;
  auto store = Open(temp.path() + "/jobs.db");
  REQUIRE(store->InsertJob(MakeJob("before"), {}).ok());
  REQUIRE(store->AcceptTask(MakeTask("before", "t")).ok());
  REQUIRE(store->NextEpoch().ok());
  const auto bytes = store->BackupTo(temp.path() + "/copy.db");
  REQUIRE(bytes.ok());
  CHECK(*bytes >= 4096);
  REQUIRE(store->InsertJob(MakeJob("after"), {}).ok());
  CHECK_FALSE(std::filesystem::exists(temp.path() + "/copy.db-wal"));
  auto copy = Open(temp.path() + "/copy.db");
  CHECK(copy->GetJob("before").value() == MakeJob("before"));
  CHECK(copy->GetAcceptedTasks("before")->size() == 1);
  CHECK_FALSE(copy->GetJob("after").ok());
  CHECK(copy->NextEpoch().value() == 2);
  CHECK_FALSE(store->BackupTo(temp.path() + "/no/such/folder/x.db").ok());
}

TEST_CASE("a crash around each commit: all of it or nothing") {
  const std::string kind = GENERATE("sqlite", "postgres");
  for (const std::string_view at : {"job before commit", "job after commit", "end before commit", "end after commit",
                                    "intents before commit", "intents after commit", "value before commit",
                                    "value after commit", "results before commit", "results after commit"}) {
    INFO(at);
    const StorePlace place(kind);
    if (place.Missing()) return;
    REQUIRE(CrashAt(at, 1, [&] {
      auto store = place.Try();
      (*store)->InsertJob(MakeJob("j"), {{"in.png", {"h", 1}}}).IgnoreError();
      (*store)->SetValue("k", "v").IgnoreError();
      {
        auto batch = (*store)->Begin();
        (*store)->AcceptTask(MakeTask("j", "t")).IgnoreError();
        batch->Commit().IgnoreError();
      }
      (*store)->PutIntents("j", {OutputIntent{}}).IgnoreError();
      (*store)->FinishJob("j", "done", "", 1, 1, {MakeOutput(0)}).IgnoreError();
    }));
    // What had been done when it came to the point, in order.
    const std::vector<std::string> steps = {"job", "value", "results", "intents", "end"};
    const std::string step(at.substr(0, at.find(' ')));
    const bool after = at.find("after") != std::string_view::npos;
    const auto done = [&](const std::string& name) {
      const auto order_of = [&](const std::string& s) {
        return std::find(steps.begin(), steps.end(), s) - steps.begin();
      };
      return order_of(name) < order_of(step) || (name == step && after);
    };
    auto store = place.Open();
    CHECK(store->GetJob("j").ok() == done("job"));
    if (done("job")) CHECK(store->GetInputs("j")->size() == 1);
    CHECK(store->GetValue("k").ok() == done("value"));
    CHECK(store->GetAcceptedTasks("j")->size() == (done("results") ? 1 : 0));
    CHECK(store->GetIntents("j")->size() == (done("intents") && !done("end") ? 1 : 0));
    CHECK(store->GetOutputs("j")->size() == (done("end") ? 1 : 0));
  }
}

}  // namespace
}  // namespace atelier
