// The commands that ask the master: jobs, job, cancel, logs, why, workers, nodes.
#include <ctime>

#include "common/discovery/discovery.h"
#include "common/json/json.h"
#include "master/cli/client.h"
#include "master/cli/commands.h"
#include "master/cli/format.h"

namespace atelier::cli {
namespace {

constexpr uint32_t kPrefixJobs = 1000;  // among so many of the newest the first letters of an id are looked up

std::string LocalTime(uint64_t unix_ms) {
  const std::time_t seconds = static_cast<std::time_t>(unix_ms / 1000);
  std::tm parts{};
  char text[32];
  if (unix_ms == 0 || localtime_r(&seconds, &parts) == nullptr) return "";
  return std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts) == 0 ? "" : text;
}

// A job by its id or the one that begins so.
StatusOr<v1::Job> FindJob(Client& client, const std::string& id) {
  StatusOr<v1::Job> job = client.GetJob(id);
  if (job.ok() || job.status().code() != StatusCode::kNotFound) return job;
  ASSIGN_OR_RETURN(const v1::ListJobsReply list, client.ListJobs(kPrefixJobs));
  const v1::Job* found = nullptr;
  for (const v1::Job& candidate : list.jobs()) {
    if (candidate.id().rfind(id, 0) != 0) continue;
    if (found != nullptr)
      return InvalidArgument("several jobs begin with \"", id, "\", e.g. ", found->id(), " and ", candidate.id(),
                             "; give more letters");
    found = &candidate;
  }
  if (found == nullptr) return NotFound("there is no job \"", id, "\"; `atelier jobs` lists them");
  return client.GetJob(found->id());
}

Json FullJobJson(const v1::Job& job) {
  Json json = JobJson(job);
  json["name"] = job.name();
  json["created_unix_ms"] = job.created_unix_ms();
  json["replicas"] = job.replicas();
  json["tiles"] = job.tiles();
  json["tasks_done"] = job.tasks_done();
  json["tasks_total"] = job.tasks_total();
  json["tags"] = std::vector<std::string>(job.tags().begin(), job.tags().end());
  if (!job.waiting().empty()) json["waiting"] = job.waiting();
  return json;
}

Status Jobs(Client& client, const CommandLine& line, Surroundings& io) {
  ASSIGN_OR_RETURN(const v1::ListJobsReply reply, client.ListJobs(line.limit));
  if (line.json) {
    for (const v1::Job& job : reply.jobs()) io.out << DumpJson(FullJobJson(job)) << "\n";
    return OkStatus();
  }
  if (reply.jobs_size() == 0) {
    io.err << "no jobs yet; `atelier submit WORKFLOW` makes one\n";
    return OkStatus();
  }
  std::vector<std::vector<std::string>> rows;
  const auto note = [](const v1::Job& job) {
    if (!job.error().empty()) return job.error();
    if (!job.waiting().empty()) return job.waiting();
    return job.tags_size() > 0 ? Cat("for workers with ", TagsList(job.tags())) : std::string();
  };
  for (const v1::Job& job : reply.jobs())
    rows.push_back({Clip(job.id(), 40), StateText(job), FormatSeconds(job.seconds()), LocalTime(job.created_unix_ms()),
                    Clip(job.name(), 40), Clip(note(job), 100)});
  io.out << FormatTable({"JOB", "STATE", "TIME", "CREATED", "NAME", "NOTE"}, rows, {2});
  return OkStatus();
}

Status OneJob(Client& client, const CommandLine& line, Surroundings& io) {
  ASSIGN_OR_RETURN(v1::Job job, FindJob(client, line.id));
  if (line.command == Command::kCancel) {
    if (IsEnded(job.state())) io.err << "atelier: job " << job.id() << " had ended already: " << job.state() << "\n";
    ASSIGN_OR_RETURN(job, client.CancelJob(job.id()));
    if (line.json)
      io.out << DumpJson(JobJson(job)) << "\n";
    else
      io.out << "job " << job.id() << ": " << job.state() << "\n";
    return OkStatus();
  }
  if (line.command == Command::kWhy) {
    ASSIGN_OR_RETURN(const v1::ListWorkersReply workers, client.ListWorkers());
    if (!line.json) {
      io.out << WhyText(job, workers);
      return OkStatus();
    }
    Json json = FullJobJson(job);
    json["missing"] = Json::array();
    for (const v1::MissingModel& missing : job.missing())
      json["missing"].push_back({{"worker", missing.worker()},
                                 {"folder", missing.folder()},
                                 {"name", missing.name()},
                                 {"outlook", missing.outlook()}});
    json["workers"] = Json::array();
    for (const v1::Worker& worker : workers.workers()) json["workers"].push_back(WorkerJson(worker));
    io.out << DumpJson(json) << "\n";
    return OkStatus();
  }
  if (!line.json) {
    io.out << JobText(job);
    return OkStatus();
  }
  Json json = FullJobJson(job);
  json["tasks"] = Json::array();
  for (const v1::Task& task : job.tasks()) json["tasks"].push_back(TaskJson(task));
  io.out << DumpJson(json) << "\n";
  return OkStatus();
}

Status Logs(Client& client, const CommandLine& line, Surroundings& io) {
  ASSIGN_OR_RETURN(const v1::LogsReply reply, client.Logs(line.id, line.lines));
  if (line.json) {
    Json json;
    json["subject"] = line.id;
    json["lines"] = Json::array();
    for (const std::string& text : reply.lines()) json["lines"].push_back(text);
    io.out << DumpJson(json) << "\n";
    return OkStatus();
  }
  if (reply.lines_size() == 0) io.err << "no log lines" << (line.id.empty() ? "" : " of ") << line.id << "\n";
  for (const std::string& text : reply.lines()) io.out << Clip(text, text.size()) << "\n";
  return OkStatus();
}

Status Discover(const CommandLine& line, Surroundings& io) {
  ASSIGN_OR_RETURN(const std::vector<Offer> offers, DiscoverMasters());
  if (!line.json) {
    io.out << OffersText(offers);
    return OkStatus();
  }
  for (const Offer& offer : offers)
    io.out << DumpJson({{"name", offer.name}, {"address", offer.address}, {"fingerprint", offer.fingerprint}}) << "\n";
  return OkStatus();
}

Status Workers(Client& client, const CommandLine& line, Surroundings& io) {
  if (line.action == "forget") {
    ASSIGN_OR_RETURN(const uint32_t identities, client.Forget(line.id));
    if (line.json) {
      Json json;
      json["name"] = line.id;
      json["identities"] = identities;
      io.out << DumpJson(json) << "\n";
    } else {
      io.out << "forgot " << line.id << ": " << identities << (identities == 1 ? " identity" : " identities")
             << " revoked\n";
    }
    return OkStatus();
  }
  if (!line.action.empty()) {
    ASSIGN_OR_RETURN(const v1::Worker worker, client.ControlWorker(line.id, line.action));
    if (line.json)
      io.out << DumpJson(WorkerJson(worker)) << "\n";
    else
      io.out << "worker " << worker.name() << ": " << worker.state() << "\n";
    return OkStatus();
  }
  ASSIGN_OR_RETURN(const v1::ListWorkersReply reply, client.ListWorkers());
  if (line.json) {
    for (const v1::Worker& worker : reply.workers()) io.out << DumpJson(WorkerJson(worker)) << "\n";
    return OkStatus();
  }
  if (reply.workers_size() == 0) {
    io.err << "no workers yet; start one with `atelier-worker --master " << line.master << "`\n";
    return OkStatus();
  }
  std::vector<std::vector<std::string>> rows;
  for (const v1::Worker& worker : reply.workers())
    rows.push_back({Clip(worker.name(), 40), worker.state(), worker.device(), Clip(worker.device_name(), 32),
                    worker.memory_bytes() > 0 ? FormatBytes(worker.memory_bytes()) : "", Cat(worker.running_size()),
                    Cat(worker.tasks_done()), TagsList(worker.tags()), Clip(worker.note(), 120)});
  io.out << FormatTable({"WORKER", "STATE", "DEVICE", "HARDWARE", "MEMORY", "RUNS", "DONE", "TAGS", "NOTE"}, rows,
                        {4, 5, 6});
  return OkStatus();
}

// The specs of a catalogue answer: a list, {"nodes": [...]}, {type: spec} or one spec.
void CollectSpecs(const Json& json, std::vector<Json>& specs) {
  if (json.is_array()) {
    for (const Json& spec : json) CollectSpecs(spec, specs);
  } else if (json.is_object()) {
    auto type = json.find("type");
    if (type != json.end() && type->is_string() && json.find("inputs") != json.end()) {
      specs.push_back(json);
      return;
    }
    for (const Json& value : json)
      if (value.is_structured()) CollectSpecs(value, specs);
  }
}

Status Nodes(Client& client, const CommandLine& line, Surroundings& io) {
  ASSIGN_OR_RETURN(const std::string text, client.GetCatalog(line.id));
  ASSIGN_OR_RETURN(const Json catalog, ParseJson(text));
  std::vector<Json> specs;
  CollectSpecs(catalog, specs);
  if (!line.id.empty()) {
    for (const Json& spec : specs) {
      if (spec["type"] != line.id) continue;
      if (line.json)
        io.out << DumpJson(spec) << "\n";
      else
        io.out << NodeText(spec);
      return OkStatus();
    }
    return NotFound("there is no node type \"", line.id, "\"; `atelier nodes` lists them");
  }
  std::vector<std::vector<std::string>> rows;
  for (const Json& spec : specs) {
    if (spec.value("internal", false)) continue;
    if (line.json) {
      io.out << DumpJson(spec) << "\n";
      continue;
    }
    const std::string type = spec["type"];
    const std::string display = spec.value("display_name", "");
    rows.push_back({type, spec.value("category", ""), display == type ? "" : display});
  }
  if (!line.json) io.out << FormatTable({"NODE", "CATEGORY", "NAME"}, rows);
  return OkStatus();
}

}  // namespace

int ShowCluster(const CommandLine& line, Surroundings& io) {
  Client client(line.master);
  Status status;
  switch (line.command) {
    case Command::kJobs:
      status = Jobs(client, line, io);
      break;
    case Command::kLogs:
      status = Logs(client, line, io);
      break;
    case Command::kWorkers:
      status = line.discover ? Discover(line, io) : Workers(client, line, io);
      break;
    case Command::kNodes:
      status = Nodes(client, line, io);
      break;
    default:
      status = OneJob(client, line, io);
  }
  return status.ok() ? kExitDone : Complain(status, io);
}

}  // namespace atelier::cli
