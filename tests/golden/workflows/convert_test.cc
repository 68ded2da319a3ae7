#include <algorithm>
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "common/graph/load_workflow.h"
#include "common/graph/prompt.h"
#include "common/graph/validate.h"
#include "tests/golden/workflows/workflow_data.h"

namespace atelier {
namespace {

// The difference of two prompts in a few words.
std::string Difference(const Json& got, const Json& want) {
  for (const auto& [id, entry] : want.items()) {
    if (!got.contains(id)) return Cat("node ", id, " is missing");
    if (SameJson(got[id], entry)) continue;
    const Json wanted = entry.value("inputs", Json::object());
    const Json inputs = got[id].value("inputs", Json::object());
    for (const auto& [name, value] : wanted.items()) {
      if (!inputs.contains(name)) return Cat("node ", id, ": ", name, " is missing, want ", value.dump().substr(0, 80));
      if (!SameJson(inputs[name], value))
        return Cat("node ", id, ": ", name, " is ", inputs[name].dump().substr(0, 80), ", want ",
                   value.dump().substr(0, 80));
    }
    return Cat("node ", id, ": got ", got[id].dump().substr(0, 400), ", want ", entry.dump().substr(0, 400));
  }
  for (const auto& [id, entry] : got.items())
    if (!want.contains(id)) return Cat("node ", id, " is too much");
  return "";
}

std::vector<std::string> KeysOf(const Json& object) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : object.items()) keys.push_back(key);
  return keys;
}

// Converts every golden file with `widgets`; at least `percent` must be equal and all that do not convert refused.
void CheckAll(const WidgetTable& widgets, int percent) {
  const std::filesystem::path folder = GoldenWorkflows();
  ConvertOptions options;
  options.now = {2025, 11, 5, 13, 7, 9};
  const Json index = *ParseJson(ReadFile(folder / "index.json"));
  int convertible = 0, equal = 0, ordered = 0, refused = 0, to_refuse = 0;
  for (const Json& entry : index["workflows"]) {
    const std::string name = entry["name"];
    const std::string text = ReadFile(folder / "ui" / (name + ".json"));
    StatusOr<Json> json = ParseJson(text);
    StatusOr<Converted> converted =
        json.ok() ? ConvertWorkflow(*json, widgets, options) : StatusOr<Converted>(json.status());
    if (entry["converts"] != true || entry.contains("load_error")) {
      ++to_refuse;
      refused += converted.ok() ? 0 : 1;
      UNSCOPED_INFO(name << ": expected an error, got " << (converted.ok() ? "a prompt" : Message(converted.status())));
      continue;
    }
    ++convertible;
    if (!converted.ok()) {
      WARN(name << ": " << Message(converted.status()));
      continue;
    }
    std::vector<Json> answers = {*ParseJson(ReadFile(folder / "api" / (name + ".json")))};
    if (auto random = entry.find("random"); random != entry.end()) {
      for (const Json& place : *random) {
        std::vector<Json> more;
        for (const Json& answer : answers) {
          for (const Json& option : place["all_options"]) {
            more.push_back(answer);
            more.back()[place["node"].get<std::string>()]["inputs"][place["input"].get<std::string>()] = option;
          }
        }
        answers = std::move(more);
      }
    }
    const bool same = std::any_of(answers.begin(), answers.end(),
                                  [&](const Json& answer) { return SameJson(converted->prompt, answer); });
    equal += same ? 1 : 0;
    if (!same && percent > 95) WARN(name << ": " << Difference(converted->prompt, answers[0]));
    ordered += KeysOf(converted->prompt) == KeysOf(answers[0]) ? 1 : 0;
  }
  WARN(equal << " of " << convertible << " prompts are equal, " << ordered << " in the same node order; " << refused
             << " of " << to_refuse << " are refused");
  CHECK(refused == to_refuse);
  CHECK(equal * 100 >= convertible * percent);
}

TEST_CASE("editor files become the official editor's prompts") {
  StatusOr<WidgetTable> widgets = WidgetTable::Load(std::string(ATELIER_SOURCE_DIR) + "/config/widgets.json");
  REQUIRE(widgets.ok());
  CheckAll(*widgets, 98);
}

TEST_CASE("declared node types convert the same way") {
  StatusOr<WidgetTable> widgets = WidgetTable::Load(std::string(ATELIER_SOURCE_DIR) + "/config/widgets.json");
  REQUIRE(widgets.ok());
  StatusOr<Catalog> catalog = CatalogFromObjectInfo(*ParseJson(ReadFile(GoldenWorkflows() / "object_info.json")));
  REQUIRE(catalog.ok());
  widgets->Merge(*catalog);
  CheckAll(*widgets, 98);
}

TEST_CASE("layouts that follow from declarations alone are the editor's, but for its own widgets and titles") {
  Json editor_only = Json::object();
  const Json all = *ParseJson(ReadFile(std::string(ATELIER_SOURCE_DIR) + "/config/widgets.json"));
  for (const auto& [type, layout] : all.get_ref<const Json::object_t&>())
    if (layout.contains("front_end")) editor_only[type] = layout;
  StatusOr<WidgetTable> widgets = WidgetTable::FromJson(editor_only);
  REQUIRE(widgets.ok());
  StatusOr<Catalog> catalog = CatalogFromObjectInfo(*ParseJson(ReadFile(GoldenWorkflows() / "object_info.json")));
  REQUIRE(catalog.ok());
  widgets->Merge(*catalog);
  CheckAll(*widgets, 80);
}

}  // namespace
}  // namespace atelier
