// What three workers say to a master in one job's life, one message after another: the bytes are records of a kind, a
// length and a protobuf message. Small numbers of attempts stand for the master's own, "?" for a task's or blob's name,
// so that a good part of the messages is about something that exists.
#include <google/protobuf/stubs/logging.h>

#include <cstdlib>
#include <filesystem>

#include "common/base/check.h"
#include "common/tensorio/safetensors.h"
#include "master/gateway/core.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/seeds.h"
#include "worker/session/session.h"

namespace atelier::fuzz {
namespace {

constexpr int kWorkers = 3, kRecordsMax = 64;
constexpr char kSomething[] = "?";
enum Kind : uint8_t { kMessage, kAttach, kLost, kTick, kKinds };

std::string Record(Kind kind, int worker, const google::protobuf::Message& message) {
  const std::string bytes = message.SerializeAsString();
  return Little(uint64_t{kind} + uint64_t{kKinds} * static_cast<uint64_t>(worker), 1) + Little(bytes.size(), 2) + bytes;
}

// The node types of the prompt below, and their text on the wire.
const Catalog& Types() {
  static const Catalog types = [] {
    Catalog some;
    for (const char* type : {"DistributedSeed", "FakeSource", "DistributedCollector", "FakeSave"})
      some.Add(*RegisteredCatalog().Find(type));
    return some;
  }();
  return types;
}

v1::Attach Attach() {
  v1::Attach attach;
  attach.set_protocol(1);
  attach.set_device("cpu");
  attach.set_instance("one");
  attach.set_memory_bytes(1 << 30);
  attach.set_catalog_digest(Types().Digest());
  return attach;
}

// Two replicas, then the file.
Json Prompt() {
  Json prompt;
  prompt["1"] = {{"class_type", "DistributedSeed"}, {"inputs", {{"seed", 7}}}};
  prompt["2"] = {{"class_type", "FakeSource"},
                 {"inputs",
                  {{"seed", Json::array({"1", 0})},
                   {"width", 64},
                   {"height", 64},
                   {"batch_size", 1},
                   {"delay_ms", 0},
                   {"steps", 1}}}};
  prompt["3"] = {{"class_type", "DistributedCollector"},
                 {"inputs", {{"images", Json::array({"2", 0})}, {"load_balance", false}}}};
  prompt["4"] = {{"class_type", "FakeSave"},
                 {"inputs", {{"images", Json::array({"3", 0})}, {"filename_prefix", "fuzz"}}}};
  return prompt;
}

// A master that ends with the object, on memory.
struct Master {
  Master() {
    CoreOptions options;
    folder = std::filesystem::exists("/dev/shm") ? "/dev/shm" : std::filesystem::temp_directory_path();
    folder /= Cat("atelier-fuzz-", getpid());
    std::filesystem::remove_all(folder);
    for (const char* name : {"state", "output", "input"}) std::filesystem::create_directories(folder / name);
    options.state_dir = folder / "state";
    options.output_dir = folder / "output";
    options.input_dir = folder / "input";
    options.share_models = false;
    options.catalog = Types();
    auto opened = Core::Open(std::move(options));
    ATELIER_CHECK(opened.ok());
    core = std::move(*opened);
    events = core->fleet_events();
    core->Start();
    v1::SubmitRequest request;
    request.set_workflow(DumpJson(Prompt()));
    request.set_replicas(2);
    const auto reply = core->Submit(request);
    ATELIER_CHECK(reply.ok() && !reply->job_id().empty());
    job = reply->job_id();
    blob = core->blobs().Put("something").value();
  }
  ~Master() {
    core.reset();
    std::filesystem::remove_all(folder);
  }

  // The task of a worker, or the first one.
  std::string TaskOf(const std::string& worker) {
    const auto described = core->GetJob(job);
    if (!described.ok() || described->tasks().empty()) return "";
    for (const v1::Task& task : described->tasks())
      if (task.worker() == worker && task.state() == "leased") return Cat(job, "/", task.id());
    return Cat(job, "/", described->tasks(0).id());
  }

  std::filesystem::path folder;
  std::unique_ptr<Core> core;
  FleetEvents events;
  std::string job;
  Blob blob;
};

// The first attempt of the first epoch has this number.
uint64_t Attempt(uint64_t number) { return number < 256 ? (uint64_t{1} << 24) + number : number; }

void Fill(Master& master, v1::Blob& blob) {
  if (blob.hash() != kSomething) return;
  blob.set_hash(master.blob.hash);
  blob.set_size(master.blob.size);
}

template <typename Report>
void Name(Master& master, const std::string& worker, Report& report) {
  if (report.task_id() == kSomething) report.set_task_id(master.TaskOf(worker));
  report.set_attempt(Attempt(report.attempt()));
}

void Complete(Master& master, const std::string& worker, v1::FromWorker& message) {
  if (message.has_progress()) Name(master, worker, *message.mutable_progress());
  if (message.has_failed()) Name(master, worker, *message.mutable_failed());
  if (message.has_returned()) Name(master, worker, *message.mutable_returned());
  if (message.has_log()) Name(master, worker, *message.mutable_log());
  if (!message.has_done()) return;
  Name(master, worker, *message.mutable_done());
  for (v1::Blob& blob : *message.mutable_done()->mutable_results()) Fill(master, blob);
  for (v1::OutputFile& file : *message.mutable_done()->mutable_files())
    if (file.has_blob()) Fill(master, *file.mutable_blob());
}

}  // namespace

std::vector<std::string> Seeds() {
  v1::FromWorker pull, progress, done, saved, failed, returned, inventory, catalog;
  pull.mutable_pull()->set_count(2);
  progress.mutable_progress()->set_task_id(kSomething);
  progress.mutable_progress()->set_attempt(1);
  progress.mutable_progress()->set_step(1);
  progress.mutable_progress()->set_total(4);
  done.mutable_done()->set_task_id(kSomething);
  done.mutable_done()->set_attempt(1);
  done.mutable_done()->set_seconds(0.5);
  done.mutable_done()->add_results()->set_hash(kSomething);
  saved.mutable_done()->set_task_id(kSomething);
  v1::OutputFile& file = *saved.mutable_done()->add_files();
  file.set_node("4");
  file.set_type("output");
  file.set_prefix("fuzz");
  file.set_extension("png");
  file.mutable_blob()->set_hash(kSomething);
  failed.mutable_failed()->set_task_id(kSomething);
  failed.mutable_failed()->set_attempt(1);
  failed.mutable_failed()->set_message("no");
  failed.mutable_failed()->set_retry_elsewhere(true);
  returned.mutable_returned()->set_task_id(kSomething);
  returned.mutable_returned()->set_attempt(1);
  v1::InventoryFolder& folder = *inventory.mutable_inventory()->add_folders();
  folder.set_folder("checkpoints");
  folder.add_names("a.safetensors");
  catalog.mutable_catalog()->set_json("{}");
  v1::Attach holds = Attach();
  v1::HeldAttempt& held = *holds.add_held();
  held.set_task_id(kSomething);
  held.set_attempt(1);
  const v1::FromWorker none;
  const auto say = [](int worker, const v1::FromWorker& message) { return Record(kMessage, worker, message); };
  const auto with_attempt = [](v1::FromWorker message, uint64_t attempt) {
    message.mutable_done()->set_attempt(attempt);
    return message;
  };
  const std::string begin = Record(kAttach, 0, Attach()) + say(0, pull);
  return {begin + say(0, progress) + say(0, done) + say(0, with_attempt(done, 2)) + say(0, pull) +
              say(0, with_attempt(saved, 3)),
          begin + say(0, failed) + Record(kAttach, 1, Attach()) + say(1, pull) + say(1, with_attempt(done, 2)),
          begin + Record(kLost, 0, none) + Record(kAttach, 0, holds) + say(0, returned) + say(0, inventory) +
              say(0, catalog) + Record(kTick, 0, none)};
}

}  // namespace atelier::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace atelier;
  using namespace atelier::fuzz;
  SetLogLevel(LogLevel::kError);
  google::protobuf::SetLogHandler(nullptr);  // texts that are no UTF-8
  Master master;
  std::string_view left(reinterpret_cast<const char*>(data), size);
  bool attached[kWorkers] = {};
  for (int records = 0; left.size() >= 3 && records < kRecordsMax; ++records) {
    const auto head = static_cast<uint8_t>(left[0]);
    const size_t length =
        std::min<size_t>(left.size() - 3, static_cast<uint8_t>(left[1]) + (size_t{static_cast<uint8_t>(left[2])} << 8));
    const std::string bytes(left.substr(3, length));
    left.remove_prefix(3 + length);
    const int worker = head / kKinds % kWorkers;
    const std::string name = Cat("worker", worker);
    v1::FromWorker message;
    v1::Attach attach;
    switch (head % kKinds) {
      case kAttach:
        if (!attach.ParseFromString(bytes)) break;
        attach.set_name(name);
        attach.set_instance("one");
        for (v1::HeldAttempt& held : *attach.mutable_held()) Name(master, name, held);
        attached[worker] = true;
        master.events.attached(attach);
        if (attach.catalog_digest() == Types().Digest()) {
          message.mutable_catalog()->set_json(DumpJson(Types().ToJson()));
          master.events.message(name, message);
        }
        break;
      case kLost:
        if (attached[worker]) master.events.lost(name, "one", true);
        attached[worker] = false;
        break;
      case kMessage:
        // What comes before or instead of an attach ends in the session.
        if (!attached[worker] || !message.ParseFromString(bytes) || message.has_attach()) break;
        Complete(master, name, message);
        master.events.message(name, std::move(message));
        break;
      default:
        master.core->ListJobs(10).status().IgnoreError();
        master.core->ListWorkers();
    }
  }
  ATELIER_CHECK(master.core->GetJob(master.job).ok());
  if (std::getenv("ATELIER_FUZZ_TELL") != nullptr) {
    const v1::Job job = *master.core->GetJob(master.job);
    std::fprintf(stderr, "%s %u/%u %s\n", job.state().c_str(), job.tasks_done(), job.tasks_total(),
                 job.error().c_str());
  }
  ATELIER_CHECK(master.core->CheckHealth().alive);
  ATELIER_CHECK(master.core->figures().refused_transitions == 0);
  return 0;
}
