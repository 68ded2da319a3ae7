// A cluster outside loopback: `init`, a master on all addresses, tokens, workers that join with them.
#pragma once

#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "common/json/json.h"
#include "master/cli/client.h"
#include "master/gateway/security.h"
#include "tests/harness/cluster.h"
#include "tests/ops/probe.h"
#include "worker/session/session.h"

namespace atelier::test {

inline std::string ReadAll(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

/// Where a worker runs: what stands before its command, and the master's address as it is from there.
struct Host {
  std::vector<std::string> prefix;
  std::string master;  // "": on this machine
};

/// Thread: one at a time. The test's own calls are the operator's that `init` made.
class TlsCluster {
 public:
  explicit TlsCluster(const std::string& config = "", std::vector<std::string> master_flags = {"--local-workers", "0"})
      : port_(FreePort()), http_port_(FreePort()), flags_(std::move(master_flags)) {
    for (const char* folder : {"input", "output", "models", "home"})
      std::filesystem::create_directory(dir_.path() / folder);
    setenv("ATELIER_IDENTITY_DIR", (dir_ / "operator").c_str(), 1);
    std::ofstream(config_file()) << "master: {listen: '0.0.0.0:" << port_ << "', address: '" << address()
                                 << "', state_dir: '" << state_dir() << "', output_dir: '" << dir_ / "output"
                                 << "', input_dir: '" << dir_ / "input"
                                 << "'}\n"
                                 << "metrics: {listen: '0.0.0.0:" << http_port_ << "'}\nlog: {level: debug}\n"
                                 << "models: {roots: ['" << dir_ / "models"
                                 << "']}\n"
                                 << config;
    std::ofstream(dir_ / "catalog.json") << DumpJson(RegisteredCatalog().ToJson());
  }

  /// Runs a command of the master to its end; what it printed.
  std::string Run(std::vector<std::string> arguments, int exit_code = 0) {
    arguments.insert(arguments.begin(), {BinDir() + "/atelier-master", "--config", config_file()});
    return RunProgram(arguments, exit_code);
  }
  std::string RunProgram(const std::vector<std::string>& arguments, int exit_code = 0,
                         std::map<std::string, std::string> environment = {}) {
    environment.emplace("HOME", dir_ / "home");
    Process process(arguments, dir_ / Cat("run-", ++runs_, ".log"), environment);
    REQUIRE(process.WaitEnd(60));
    INFO(process.Log());
    CHECK(process.exit_code() == exit_code);
    return process.Log();
  }
  Process& LaunchMaster() {
    master_.reset();
    std::vector<std::string> arguments{BinDir() + "/atelier-master",
                                       "--config",
                                       config_file(),
                                       "--catalog",
                                       dir_ / "catalog.json",
                                       "--worker-binary",
                                       BinDir() + "/atelier-worker-fake"};
    arguments.insert(arguments.end(), flags_.begin(), flags_.end());
    master_ =
        std::make_unique<Process>(arguments, dir_ / Cat("master-", ++runs_, ".log"),
                                  std::map<std::string, std::string>{{"ATELIER_DATA_DIR", ATELIER_SOURCE_DIR "/config"},
                                                                     {"HOME", dir_ / "home"}});
    return *master_;
  }
  void StartMaster() {
    LaunchMaster();
    INFO(master_->Log());
    REQUIRE(master_->WaitLog("metrics and health on port", 30));
    client_ = std::make_unique<cli::Client>(address());
    REQUIRE(client_->GetServer().ok());
  }
  /// init, then the master.
  void Start() {
    Run({"init"});
    StartMaster();
  }

  /// The token of `atelier-master token`.
  std::string Token(const std::string& role = "worker") {
    const std::string printed = Run({"token", "--role", role});
    const std::string before = std::string(kTokenVariable) + "=";
    const size_t at = printed.find(before);
    REQUIRE(at != std::string::npos);
    return printed.substr(at + before.size(), printed.find(' ', at) - at - before.size());
  }
  /// A worker with a state folder of its own; `token` "": none.
  Process& StartWorker(const std::string& name, const std::string& token = "",
                       const std::vector<std::string>& flags = {}, const Host& host = {}) {
    std::vector<std::string> arguments = host.prefix;
    for (const std::string& word :
         {BinDir() + "/atelier-worker-fake", std::string("--master"), host.master.empty() ? address() : host.master,
          std::string("--name"), name, std::string("--log-level"), std::string("debug")})
      arguments.push_back(word);
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    std::map<std::string, std::string> environment{{"ATELIER_IDENTITY_DIR", dir_ / ("state-" + name)}};
    if (!token.empty()) environment[kTokenVariable] = token;
    auto& slot = workers_[name];
    slot.reset();
    slot = std::make_unique<Process>(arguments, dir_ / Cat("worker-", name, "-", ++runs_, ".log"), environment);
    return *slot;
  }
  Process& worker(const std::string& name) { return *workers_.at(name); }
  std::string WorkerIdentity(const std::string& name) const {
    return Cat(dir_ / ("state-" + name), "/", name, "@", address(), ".pem");
  }
  std::string StateOf(const std::string& worker) {
    const auto workers = client_->ListWorkers();
    if (!workers.ok()) return Message(workers.status());
    for (const v1::Worker& one : workers->workers())
      if (one.name() == worker) return one.state();
    return "unknown";
  }
  bool WaitState(const std::string& worker, const std::string& state) {
    return Until([&] { return StateOf(worker) == state; }, 30);
  }
  v1::Job RunJob(const Json& prompt, uint32_t replicas) {
    v1::SubmitRequest request;
    request.set_workflow(DumpJson(prompt));
    request.set_replicas(replicas);
    const auto reply = client_->Submit(request);
    INFO(Message(reply.status()));
    REQUIRE(reply.ok());
    INFO(reply->report_json());
    REQUIRE_FALSE(reply->job_id().empty());
    const Status watched = client_->Watch(reply->job_id(), [](const v1::JobEvent&) {});
    INFO(Message(watched));
    REQUIRE(watched.ok());
    const auto job = client_->GetJob(reply->job_id());
    REQUIRE(job.ok());
    return *job;
  }

  std::string address() const { return Cat("127.0.0.1:", port_); }
  int port() const { return port_; }
  int http_port() const { return http_port_; }
  std::string config_file() const { return dir_ / "cluster.yaml"; }
  std::string state_dir() const { return dir_ / "state"; }
  std::string authority_dir() const { return dir_ / "state/authority"; }
  const TempDir& dir() const { return dir_; }
  Process& master() { return *master_; }
  cli::Client& client() { return *client_; }

 private:
  TempDir dir_;
  const int port_, http_port_;
  const std::vector<std::string> flags_;
  int runs_ = 0;
  std::unique_ptr<Process> master_;
  std::map<std::string, std::unique_ptr<Process>> workers_;
  std::unique_ptr<cli::Client> client_;
};

}  // namespace atelier::test
