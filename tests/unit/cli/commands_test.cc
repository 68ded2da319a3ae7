// The commands against a master in this process that answers from a script.
#include "master/cli/commands.h"

#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "atelier/v1/admin.grpc.pb.h"
#include "common/json/json.h"
#include "tests/unit/cli/temp_folder.h"

namespace atelier::cli {
namespace {

namespace fs = std::filesystem;

v1::Job DoneJob(const std::string& output) {
  v1::Job job;
  job.set_id("job-1");
  job.set_state("done");
  job.set_seconds(2);
  v1::Output& out = *job.add_outputs();
  out.set_node("9");
  out.set_path(output);
  out.set_type("output");
  return job;
}

class ScriptedMaster : public v1::AdminService::Service {
 public:
  ScriptedMaster() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    REQUIRE(server_ != nullptr);
  }
  ~ScriptedMaster() override { server_->Shutdown(); }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  grpc::Status Submit(grpc::ServerContext*, const v1::SubmitRequest* request, v1::SubmitReply* reply) override {
    submitted = *request;
    *reply = submit_reply;
    return grpc::Status::OK;
  }
  grpc::Status Watch(grpc::ServerContext*, const v1::WatchRequest*, grpc::ServerWriter<v1::JobEvent>* writer) override {
    ++watches;
    v1::JobEvent event;
    event.mutable_job()->set_id(job.id());
    event.mutable_job()->set_state("running");
    writer->Write(event);
    if (watches <= broken_watches) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "going down");
    *event.mutable_job() = job;
    writer->Write(event);
    return grpc::Status::OK;
  }
  grpc::Status GetJob(grpc::ServerContext*, const v1::GetJobRequest* request, v1::Job* reply) override {
    if (request->job_id() != job.id()) return grpc::Status(grpc::StatusCode::NOT_FOUND, "no such job");
    *reply = job;
    return grpc::Status::OK;
  }
  grpc::Status CancelJob(grpc::ServerContext*, const v1::GetJobRequest*, v1::Job* reply) override {
    job.set_state("cancelled");
    *reply = job;
    return grpc::Status::OK;
  }
  grpc::Status ListJobs(grpc::ServerContext*, const v1::ListJobsRequest*, v1::ListJobsReply* reply) override {
    *reply->add_jobs() = job;
    return grpc::Status::OK;
  }
  grpc::Status ListWorkers(grpc::ServerContext*, const v1::ListWorkersRequest*, v1::ListWorkersReply* reply) override {
    v1::Worker& worker = *reply->add_workers();
    worker.set_name("w1");
    worker.set_state("connected");
    worker.set_device("cpu");
    worker.set_memory_bytes(uint64_t{8} << 30);
    worker.add_tags("attic");
    worker.add_tags("fast");
    return grpc::Status::OK;
  }
  grpc::Status GetCatalog(grpc::ServerContext*, const v1::GetCatalogRequest*, v1::CatalogReply* reply) override {
    reply->set_json(R"([{"type":"A","display_name":"Node A","category":"x","inputs":[],"outputs":[]},)"
                    R"({"type":"B","category":"x","internal":true,"inputs":[],"outputs":[]}])");
    return grpc::Status::OK;
  }
  grpc::Status ListModels(grpc::ServerContext*, const v1::ListModelsRequest* request,
                          v1::ListModelsReply* reply) override {
    if (!request->folder().empty() && request->folder() != "checkpoints") return grpc::Status::OK;
    v1::ModelEntry& model = *reply->add_models();
    model.set_folder("checkpoints");
    model.set_name("a.safetensors");
    model.set_size(1 << 20);
    model.set_hash(std::string(64, 'e'));
    model.add_holders()->set_worker("w1");
    v1::ModelHolder& pinned = *model.add_holders();
    pinned.set_worker("w2");
    pinned.set_brought(true);
    pinned.set_pinned(true);
    v1::ModelHolder& coming = *model.add_holders();
    coming.set_worker("w3");
    coming.set_state("fetching");
    coming.set_bytes(1 << 19);
    return grpc::Status::OK;
  }
  grpc::Status OrderModel(grpc::ServerContext*, const v1::OrderModelRequest* request,
                          v1::OrderModelReply* reply) override {
    ordered = *request;
    reply->mutable_model()->set_folder("checkpoints");
    reply->mutable_model()->set_name(request->name());
    return grpc::Status::OK;
  }

  v1::OrderModelRequest ordered;
  v1::SubmitReply submit_reply;
  v1::SubmitRequest submitted;
  v1::Job job;
  int watches = 0;
  int broken_watches = 0;

 private:
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

struct Ran {
  int code = -1;
  std::string out;
  std::string err;
};

Ran Run(const std::vector<std::string>& arguments, double patience_seconds = 5) {
  const ParseOutcome outcome = ParseCommandLine(arguments);
  INFO(outcome.err);
  REQUIRE(outcome.command);
  std::ostringstream out;
  std::ostringstream err;
  Surroundings io{out, err};
  io.patience_seconds = patience_seconds;
  Ran ran;
  ran.code = RunCommand(*outcome.command, io);
  ran.out = out.str();
  ran.err = err.str();
  return ran;
}

TEST_CASE("no master: one sentence and exit code 3") {
  TempFolder folder;
  const std::string workflow = folder.Write("w.json", "{}");
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{{"jobs"},
                                                                                         {"job", "x"},
                                                                                         {"submit", workflow},
                                                                                         {"workers"},
                                                                                         {"nodes"},
                                                                                         {"models"},
                                                                                         {"logs"},
                                                                                         {"explain", workflow}}) {
    std::vector<std::string> with = arguments;
    with.insert(with.end(), {"--master", "127.0.0.1:1"});
    const Ran ran = Run(with);
    INFO(arguments[0]);
    CHECK(ran.code == kExitNotReachable);
    CHECK(ran.err ==
          "atelier: no master answers at 127.0.0.1:1; start atelier-master there, or name another with --master "
          "HOST:PORT\n");
    CHECK(ran.out.empty());
  }
}

TEST_CASE("submit passes everything on and prints the id") {
  ScriptedMaster master;
  master.submit_reply.set_job_id("job-1");
  TempFolder folder;
  const Ran ran =
      Run({"submit", folder.Write("w.json", R"({"1":{}})"), "--master", master.address(), "--set", "1.a=b=c",
           "--replicas", "3", "--tiles", "independent", "--priority", "-4", "--tags", "fast,attic"});
  CHECK(ran.code == kExitDone);
  CHECK(ran.out == "job-1\n");
  CHECK(master.submitted.workflow() == R"({"1":{}})");
  REQUIRE(master.submitted.sets_size() == 1);
  CHECK(master.submitted.sets(0) == "1.a=b=c");
  CHECK(master.submitted.replicas() == 3);
  CHECK(master.submitted.tiles() == "independent");
  CHECK(master.submitted.priority() == -4);
  REQUIRE(master.submitted.tags_size() == 2);
  CHECK(master.submitted.tags(1) == "attic");
}

TEST_CASE("an invalid workflow: sentences, exit code 2, one JSON line") {
  ScriptedMaster master;
  master.submit_reply.set_report_json(
      R"({"error":{"message":"m"},"node_errors":{"5":{"class_type":"K","errors":[{"message":"bad","details":"seed"}]}}})");
  TempFolder folder;
  const Ran ran = Run({"submit", folder.Write("w.json", "{}"), "--master", master.address(), "--json"});
  CHECK(ran.code == kExitInvalid);
  CHECK(ran.out == R"({"job":null,"state":"invalid","seconds":0.0,"outputs":[],"error":"node 5 (K): bad: seed"})"
                   "\n");
  CHECK(ran.err.find("node 5 (K): bad: seed\n") != std::string::npos);
  for (const char* text : {"{\"\xff\": 1}", "\xc3", "\xe0\x80\x80", "\xed\xa0\x80", "\xf5\x80\x80\x80"})
    CHECK(Run({"submit", folder.Write("latin.json", text), "--master", master.address()})
              .err.find("is not UTF-8 at byte") != std::string::npos);
  CHECK(Run({"submit", folder.Write("utf8.json", "é €😀"), "--master", master.address()}).err.find("UTF-8") ==
        std::string::npos);
  const Ran absent = Run({"submit", (folder.path / "absent").string(), "--master", master.address(), "--json"});
  CHECK(absent.code == kExitInvalid);
  CHECK(absent.out.find("there is no file") != std::string::npos);
}

TEST_CASE("a watched job ends with its outputs, also over broken connections") {
  TempFolder folder;
  ScriptedMaster master;
  master.submit_reply.set_job_id("job-1");
  master.job = DoneJob(folder.Write("picture.png", "bytes"));
  master.broken_watches = GENERATE(0, 2);
  const std::string workflow = folder.Write("w.json", "{}");
  const std::string copies = (folder.path / "copies").string();
  const Ran ran = Run({"submit", workflow, "--master", master.address(), "--output", copies, "--json"});
  INFO(ran.err);
  CHECK(ran.code == kExitDone);
  CHECK(master.watches == master.broken_watches + 1);
  const auto json = ParseJson(ran.out);
  REQUIRE(json.ok());
  CHECK((*json)["outputs"][0]["path"] == copies + "/picture.png");
  CHECK(fs::file_size(copies + "/picture.png") == 5);
  CHECK((ran.err.find("went away") != std::string::npos) == (master.broken_watches > 0));
  // A second copy does not overwrite the first.
  const Ran again = Run({"submit", workflow, "--master", master.address(), "--output", copies, "--json"});
  CHECK(again.code == kExitDone);
  CHECK(fs::exists(copies + "/picture-1.png"));
}

TEST_CASE("outputs of a master elsewhere are not there to copy") {
  ScriptedMaster master;
  master.submit_reply.set_job_id("job-1");
  master.job = DoneJob("/nowhere/picture.png");
  TempFolder folder;
  const Ran ran = Run({"submit", folder.Write("w.json", "{}"), "--master", master.address(), "--output",
                       (folder.path / "copies").string()});
  CHECK(ran.code == kExitJobFailed);
  CHECK(ran.err.find("\"/nowhere/picture.png\" is not on this machine") != std::string::npos);
}

TEST_CASE("a failed job is exit code 1 with its error") {
  ScriptedMaster master;
  master.submit_reply.set_job_id("job-1");
  master.job = DoneJob("/x");
  master.job.set_state("failed");
  master.job.set_error("node 3: no memory");
  TempFolder folder;
  const Ran ran = Run({"submit", folder.Write("w.json", "{}"), "--master", master.address(), "--wait", "--json"});
  CHECK(ran.code == kExitJobFailed);
  CHECK(ran.out.find("\"error\":\"node 3: no memory\"") != std::string::npos);
  CHECK(ran.err.find("failed after 2.0 s: node 3: no memory") != std::string::npos);
}

TEST_CASE("jobs are found by the first letters of their id") {
  ScriptedMaster master;
  master.job = DoneJob("/x");
  const Ran ran = Run({"job", "job", "--master", master.address(), "--json"});
  CHECK(ran.code == kExitDone);
  CHECK(ran.out.rfind(R"({"job":"job-1","state":"done")", 0) == 0);
  const Ran absent = Run({"job", "other", "--master", master.address()});
  CHECK(absent.code == kExitInvalid);
  CHECK(absent.err == "atelier: there is no job \"other\"; `atelier jobs` lists them\n");
  CHECK(Run({"cancel", "job-1", "--master", master.address()}).out == "job job-1: cancelled\n");
}

TEST_CASE("tables of the cluster") {
  ScriptedMaster master;
  master.job = DoneJob("/x");
  const std::vector<std::string> where = {"--master", master.address()};
  const auto run = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), where.begin(), where.end());
    return Run(arguments);
  };
  CHECK(run({"workers"}).out ==
        "WORKER  STATE      DEVICE  HARDWARE   MEMORY  RUNS  DONE  TAGS         NOTE\n"
        "w1      connected  cpu               8.0 GiB     0     0  attic, fast\n");
  CHECK(run({"models"}).out ==
        "FOLDER       FILE              SIZE  HASH          WHERE\n"
        "checkpoints  a.safetensors  1.0 MiB  eeeeeeeeeeee  w1, w2 (pinned), w3 (50 %)\n");
  CHECK(run({"models", "pin", "checkpoints/a.safetensors", "--on", "w2"}).out ==
        "checkpoints/a.safetensors: pin on w2\n");
  CHECK(master.ordered.action() == "pin");
  CHECK(master.ordered.folder() == "checkpoints");
  CHECK(master.ordered.name() == "a.safetensors");
  CHECK(master.ordered.worker() == "w2");
  CHECK(run({"models", "pull", "a.safetensors", "--to", "w1"}).out == "checkpoints/a.safetensors is on w1\n");
  CHECK(master.ordered.folder().empty());
  CHECK(ParseCommandLine({"models", "pull", "a.safetensors"}).exit_code == kExitInvalid);
  CHECK(run({"models", "loras"}).code == kExitInvalid);
  CHECK(run({"nodes"}).out == "NODE  CATEGORY  NAME\nA     x         Node A\n");
  CHECK(run({"nodes", "A"}).out.rfind("A (Node A)\ncategory: x\n", 0) == 0);
  CHECK(run({"nodes", "Z"}).code == kExitInvalid);
  CHECK(run({"jobs"}).out.find("job-1  done") != std::string::npos);
}

TEST_CASE("a worker is added, enabled and disabled in the file") {
  TempFolder folder;
  const std::string file = folder.Write("c.yaml", "# mine\nworkers:\n  list: []  # none yet\n");
  const auto text = [&] {
    std::ifstream in(file);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  CHECK(Run({"config", "add-worker", "gpu1", "device=cuda:1", "--config", file}).code == kExitDone);
  CHECK(text() == "# mine\nworkers:\n  list:  # none yet\n    - name: gpu1\n      device: cuda:1\n");
  const Ran off = Run({"config", "disable", "gpu1", "--config", file});
  CHECK(off.err.ends_with("workers.list.gpu1.enabled is now no; a running master takes it over at once\n"));
  CHECK(text().find("enabled: no\n") != std::string::npos);
  CHECK(Run({"config", "enable", "gpu1", "--config", file}).code == kExitDone);
  CHECK(text().find("enabled: yes\n") != std::string::npos);
  CHECK(Run({"config", "set", "master.listen", "127.0.0.1:1", "--config", file})
            .err.ends_with("a running master needs a restart for it\n"));
  const Ran bad = Run({"config", "add-worker", "gpu2", "device", "--config", file});
  CHECK(bad.code == kExitInvalid);
  CHECK(bad.err.find("\"device\" has not the form KEY=VALUE") != std::string::npos);
  CHECK(Run({"config", "enable", "nobody", "--config", file}).code == kExitInvalid);
}

TEST_CASE("run says why it cannot start, once a workflow in JSON") {
  TempFolder folder;
  const std::string workflow = folder.Write("w.json", "{}");
  REQUIRE(setenv("ATELIER_MASTER", "/nonexistent/atelier-master", 1) == 0);
  const Ran ran = Run({"run", workflow, workflow, "--models", folder.path.string(), "--output",
                       (folder.path / "out").string(), "--json"});
  CHECK(ran.code == kExitNotReachable);
  CHECK(std::count(ran.out.begin(), ran.out.end(), '\n') == 2);
  CHECK(ran.out.find(R"({"job":null,"state":"failed")") == 0);
  CHECK(ran.err.find("/nonexistent/atelier-master") != std::string::npos);

  // A master that ends at once: its last words are the reason.
  const std::string script = folder.Write("master", "#!/bin/sh\necho starting\necho the disk is full >&2\nexit 7\n");
  fs::permissions(script, fs::perms::owner_all);
  REQUIRE(setenv("ATELIER_MASTER", script.c_str(), 1) == 0);
  const Ran dead = Run({"run", workflow, "--models", folder.path.string(), "--output", (folder.path / "out").string()});
  CHECK(dead.code == kExitNotReachable);
  CHECK(dead.err == "atelier: atelier-master ended with status 7: the disk is full\n");
  unsetenv("ATELIER_MASTER");

  const Ran folderless = Run({"run", workflow, "--models", "/nonexistent", "--json"});
  CHECK(folderless.code == kExitInvalid);
  CHECK(folderless.err.find("--models names an existing one") != std::string::npos);
}

}  // namespace
}  // namespace atelier::cli
