#include "master/cli/format.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "common/base/check.h"
#include "common/base/status.h"

namespace atelier::cli {
namespace {

std::string Fixed(double number, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, number);
  return text;
}

std::string TextOf(const Json& json, const char* key) {
  auto it = json.find(key);
  return it != json.end() && it->is_string() ? it->get<std::string>() : std::string();
}

bool Flag(const Json& json, const char* key) {
  auto it = json.find(key);
  return it != json.end() && it->is_boolean() && it->get<bool>();
}

bool Has(const Json& json, const char* key) {
  auto it = json.find(key);
  return it != json.end() && !it->is_null();
}

std::string Sentence(const Json& error) {
  std::string text = TextOf(error, "message");
  const std::string details = TextOf(error, "details");
  if (text.empty()) text = TextOf(error, "type");
  if (!details.empty()) text += ": " + details;
  return text;
}

// Milliseconds are what a person can use; the double would print fifteen digits.
double Round(double seconds) { return std::round(seconds * 1000) / 1000; }

}  // namespace

std::string FormatSeconds(double seconds) {
  if (!(seconds > 0)) seconds = 0;
  if (seconds < 9.95) return Fixed(seconds, 1) + " s";
  const auto whole = static_cast<int64_t>(std::llround(std::min(seconds, 1e12)));
  if (whole < 60) return Cat(whole, " s");
  char text[64];
  const long long hours = whole / 3600;
  const int minutes = static_cast<int>(whole / 60 % 60);
  const int rest = static_cast<int>(whole % 60);
  if (hours == 0)
    std::snprintf(text, sizeof text, "%d:%02d", minutes, rest);
  else
    std::snprintf(text, sizeof text, "%lld:%02d:%02d", hours, minutes, rest);
  return text;
}

std::string FormatBytes(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return Fixed(value, unit == 0 || value >= 9.95 ? 0 : 1) + " " + kUnits[unit];
}

size_t DisplayWidth(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string Clip(std::string_view text, size_t width) {
  std::string clean;
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    clean += byte < 0x20 || byte == 0x7F ? ' ' : c;
  }
  if (DisplayWidth(clean) <= width) return clean;
  if (width == 0) return "";
  size_t columns = 0;
  size_t end = 0;
  for (; end < clean.size(); ++end) {
    if ((static_cast<unsigned char>(clean[end]) & 0xC0) == 0x80) continue;
    if (columns == width - 1) break;
    ++columns;
  }
  return clean.substr(0, end) + "…";
}

std::string FormatTable(const std::vector<std::string>& headers, const std::vector<std::vector<std::string>>& rows,
                        const std::vector<size_t>& right) {
  std::vector<size_t> widths;
  for (const std::string& header : headers) widths.push_back(DisplayWidth(header));
  for (const auto& row : rows) {
    ATELIER_CHECK(row.size() == headers.size());
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], DisplayWidth(row[i]));
  }
  std::string text;
  const auto add = [&](const std::vector<std::string>& row) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string pad(widths[i] - DisplayWidth(row[i]), ' ');
      const bool to_right = std::find(right.begin(), right.end(), i) != right.end();
      line += to_right ? pad + row[i] : row[i] + pad;
      if (i + 1 < row.size()) line += "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  };
  add(headers);
  for (const auto& row : rows) add(row);
  return text;
}

Json JobJson(const v1::Job& job) {
  Json json;
  json["job"] = job.id();
  json["state"] = job.state();
  json["seconds"] = Round(job.seconds());
  json["outputs"] = Json::array();
  for (const v1::Output& output : job.outputs())
    json["outputs"].push_back({{"node", output.node()}, {"path", output.path()}, {"type", output.type()}});
  if (!job.error().empty()) json["error"] = job.error();
  return json;
}

Json FailedJson(std::string_view state, std::string_view error) {
  Json json;
  json["job"] = nullptr;
  json["state"] = std::string(state);
  json["seconds"] = 0.0;
  json["outputs"] = Json::array();
  json["error"] = std::string(error);
  return json;
}

Json TaskJson(const v1::Task& task) {
  return {{"task", task.id()},       {"state", task.state()},           {"label", task.label()},
          {"worker", task.worker()}, {"attempts", task.attempts()},     {"step", task.step()},
          {"total", task.total()},   {"seconds", Round(task.seconds())}};
}

Json WorkerJson(const v1::Worker& worker) {
  Json running = Json::array();
  for (const std::string& task : worker.running()) running.push_back(task);
  return {{"worker", worker.name()},
          {"state", worker.state()},
          {"device", worker.device()},
          {"device_name", worker.device_name()},
          {"memory_bytes", worker.memory_bytes()},
          {"version", worker.version()},
          {"running", running},
          {"tasks_done", worker.tasks_done()},
          {"local", worker.local()},
          {"tags", Json(std::vector<std::string>(worker.tags().begin(), worker.tags().end()))},
          {"note", worker.note()}};
}

std::string TagsList(const google::protobuf::RepeatedPtrField<std::string>& tags) {
  std::string text;
  for (const std::string& tag : tags) text += Cat(text.empty() ? "" : ", ", Clip(tag, 64));
  return text;
}

std::vector<std::string> ReportSentences(const std::string& report_json) {
  if (report_json.empty()) return {};
  const StatusOr<Json> parsed = ParseJson(report_json);
  if (!parsed.ok() || !parsed->is_object()) return {report_json};
  const Json& report = *parsed;
  std::vector<std::string> sentences;
  auto nodes = report.find("node_errors");
  if (nodes != report.end() && nodes->is_object()) {
    for (const auto& [id, node] : nodes->items()) {
      std::string place = "node " + id;
      const std::string type = TextOf(node, "class_type");
      if (!type.empty()) place += " (" + type + ")";
      auto errors = node.find("errors");
      if (errors == node.end() || !errors->is_array()) continue;
      for (const Json& error : *errors) sentences.push_back(place + ": " + Sentence(error));
    }
  }
  // The whole's error only sums up the nodes' errors when there are some.
  auto whole = report.find("error");
  if (sentences.empty() && whole != report.end()) {
    if (whole->is_string()) sentences.push_back(whole->get<std::string>());
    if (whole->is_object()) sentences.push_back(Sentence(*whole));
  }
  if (sentences.empty()) sentences.push_back(report_json);
  return sentences;
}

std::string StateText(const v1::Job& job) {
  if (job.state() == "running" && job.tasks_total() > 0)
    return Cat("running ", job.tasks_done(), "/", job.tasks_total());
  return job.state();
}

bool IsEnded(std::string_view state) { return state == "done" || state == "failed" || state == "cancelled"; }

std::string JobText(const v1::Job& job) {
  std::string text = Cat("job       ", Clip(job.id(), 80), "\n");
  if (!job.name().empty()) text += Cat("name      ", Clip(job.name(), 200), "\n");
  text += Cat("state     ", StateText(job), "\n", "time      ", FormatSeconds(job.seconds()), "\n", "replicas  ",
              job.replicas(), "\n", "tasks     ", job.tasks_done(), " of ", job.tasks_total(), " done\n");
  if (!job.tiles().empty()) text += Cat("tiles     ", job.tiles(), "\n");
  if (job.tags_size() > 0) text += Cat("tags      ", TagsList(job.tags()), "\n");
  if (!job.error().empty()) text += Cat("error     ", job.error(), "\n");
  if (!job.waiting().empty()) text += Cat("waiting   ", job.waiting(), "\n");
  if (job.outputs_size() > 0) {
    std::vector<std::vector<std::string>> rows;
    for (const v1::Output& output : job.outputs())
      rows.push_back({output.node(), output.type(), Clip(output.path(), 4096)});
    text += "\n" + FormatTable({"NODE", "TYPE", "OUTPUT"}, rows);
  }
  if (job.tasks_size() > 0) {
    std::vector<std::vector<std::string>> rows;
    for (const v1::Task& task : job.tasks())
      rows.push_back({Clip(task.id(), 40), Clip(task.label(), 40), task.state(), Clip(task.worker(), 40),
                      Cat(task.attempts()), task.total() > 0 ? Cat(task.step(), "/", task.total()) : "",
                      task.seconds() > 0 ? FormatSeconds(task.seconds()) : ""});
    text += "\n" + FormatTable({"TASK", "WHAT", "STATE", "WORKER", "ATTEMPTS", "STEP", "TIME"}, rows, {4, 5, 6});
  }
  return text;
}

std::string WhyText(const v1::Job& job, const v1::ListWorkersReply& workers) {
  std::string text = Cat("job ", Clip(job.id(), 80), " is ", StateText(job), "\n");
  if (IsEnded(job.state())) {
    if (!job.error().empty()) text += job.error() + "\n";
    return text;
  }
  if (!job.waiting().empty()) text += Cat("waits for: ", job.waiting(), "\n");
  for (const v1::MissingModel& missing : job.missing())
    text += Cat("worker \"", Clip(missing.worker(), 60), "\" lacks ", missing.folder(), "/", Clip(missing.name(), 120),
                ": it ", Clip(missing.outlook(), 300), "\n");
  if (workers.workers_size() == 0)
    return text + "no worker is known to the master; start one with atelier-worker --master HOST:PORT\n";
  std::vector<std::vector<std::string>> rows;
  for (const v1::Worker& worker : workers.workers()) {
    std::string what;
    for (const std::string& id : worker.running()) {
      std::string label = id;
      for (const v1::Task& task : job.tasks())
        if (task.id() == id && !task.label().empty()) label = task.label();
      what += (what.empty() ? "runs " : ", ") + label;
    }
    if (what.empty()) what = worker.note().empty() ? (worker.state() == "connected" ? "idle" : "") : worker.note();
    rows.push_back({Clip(worker.name(), 60), worker.state(), Clip(what, 200)});
  }
  return text + FormatTable({"WORKER", "STATE", "WHY"}, rows);
}

std::string NodeText(const Json& spec) {
  std::string text = TextOf(spec, "type");
  const std::string display = TextOf(spec, "display_name");
  if (!display.empty() && display != text) text += " (" + display + ")";
  text += "\n";
  if (!TextOf(spec, "category").empty()) text += "category: " + TextOf(spec, "category") + "\n";
  if (!TextOf(spec, "description").empty()) text += TextOf(spec, "description") + "\n";
  std::vector<std::vector<std::string>> rows;
  auto inputs = spec.find("inputs");
  if (inputs != spec.end() && inputs->is_array()) {
    for (const Json& input : *inputs) {
      if (Flag(input, "hidden")) continue;
      std::string range;
      if (Has(input, "min") || Has(input, "max"))
        range = (Has(input, "min") ? DumpJson(input["min"]) : "") + " to " +
                (Has(input, "max") ? DumpJson(input["max"]) : "");
      auto choices = input.find("choices");
      if (choices != input.end() && choices->is_array() && !choices->empty()) {
        for (const Json& choice : *choices)
          range += (range.empty() ? "" : " | ") + (choice.is_string() ? choice.get<std::string>() : DumpJson(choice));
      }
      if (!TextOf(input, "folder").empty()) range = "a file of " + TextOf(input, "folder");
      if (auto sets = input.find("sets"); sets != input.end() && sets->is_array())
        for (const Json& set : *sets) range += " | " + TextOf(set, "name");
      auto required = input.find("required");
      const bool optional = required != input.end() && required->is_boolean() && !required->get<bool>();
      auto fallback = input.find("default");
      const bool has_default = fallback != input.end() && !fallback->is_null();
      rows.push_back({TextOf(input, "name"), TextOf(input, "type"), optional ? "optional" : "",
                      has_default ? Clip(DumpJson(*fallback), 40) : "", Clip(range, 2000)});
    }
  }
  if (!rows.empty()) text += "\n" + FormatTable({"INPUT", "TYPE", "", "DEFAULT", "RANGE"}, rows);
  rows.clear();
  auto outputs = spec.find("outputs");
  if (outputs != spec.end() && outputs->is_array())
    for (const Json& output : *outputs) rows.push_back({TextOf(output, "name"), TextOf(output, "type")});
  if (!rows.empty()) text += "\n" + FormatTable({"OUTPUT", "TYPE"}, rows);
  if (Flag(spec, "output_node")) text += "\nwrites results\n";
  return text;
}

}  // namespace atelier::cli
