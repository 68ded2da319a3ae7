#include "tests/harness/cluster.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#define CATCH_CONFIG_EXTERNAL_INTERFACES
#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <condition_variable>
#include <fstream>
#include <iostream>
#include <mutex>
#include <sstream>
#include <thread>

#include "common/base/hash.h"
#include "common/image/codec.h"
#include "master/cli/format.h"

namespace atelier::test {
namespace {

constexpr double kServeSeconds = 30;
constexpr size_t kLogShown = 16 << 10;

std::vector<std::pair<std::string, std::string>>& Kept() {
  static std::vector<std::pair<std::string, std::string>> kept;
  return kept;
}

// Logs are worth reading only when something failed.
class FailureLogs : public Catch::TestEventListenerBase {
 public:
  using TestEventListenerBase::TestEventListenerBase;
  void testCaseEnded(const Catch::TestCaseStats& stats) override {
    if (stats.totals.assertions.failed > 0)
      for (const auto& [title, text] : Kept()) std::cout << "---- " << title << "\n" << text << "\n";
    Kept().clear();
  }
};
CATCH_REGISTER_LISTENER(FailureLogs)

void WriteFile(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
  REQUIRE(out.good());
}

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// Ends a watch from another thread when its time is over.
class Alarm {
 public:
  Alarm(double seconds, std::function<void()> ring)
      : thread_([this, seconds, ring = std::move(ring)] {
          std::unique_lock lock(mutex_);
          if (off_.wait_for(lock, std::chrono::duration<double>(seconds), [this] { return done_; })) return;
          rang_ = true;
          ring();
        }) {}
  ~Alarm() {
    {
      std::lock_guard lock(mutex_);
      done_ = true;
    }
    off_.notify_all();
    thread_.join();
  }
  bool rang() const { return rang_; }

 private:
  std::mutex mutex_;
  std::condition_variable off_;
  bool done_ = false;
  std::atomic<bool> rang_{false};
  std::thread thread_;
};

}  // namespace

void KeepForFailure(const std::string& title, const std::string& text) {
  Kept().emplace_back(title, text.size() > kLogShown ? "..." + text.substr(text.size() - kLogShown) : text);
}

Cluster::Cluster(ClusterOptions options) : options_(std::move(options)) {
  for (const char* folder : {"state", "models", "input", "output"})
    std::filesystem::create_directory(dir_.path() / folder);
  if (!options_.config.empty()) WriteFile(dir_ / "cluster.yaml", options_.config);
  if (!options_.catalog.empty()) WriteFile(dir_ / "catalog.json", options_.catalog);
  StartMaster();
}

Cluster::~Cluster() = default;

Process& Cluster::LaunchMaster(const std::map<std::string, std::string>& environment) {
  master_.reset();
  const std::string port_file = dir_ / "address";
  unlink(port_file.c_str());
  std::vector<std::string> arguments = {BinDir() + "/atelier-master",
                                        "--listen",
                                        address_.empty() ? "127.0.0.1:0" : address_,
                                        "--state",
                                        state_dir(),
                                        "--models",
                                        models_dir(),
                                        "--input",
                                        dir_ / "input",
                                        "--output",
                                        output_dir(),
                                        "--port-file",
                                        port_file};
  if (!options_.config.empty()) arguments.insert(arguments.end(), {"--config", config_file()});
  if (!options_.catalog.empty()) arguments.insert(arguments.end(), {"--catalog", dir_ / "catalog.json"});
  if (options_.master_flags.empty()) arguments.insert(arguments.end(), {"--local-workers", "0"});
  arguments.insert(arguments.end(), options_.master_flags.begin(), options_.master_flags.end());
  std::map<std::string, std::string> variables{{"ATELIER_DATA_DIR", ATELIER_SOURCE_DIR "/config"}};
  for (const auto& [name, value] : options_.master_environment) variables[name] = value;
  for (const auto& [name, value] : environment) variables[name] = value;
  master_ = std::make_unique<Process>(arguments, dir_ / ("master-" + std::to_string(++starts_) + ".log"), variables,
                                      options_.master_limits);
  return *master_;
}

void Cluster::StartMaster() {
  const std::string port_file = dir_ / "address";
  const int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  REQUIRE(watch >= 0);
  REQUIRE(inotify_add_watch(watch, dir_.path().c_str(), IN_MOVED_TO | IN_CLOSE_WRITE) >= 0);
  LaunchMaster({});
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(kServeSeconds);
  std::string address;
  for (;;) {
    address = ReadFile(port_file);
    if (!address.empty() && address.back() == '\n') break;
    INFO(master_->Log());
    REQUIRE(master_->Running());
    REQUIRE(std::chrono::steady_clock::now() < end);
    pollfd fd{watch, POLLIN, 0};
    poll(&fd, 1, 1000);
    char events[4096];
    while (read(watch, events, sizeof events) > 0) {
    }
  }
  close(watch);
  address.pop_back();
  if (address_.empty()) {
    address_ = address;
    client_ = std::make_unique<cli::Client>(address_);
  }
  REQUIRE(address == address_);
  // The channel may still hold the connection to the master before, whose first use tells that it is gone.
  while (!client_->GetServer().ok()) {
    REQUIRE(std::chrono::steady_clock::now() < end);
    (void)client_->WaitReachable(0.1).ok();
  }
}

Process& Cluster::StartWorker(const std::string& name, const std::string& fault,
                              const std::vector<std::string>& flags) {
  std::vector<std::string> arguments = {
      BinDir() + "/" + options_.worker, "--master", address_, "--name", name, "--models", models_dir(name)};
  arguments.insert(arguments.end(), options_.worker_flags.begin(), options_.worker_flags.end());
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  std::filesystem::create_directories(models_dir(name));
  auto& slot = workers_[name];
  slot.reset();
  std::map<std::string, std::string> variables = options_.worker_environment;
  variables["ATELIER_FAULT"] = fault;
  variables["ATELIER_STATE_DIR"] = dir_ / ("state-" + name);
  slot = std::make_unique<Process>(arguments, dir_ / ("worker-" + name + ".log"), variables);
  return *slot;
}

std::string Cluster::Submit(const Json& prompt, uint32_t replicas, const std::string& tiles) {
  v1::SubmitRequest request;
  request.set_workflow(DumpJson(prompt));
  request.set_replicas(replicas);
  request.set_tiles(tiles);
  const StatusOr<v1::SubmitReply> reply = client_->Submit(request);
  INFO(Message(reply.status()));
  REQUIRE(reply.ok());
  INFO(reply->report_json());
  REQUIRE_FALSE(reply->job_id().empty());
  return reply->job_id();
}

std::string Cluster::SubmitRefused(const Json& prompt) {
  v1::SubmitRequest request;
  request.set_workflow(DumpJson(prompt));
  const StatusOr<v1::SubmitReply> reply = client_->Submit(request);
  if (!reply.ok()) return Message(reply.status());
  REQUIRE(reply->job_id().empty());
  std::string text;
  for (const std::string& sentence : cli::ReportSentences(reply->report_json())) text += sentence + "\n";
  return text;
}

bool Cluster::WaitEvent(const std::string& job, const std::function<bool(const v1::JobEvent&)>& until, double seconds) {
  cli::Client watcher(address_);
  bool seen = false;
  const Alarm alarm(seconds, [&] { watcher.CancelWatch(); });
  const Status status = watcher.Watch(job, [&](const v1::JobEvent& event) {
    if (seen || !until(event)) return;
    seen = true;
    watcher.CancelWatch();
  });
  INFO("watching job " << job << ": " << Message(status));
  REQUIRE_FALSE(alarm.rang());
  return seen;
}

v1::Job Cluster::WaitJob(const std::string& job, double seconds,
                         const std::function<void(const v1::JobEvent&)>& on_event) {
  cli::Client watcher(address_);
  const Alarm alarm(seconds, [&] { watcher.CancelWatch(); });
  const Status status = watcher.Watch(job, [&](const v1::JobEvent& event) {
    if (on_event) on_event(event);
  });
  const StatusOr<v1::Job> ended = client_->GetJob(job);
  INFO("watching job " << job << ": " << Message(status) << "\n" << (ended.ok() ? cli::JobText(*ended) : ""));
  REQUIRE_FALSE(alarm.rang());
  REQUIRE(status.ok());
  REQUIRE(ended.ok());
  REQUIRE(cli::IsEnded(ended->state()));
  return *ended;
}

std::string Cluster::OutputHash(const v1::Job& job) {
  Sha256 hash;
  INFO(cli::JobText(job));
  REQUIRE(job.state() == "done");
  REQUIRE(job.outputs_size() > 0);
  for (const v1::Output& output : job.outputs()) {
    const std::string bytes = ReadFile(output.path());
    REQUIRE_FALSE(bytes.empty());
    hash.Update(bytes);
  }
  return hash.HexDigest();
}

std::string Cluster::PixelHash(const v1::Job& job) {
  Sha256 hash;
  REQUIRE(job.outputs_size() > 0);
  for (const v1::Output& output : job.outputs()) {
    const StatusOr<DecodedImage> picture = DecodeImage(ReadFile(output.path()));
    REQUIRE(picture.ok());
    hash.Update({reinterpret_cast<const char*>(picture->rgb.data.data()), picture->rgb.data.size()});
  }
  return hash.HexDigest();
}

std::vector<AcceptedTask> Cluster::Accepted(const std::string& job) {
  auto store = JobStore::Open(state_dir() + "/atelier.db");
  INFO(Message(store.status()));
  REQUIRE(store.ok());
  auto tasks = (*store)->GetAcceptedTasks(job);
  REQUIRE(tasks.ok());
  return *tasks;
}

Json ReplicaPrompt(int64_t delay_ms, int64_t steps, int64_t size) {
  return Json{
      {"1", {{"class_type", "DistributedSeed"}, {"inputs", {{"seed", 7}}}}},
      {"2",
       {{"class_type", "FakeSource"},
        {"inputs",
         {{"seed", Json::array({"1", 0})},
          {"width", size},
          {"height", size},
          {"batch_size", 1},
          {"delay_ms", delay_ms},
          {"steps", steps}}}}},
      {"3",
       {{"class_type", "DistributedCollector"},
        {"inputs", {{"images", Json::array({"2", 0})}, {"load_balance", false}}}}},
      {"4",
       {{"class_type", "FakeSave"}, {"inputs", {{"images", Json::array({"3", 0})}, {"filename_prefix", "replica"}}}}}};
}

Json TilePrompt(int64_t delay_ms, int side, int tile) {
  return Json{
      {"1",
       {{"class_type", "FakeSource"},
        {"inputs",
         {{"seed", 3},
          {"width", side * tile},
          {"height", side * tile},
          {"batch_size", 1},
          {"delay_ms", 0},
          {"steps", 1}}}}},
      {"2",
       {{"class_type", "UltimateSDUpscaleDistributed"},
        {"inputs",
         {{"upscaled_image", Json::array({"1", 0})},
          {"seed", 11},
          {"steps", 2},
          {"delay_ms", delay_ms},
          {"tile_width", tile},
          {"tile_height", tile},
          {"padding", 32},
          {"mask_blur", 8},
          {"force_uniform_tiles", true},
          {"tiled_decode", false}}}}},
      {"3",
       {{"class_type", "FakeSave"}, {"inputs", {{"images", Json::array({"2", 0})}, {"filename_prefix", "tiled"}}}}}};
}

}  // namespace atelier::test
