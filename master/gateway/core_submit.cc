// From what a person submits to a stored job.
#include <sys/random.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <ctime>
#include <filesystem>

#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/files/files.h"
#include "common/files/models.h"
#include "common/graph/frame_window_size.h"
#include "common/graph/input_folder.h"
#include "common/graph/load_workflow.h"
#include "common/graph/prompt.h"
#include "common/graph/validate.h"
#include "common/image/codec.h"
#include "common/media/summary.h"
#include "master/control/tile_forecast.h"
#include "master/gateway/core.h"
#include "master/gateway/unix_ms.h"
#include "master/planner/planner.h"

namespace atelier {
namespace {

constexpr int64_t kExplainFilesMs = 10'000;    // for the headers of all videos
constexpr int64_t kInputBytesMax = 4LL << 30;  // of one input file
constexpr size_t kInputListMax = 100'000;
constexpr int kForecastWorkersMin = 8;  // speed-ups are told for so many workers even where there are fewer

std::string RandomHex(size_t bytes) {
  std::string random(bytes, '\0');
  ATELIER_CHECK(getrandom(random.data(), bytes, 0) == static_cast<ssize_t>(bytes));
  static constexpr char kHex[] = "0123456789abcdef";
  std::string hex;
  for (const char c : random) {
    hex += kHex[static_cast<unsigned char>(c) >> 4];
    hex += kHex[static_cast<unsigned char>(c) & 15];
  }
  return hex;
}

uint64_t RandomSeed() {
  uint64_t seed = 0;
  ATELIER_CHECK(getrandom(&seed, sizeof seed, 0) == sizeof seed);
  return seed;
}

ClockTime LocalTime() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  return {local.tm_year + 1900, local.tm_mon + 1, local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec};
}

// Applies NODE.INPUT=VALUE; NODE is an id, or a title or node type that only one node has.
Status ApplySet(const std::string& set, Json& prompt) {
  const size_t equals = set.find('=');
  const size_t dot = equals == std::string::npos ? equals : set.rfind('.', equals);
  if (dot == std::string::npos || dot == 0 || dot + 1 >= equals)
    return InvalidArgument("--set \"", set, "\" has not the form NODE.INPUT=VALUE");
  const std::string node = set.substr(0, dot), input = set.substr(dot + 1, equals - dot - 1),
                    text = set.substr(equals + 1);
  Json* target = nullptr;
  if (auto it = prompt.find(node); it != prompt.end()) target = &*it;
  if (target == nullptr) {
    for (auto& [id, entry] : prompt.items()) {
      if (!entry.is_object()) continue;
      const Json type = entry.contains("class_type") ? entry["class_type"] : Json();
      const Json meta = entry.contains("_meta") ? entry["_meta"] : Json();
      const bool matches = type == node || (meta.is_object() && meta.contains("title") && meta["title"] == node);
      if (!matches) continue;
      if (target != nullptr)
        return InvalidArgument("--set \"", set, "\": more than one node is called \"", node, "\"; use its id");
      target = &entry;
    }
  }
  if (target == nullptr || !target->is_object())
    return InvalidArgument("--set \"", set, "\": no node \"", node, "\" in the workflow");
  auto parsed = ParseJson(text);
  if (!(*target)["inputs"].is_object()) (*target)["inputs"] = Json::object();
  (*target)["inputs"][input] = parsed.ok() ? *parsed : Json(text);
  return OkStatus();
}

// "name [input]" names a folder; without one it is the input folder. Source: spec engine.md 3.4.
std::pair<std::string, std::string> SplitAnnotation(const std::string& name) {
  for (const char* folder : {"input", "output", "temp"}) {
    const std::string tail = Cat(" [", folder, "]");
    if (name.ends_with(tail)) return {name.substr(0, name.size() - tail.size()), folder};
  }
  return {name, "input"};
}

void ListInputs(const std::string& dir, std::vector<std::string>& names) {
  std::error_code error;
  const std::filesystem::path root(dir);
  for (std::filesystem::recursive_directory_iterator it(root, error), end;
       !error && it != end && names.size() < kInputListMax; it.increment(error)) {
    if (it.depth() > 4) it.disable_recursion_pending();
    if (it->is_regular_file(error)) names.push_back(it->path().lexically_relative(root).generic_string());
  }
  std::sort(names.begin(), names.end());
}

// What `atelier explain` tells about a stream of a video's frames: as much as the file's header says.
std::string WindowsText(const StreamSpec& stream, const StatusOr<std::string>& video, int workers) {
  const StatusOr<media::Summary> summary =
      video.ok() ? media::ReadSummary(*video) : StatusOr<media::Summary>(video.status());
  const std::string head = Cat("  stream ", stream.id, ": ");
  if (!summary.ok()) return Cat(head, Message(summary.status()), "\n");
  const int64_t size =
      stream.window_frames > 0 ? stream.window_frames : FramesPerWindow(summary->height, summary->width);
  const int64_t windows = (summary->frames + size - 1) / size;
  return Cat(head, "windows of ", size, " frames of ", summary->width, "x", summary->height, "; the file has about ",
             summary->frames, ", so at most about ", windows, " windows; ", workers, " workers make at most ",
             (windows + workers - 1) / workers, " each\n");
}

}  // namespace

int Core::ConfiguredReplicas(const Tags& tags) {
  int count = 0;
  for (const auto& [name, worker] : control_->workers()) count += worker.enabled && HasTags(worker.tags, tags) ? 1 : 0;
  return std::max(1, count);
}

StatusOr<Core::Prepared> Core::Prepare(const v1::SubmitRequest& request, bool store_inputs) {
  Prepared out;
  const std::shared_ptr<const ClusterConfig> config = this->config();
  const std::shared_ptr<const Catalog> known = catalog();
  WidgetTable widgets = options_.widgets;
  widgets.Merge(*known);
  std::string large;
  if (!request.workflow_hash().empty()) {
    ASSIGN_OR_RETURN(const uint64_t size, blobs_->Size(request.workflow_hash()));
    if (size > static_cast<uint64_t>(config->limits.json_bytes_max))
      return ResourceExhausted("the workflow has ", size, " bytes, above limits.json_bytes_max (",
                               config->limits.json_bytes_max, ")");
    ASSIGN_OR_RETURN(large, blobs_->ReadAll(request.workflow_hash()));
  }
  const std::string& text = request.workflow_hash().empty() ? request.workflow() : large;
  ASSIGN_OR_RETURN(LoadedWorkflow loaded, LoadWorkflow(text, widgets, {LocalTime(), RandomSeed()}));
  for (const std::string& set : request.sets()) RETURN_IF_ERROR(ApplySet(set, loaded.prompt));
  if (!loaded.workflow.is_null()) out.workflow_json = DumpJson(loaded.workflow);

  Inventory inventory = UsableInventory();
  std::map<std::string, std::string> given;  // the submitter's own files: name to hash
  if (static_cast<size_t>(request.inputs_size()) > kInputListMax)
    return InvalidArgument(request.inputs_size(), " input files, at most ", kInputListMax, " are taken");
  for (const v1::SubmittedInput& input : request.inputs()) {
    if (!IsSafeRelativeName(input.name())) return InvalidArgument("input file \"", input.name(), "\" is no safe name");
    given[input.name()] = input.hash();
  }
  std::vector<std::string>& inputs = inventory.files["input"];
  ListInputs(options_.input_dir, inputs);
  for (const auto& [name, hash] : given) inputs.push_back(name);
  std::sort(inputs.begin(), inputs.end());
  inputs.erase(std::unique(inputs.begin(), inputs.end()), inputs.end());
  const std::vector<std::string> input_names = inputs;
  inventory.files[kPictureFolders] = PictureFolders(input_names);
  ListInputs(options_.output_dir, inventory.files["output"]);  // for names that end in " [output]"
  const ValidationReport report = Validate(loaded.prompt, *known, inventory);
  out.report_json = report.ok() && report.node_errors.empty() ? "" : DumpJson(report.ToJson());
  if (!report.ok()) return out;
  out.prompt = ToJson(report.graph);
  out.outputs = report.valid_outputs;
  out.prompt_json = DumpJson(report.prompt);

  out.tiles = request.tiles().empty() ? config->scheduling.tiles : request.tiles();
  if (request.replicas() > static_cast<uint32_t>(config->limits.replicas_max))
    return InvalidArgument("replicas: ", request.replicas(), " is above the limit of ", config->limits.replicas_max);
  ASSIGN_OR_RETURN(out.tags, MakeTags({request.tags().begin(), request.tags().end()}));
  out.replicas = static_cast<int>(request.replicas());
  if (out.replicas == 0) queue_.Run([&] { out.replicas = ConfiguredReplicas(out.tags); });
  ASSIGN_OR_RETURN(out.plan, MakePlan(out.prompt, out.outputs, *known,
                                      {out.replicas, out.tiles, config->scheduling.compat, config->scheduling.frames,
                                       config->scheduling.window_frames}));
  auto too_large = [](const TaskSpec& task) {
    return DumpJson(task.nodes).size() > static_cast<size_t>(limits::kMessageBytesMax);
  };
  if (std::any_of(out.plan.tasks.begin(), out.plan.tasks.end(), too_large) ||
      std::any_of(out.plan.stages.begin(), out.plan.stages.end(),
                  [&](const StageSpec& stage) { return too_large(stage.tile); }) ||
      std::any_of(out.plan.streams.begin(), out.plan.streams.end(),
                  [&](const StreamSpec& stream) { return too_large(stream.window); }))
    return ResourceExhausted("the nodes of one task take more than ", limits::kMessageBytesMax >> 20,
                             " MiB: take large texts out of the workflow");
  if (!store_inputs) return out;

  std::set<std::string> names;
  for (const TaskSpec& task : out.plan.tasks) names.insert(task.input_files.begin(), task.input_files.end());
  for (const StageSpec& stage : out.plan.stages)
    names.insert(stage.tile.input_files.begin(), stage.tile.input_files.end());
  for (const StreamSpec& stream : out.plan.streams)
    names.insert(stream.window.input_files.begin(), stream.window.input_files.end());
  for (const std::string& folder : std::set<std::string>(names)) {
    if (!folder.ends_with('/')) continue;
    names.erase(folder);
    for (const std::string& picture : PicturesIn(folder, input_names)) names.insert(picture);
  }
  for (const std::string& name : names) {
    const auto [file, folder] = SplitAnnotation(name);
    const std::string& root = folder == "output" ? options_.output_dir : options_.input_dir;
    if (folder == "temp") return InvalidArgument("input file \"", name, "\": temporary files cannot be inputs");
    if (const auto own = given.find(file); folder == "input" && own != given.end()) {
      if (!IsSha256Hex(own->second) || !blobs_->Has(own->second))
        return InvalidArgument("input file \"", file,
                               "\" was announced but not uploaded; upload it, then submit again");
      ASSIGN_OR_RETURN(const uint64_t size, blobs_->Size(own->second));
      out.inputs.push_back({name, {own->second, size}});
      continue;
    }
    ASSIGN_OR_RETURN(const UniqueFd fd, ConfinedOpen(root, file));
    ASSIGN_OR_RETURN(const std::string bytes, ReadFdBounded(fd.get(), file, kInputBytesMax));
    ASSIGN_OR_RETURN(BlobRef blob, blobs_->Put(bytes));
    out.inputs.push_back({name, std::move(blob)});
  }
  return out;
}

// Control thread.
Status Core::CheckQuota(const std::string& owner, uint64_t input_bytes, const ClusterConfig::Limits& limits) const {
  if (owner.empty()) return OkStatus();
  int64_t jobs = 0;
  uint64_t bytes = input_bytes;
  for (const auto& [id, info] : open_) {
    if (info.owner != owner) continue;
    ++jobs;
    bytes += info.input_bytes;
  }
  if (jobs >= limits.identity_jobs_max)
    return ResourceExhausted("\"", owner, "\" has ", jobs,
                             " jobs that have not ended, as many as one identity may have (limits.identity_jobs_max): "
                             "wait for one to end, or cancel one");
  if (bytes > static_cast<uint64_t>(limits.identity_input_bytes_max))
    return ResourceExhausted("the input files of this job and of the open ones of \"", owner, "\" take ", bytes,
                             " bytes, above the ", limits.identity_input_bytes_max,
                             " that one identity may have (limits.identity_input_bytes_max): wait for a job to end, or "
                             "cancel one");
  return OkStatus();
}

StatusOr<v1::SubmitReply> Core::Submit(const v1::SubmitRequest& request, const std::string& caller) {
  if (draining_) return Unavailable("the master is ending; submit again when it is back");
  const std::shared_ptr<const ClusterConfig> config = this->config();
  struct statvfs disk {};
  if (statvfs(options_.state_dir.c_str(), &disk) == 0) {
    const int64_t free = static_cast<int64_t>(disk.f_bavail) * static_cast<int64_t>(disk.f_frsize);
    if (free < config->limits.disk_free_bytes_min)
      return ResourceExhausted("the disk of the state folder ", options_.state_dir, " is full (", free >> 20,
                               " MiB free, limits.disk_free_bytes_min asks for ",
                               config->limits.disk_free_bytes_min >> 20, " MiB): free some space, then submit again");
  }
  ASSIGN_OR_RETURN(Prepared prepared, Prepare(request, true));
  v1::SubmitReply reply;
  reply.set_report_json(prepared.report_json);
  if (prepared.outputs.empty()) return reply;

  const std::string id = "j" + RandomHex(6);
  const std::string trace = RandomHex(16);
  Json settings{{"outputs", prepared.outputs},
                {"submitter", request.submitter()},
                {"owner", caller},
                {"priority", request.priority()},
                {"compat", prepared.plan.compat},
                {"frames", config->scheduling.frames},
                {"window_frames", config->scheduling.window_frames},
                {"trace", trace},
                {"tags", prepared.tags},
                {"graph", prepared.prompt}};
  JobRecord record;
  record.id = id;
  record.name = request.submitter();
  record.prompt_json = prepared.prompt_json;
  record.workflow_json = prepared.workflow_json;
  record.settings_json = DumpJson(settings);
  record.replicas = prepared.replicas;
  record.tiles = prepared.tiles;
  record.plan_digest = prepared.plan.Digest();
  record.created_unix_ms = UnixMs();
  FillModelBytes(prepared.plan);
  Control::NewJob job{id, request.submitter(), request.priority(), std::move(prepared.plan), prepared.outputs, {}, {}};
  job.tags = prepared.tags;
  for (const InputBinding& input : prepared.inputs) job.inputs[input.name] = input.blob;

  uint64_t input_bytes = 0;
  for (const InputBinding& input : prepared.inputs) input_bytes += input.blob.size;
  Status stored;
  const bool ran = queue_.Run([&] {
    if (static_cast<int64_t>(open_.size()) >= config->limits.jobs_waiting_max) {
      stored = ResourceExhausted("there are ", open_.size(), " jobs waiting already (limits.jobs_waiting_max)");
      return;
    }
    stored = CheckQuota(caller, input_bytes, config->limits);
    if (!stored.ok()) return;
    Commit();
    stored = store_->InsertJob(record, prepared.inputs);
    if (!stored.ok()) return;
    open_[id].record = record;
    open_[id].owner = caller;
    open_[id].input_bytes = input_bytes;
    open_[id].trace = trace;
    open_[id].tags = prepared.tags;
    ++figures_.jobs_accepted;
    const LogScope scope(About(id));
    LogInfo("job ", id, " accepted: ", job.plan.tasks.size(), " tasks, ", job.plan.stages.size(), " tiled stages, ",
            job.plan.streams.size(), " streams of frames, ", record.replicas, " replicas",
            prepared.tags.empty() ? "" : ", for workers with ", prepared.tags.empty() ? "" : TagsText(prepared.tags));
    Apply(control_->AddJob(std::move(job), NowMs()));
    TellMissing(id);
  });
  if (!ran) return Unavailable("the master is ending");
  RETURN_IF_ERROR(stored);
  reply.set_job_id(id);
  return reply;
}

// The size of the largest model of each task, of those files that this machine has as well.
void Core::FillModelBytes(Plan& plan) const {
  const auto fill = [&](TaskSpec& task) {
    for (const auto& [folder, name] : task.needs.models) {
      const auto path = ResolveModel(options_.model_roots, folder, name);
      std::error_code error;
      const uint64_t bytes = path.ok() ? std::filesystem::file_size(*path, error) : 0;
      if (path.ok() && !error) task.needs.model_bytes = std::max(task.needs.model_bytes, bytes);
    }
  };
  for (TaskSpec& task : plan.tasks) fill(task);
  for (StageSpec& stage : plan.stages) fill(stage.tile);
  for (StreamSpec& stream : plan.streams) fill(stream.window);
}

// What the configuration lets a worker of this name keep loaded; 0: no limit.
uint64_t Core::ModelsBytesMax(const std::string& worker) {
  const std::shared_ptr<const ClusterConfig> config = this->config();
  for (const WorkerConfig& one : config->workers.list)
    if (one.name == worker) return static_cast<uint64_t>(std::max<int64_t>(0, one.models_bytes_max));
  return 0;
}

StatusOr<v1::ExplainReply> Core::Explain(const v1::SubmitRequest& request) {
  ASSIGN_OR_RETURN(const Prepared prepared, Prepare(request, false));
  v1::ExplainReply reply;
  reply.set_report_json(prepared.report_json);
  if (prepared.outputs.empty()) return reply;
  std::string text = ExplainPlan(prepared.plan);
  int workers = 1;
  queue_.Run([&] {
    workers = std::max(kForecastWorkersMin, ConfiguredReplicas(prepared.tags));
    if (prepared.tags.empty()) return;
    const Control::Tagged tagged = control_->WithTags(prepared.tags);
    text += Cat("  for workers with ", TagsText(prepared.tags), ": ", tagged.names, "; ", tagged.attached,
                " of them attached\n");
  });
  const auto learned = [&](const TaskSpec& tile, const std::string& shape) {
    std::vector<double> seconds;  // of the workers that are connected
    queue_.Run([&] {
      for (const auto& [name, worker] : control_->workers()) {
        const auto one = control_->speeds().SecondsOf(worker.speed, TaskKind(tile, shape));
        if (worker.Serves() && HasTags(worker.tags, prepared.tags) && one) seconds.push_back(*one);
      }
    });
    return seconds;
  };
  const auto read = [this](const std::string& name) -> StatusOr<std::string> {
    const auto [file, folder] = SplitAnnotation(name);
    ASSIGN_OR_RETURN(const UniqueFd fd,
                     ConfinedOpen(folder == "output" ? options_.output_dir : options_.input_dir, file));
    return ReadFdBounded(fd.get(), file, kInputBytesMax);
  };
  const int64_t until_ms = NowMs() + kExplainFilesMs;
  for (const StreamSpec& stream : prepared.plan.streams) {
    if (!stream.extent || stream.window.input_files.empty()) continue;
    if (NowMs() >= until_ms)
      text += Cat("  stream ", stream.id, ": its file is not looked at, the others took long\n");
    else
      text += WindowsText(stream, read(*stream.window.input_files.begin()), workers);
  }
  const FileSize file_size = [&read](const std::string& name) -> StatusOr<CanvasSize> {
    ASSIGN_OR_RETURN(const std::string bytes, read(name));
    ASSIGN_OR_RETURN(const auto size, ReadImageSize(bytes));
    return CanvasSize{static_cast<int>(size.first), static_cast<int>(size.second)};
  };
  Json tiles = Json::array();
  for (const StageSpec& stage : prepared.plan.stages) {
    const auto forecast = [&]() -> StatusOr<TileForecast> {
      ASSIGN_OR_RETURN(const CanvasSize size, ExpectedCanvas(prepared.plan, stage, request.canvas(), file_size));
      ASSIGN_OR_RETURN(
          TileForecast made,
          ForecastTiles(stage.id, stage.tile.nodes.at(stage.node).at("inputs"), stage.split, prepared.tiles,
                        prepared.plan.compat == "documented", size.width, size.height, workers, std::nullopt));
      AddTimes(made, learned(stage.tile, made.shape));
      return made;
    }();
    if (!forecast.ok() && !request.canvas().empty()) return forecast.status();
    text += forecast.ok() ? ForecastText(*forecast) : Cat("  stage ", stage.id, ": ", Message(forecast.status()), "\n");
    tiles.push_back(forecast.ok() ? ForecastJson(*forecast)
                                  : Json{{"stage", stage.id}, {"unknown", Message(forecast.status())}});
  }
  reply.set_text(text);
  reply.set_tiles_json(DumpJson(tiles));
  return reply;
}

}  // namespace atelier
