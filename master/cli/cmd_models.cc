// `atelier models`: who has which file; bringing files to machines, pins.
#include <fcntl.h>
#include <poll.h>

#include <algorithm>
#include <atomic>
#include <filesystem>

#include "common/files/files.h"
#include "common/files/model_manifest.h"
#include "common/files/models.h"
#include "common/json/json.h"
#include "master/cli/client.h"
#include "master/cli/commands.h"
#include "master/cli/format.h"

namespace atelier::cli {
namespace {

constexpr size_t kHashShown = 12;
constexpr int kRoundsMax = 5;  // of a push whose chunks get damaged
constexpr int kLookEveryMs = 500;

Json EntryJson(const v1::ModelEntry& model) {
  Json json{{"folder", model.folder()}, {"name", model.name()}, {"size", model.size()}, {"hash", model.hash()}};
  json["workers"] = Json::array();
  for (const v1::ModelHolder& holder : model.holders()) {
    Json one{{"name", holder.worker()},
             {"master", holder.master()},
             {"brought", holder.brought()},
             {"pinned", holder.pinned()}};
    if (!holder.state().empty()) {
      one["state"] = holder.state();
      one["bytes"] = holder.bytes();
    }
    if (!holder.error().empty()) one["error"] = holder.error();
    json["workers"].push_back(std::move(one));
  }
  return json;
}

std::string HolderText(const v1::ModelHolder& holder, uint64_t size) {
  std::string text = holder.worker();
  if (holder.pinned())
    text += " (pinned)";
  else if (holder.brought())
    text += " (brought)";
  if (holder.state() == "fetching" && size > 0)
    text += Cat(" (", holder.bytes() * 100 / size, " %)");
  else if (!holder.state().empty())
    text += Cat(" (", holder.state(), holder.error().empty() ? "" : ": ", holder.error(), ")");
  return text;
}

// "checkpoints/a.safetensors": the folder is one of the models folders.
void SplitName(const std::string& text, std::string& folder, std::string& name) {
  name = text;
  const size_t slash = text.find('/');
  if (slash == std::string::npos) return;
  for (const std::string& known : ModelFolders()) {
    if (text.substr(0, slash) != known) continue;
    folder = known;
    name = text.substr(slash + 1);
  }
}

Status List(Client& client, const CommandLine& line, Surroundings& io) {
  ASSIGN_OR_RETURN(const v1::ListModelsReply reply, client.ListModels(line.id));
  if (line.json) {
    Json json = Json::array();
    for (const v1::ModelEntry& model : reply.models()) json.push_back(EntryJson(model));
    io.out << DumpJson(Json{{"models", std::move(json)}}) << "\n";
    return OkStatus();
  }
  if (reply.models_size() == 0 && !line.id.empty())
    return NotFound("nobody has a file in a models folder \"", line.id, "\"; `atelier models` lists all");
  if (reply.models_size() == 0) {
    io.err << "no machine has model files; put them into a models folder, e.g. models/checkpoints\n";
    return OkStatus();
  }
  std::vector<std::vector<std::string>> rows;
  for (const v1::ModelEntry& model : reply.models()) {
    std::string holders;
    for (const v1::ModelHolder& holder : model.holders())
      holders += (holders.empty() ? "" : ", ") + HolderText(holder, model.size());
    rows.push_back({model.folder(), Clip(model.name(), 120), FormatBytes(model.size()),
                    model.hash().empty() ? "..." : model.hash().substr(0, kHashShown), Clip(holders, 300)});
  }
  io.out << FormatTable({"FOLDER", "FILE", "SIZE", "HASH", "WHERE"}, rows, {2});
  return OkStatus();
}

// Waits for a moment; false when the person interrupts.
bool Pause(Interrupt* interrupt) {
  pollfd raised{interrupt == nullptr ? -1 : interrupt->fd(), POLLIN, 0};
  return poll(&raised, 1, kLookEveryMs) == 0;
}

// Until the worker has it. Errors: what the worker says.
Status WaitBrought(Client& client, const std::string& folder, const std::string& name, const std::string& worker,
                   Surroundings& io, v1::ModelEntry& last) {
  std::string told;
  for (;;) {
    ASSIGN_OR_RETURN(const v1::ListModelsReply reply, client.ListModels(folder));
    bool ordered = false;
    for (const v1::ModelEntry& model : reply.models()) {
      if (model.name() != name) continue;
      for (const v1::ModelHolder& holder : model.holders()) {
        if (holder.worker() != worker || holder.master()) continue;
        last = model;
        if (holder.state() == "failed")
          return FailedPrecondition("worker \"", worker, "\" could not take ", folder, "/", name, ": ", holder.error());
        if (holder.state().empty()) return OkStatus();
        ordered = true;
        std::string text = HolderText(holder, model.size());
        if (text != told) io.err << folder << "/" << name << ": " << text << "\n";
        told = std::move(text);
      }
    }
    if (!ordered) {  // done and not told yet, or the worker left
      ASSIGN_OR_RETURN(const v1::ListWorkersReply workers, client.ListWorkers());
      for (const v1::Worker& known : workers.workers())
        if (known.name() == worker && known.state() != "connected" && known.state() != "draining" &&
            known.state() != "resting" && known.state() != "disabled")
          return Unavailable("worker \"", worker, "\" left; it goes on when it is back: run this again");
    }
    if (!Pause(io.interrupt))
      return Cancelled("no longer waiting; the file is still brought (`atelier models cancel` stops it)");
  }
}

Status Order(Client& client, const CommandLine& line, const char* action, Surroundings& io) {
  v1::OrderModelRequest request;
  request.set_action(action);
  std::string folder, name;
  SplitName(line.id, folder, name);
  request.set_folder(folder);
  request.set_name(name);
  request.set_worker(line.to);
  ASSIGN_OR_RETURN(v1::ModelEntry model, client.OrderModel(request));
  if (line.command == Command::kModelsPull || line.command == Command::kModelsPush) {
    const std::string where = model.folder();
    RETURN_IF_ERROR(WaitBrought(client, where, name, line.to, io, model));
  }
  if (line.json) {
    io.out << DumpJson(EntryJson(model)) << "\n";
    return OkStatus();
  }
  const std::string what = Cat(model.folder(), "/", model.name());
  if (line.command == Command::kModelsPull || line.command == Command::kModelsPush)
    io.out << what << " is on " << line.to << "\n";
  else
    io.out << what << ": " << action << (line.to.empty() ? "" : " on " + line.to) << "\n";
  return OkStatus();
}

Status Push(Client& client, const CommandLine& line, Surroundings& io) {
  const std::filesystem::path path(line.id);
  v1::PushModelRequest request;
  request.set_name(line.as.empty() ? path.filename().string() : line.as);
  std::string folder = line.folder;
  if (folder.empty()) {  // the nearest folder above it that is a models folder
    const std::vector<std::string> known = ModelFolders();
    std::error_code error;
    for (auto up = std::filesystem::absolute(path, error).parent_path(); folder.empty() && up.has_relative_path();
         up = up.parent_path())
      if (std::find(known.begin(), known.end(), up.filename().string()) != known.end()) folder = up.filename().string();
    if (folder.empty())
      return InvalidArgument("\"", line.id, "\" lies in no models folder; say which with --folder, e.g. checkpoints");
  }
  request.set_folder(folder);
  RETURN_IF_ERROR(ModelPlace(folder, request.name()).status());
  io.err << "hashing " << line.id << "\n";
  const std::atomic<bool> stop = false;
  ASSIGN_OR_RETURN(const ModelManifest manifest, DigestModel(line.id, stop));
  v1::ModelManifest& wire = *request.mutable_manifest();
  wire.set_hash(manifest.hash);
  wire.set_size(manifest.size);
  for (const std::string& chunk : manifest.chunks) wire.add_chunks(chunk);
  const UniqueFd fd(open(line.id.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return NotFound("cannot open \"", line.id, "\"");
  size_t told = 0;
  for (int round = 0;; ++round) {
    ASSIGN_OR_RETURN(const v1::PushModelReply reply, client.PushModel(request));
    if (reply.complete()) break;
    if (round >= kRoundsMax) return DataLoss("chunks of the file are damaged again and again on the master's disk");
    for (size_t i = 0; i < manifest.chunks.size(); ++i) {
      const bool have =
          i / 8 < reply.have().size() && ((static_cast<unsigned char>(reply.have()[i / 8]) >> (i % 8)) & 1U) != 0;
      if (have) continue;
      if (io.interrupt != nullptr && io.interrupt->count() > 0)
        return Cancelled("the push was interrupted; the same command goes on with it");
      ASSIGN_OR_RETURN(const std::string bytes, ReadModelChunk(fd.get(), manifest, i));
      Status sent = client.PushChunk(manifest.hash, static_cast<uint32_t>(i), bytes);
      if (sent.code() == StatusCode::kDataLoss) sent = client.PushChunk(manifest.hash, static_cast<uint32_t>(i), bytes);
      RETURN_IF_ERROR(sent);
      const size_t percent = (i + 1) * 100 / manifest.chunks.size();
      if (percent / 10 > told / 10) io.err << request.name() << ": " << percent << " %\n";
      told = std::max(told, percent);
    }
  }
  CommandLine order = line;
  order.id = Cat(folder, "/", request.name());
  if (!line.to.empty()) return Order(client, order, "pull", io);
  if (line.json)
    io.out << DumpJson(
                  Json{{"folder", folder}, {"name", request.name()}, {"size", manifest.size}, {"hash", manifest.hash}})
           << "\n";
  else
    io.out << order.id << " is on the master\n";
  return OkStatus();
}

}  // namespace

int MoveModels(const CommandLine& line, Surroundings& io) {
  Client client(line.master);
  Status status;
  switch (line.command) {
    case Command::kModelsPush:
      status = Push(client, line, io);
      break;
    case Command::kModelsPull:
      status = Order(client, line, "pull", io);
      break;
    case Command::kModelsCancel:
      status = Order(client, line, "cancel", io);
      break;
    case Command::kModelsPin:
      status = Order(client, line, "pin", io);
      break;
    case Command::kModelsUnpin:
      status = Order(client, line, "unpin", io);
      break;
    default:
      status = List(client, line, io);
  }
  return status.ok() ? kExitDone : Complain(status, io);
}

}  // namespace atelier::cli
