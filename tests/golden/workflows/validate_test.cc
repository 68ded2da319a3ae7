#include "common/graph/validate.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <set>
#include <string>
#include <tuple>

#include "tests/golden/workflows/workflow_data.h"

namespace atelier {
namespace {

using ErrorSet = std::set<std::tuple<std::string, std::string, std::string>>;  // node, input, type

ErrorSet ErrorsOf(const Json& answer) {
  ErrorSet set;
  if (!answer.is_object()) return set;
  const Json nodes = answer.value("node_errors", Json::object());
  if (!nodes.is_object()) return set;
  for (const auto& [id, entry] : nodes.items())
    for (const Json& error : entry["errors"])
      set.emplace(id, error["extra_info"].value("input_name", std::string()), error["type"].get<std::string>());
  return set;
}

std::string ErrorType(const Json& answer) {
  if (!answer.is_object() || !answer.contains("error")) return "";
  return answer["error"].is_object() ? answer["error"].value("type", "") : answer["error"].get<std::string>();
}

Inventory ReferenceFiles() {
  Inventory inventory;
  inventory.files["input"] = {"example.png"};
  return inventory;
}

TEST_CASE("the same outputs are lists as in the reference") {
  const StatusOr<Catalog> ours = Catalog::Load(ATELIER_SOURCE_DIR "/config/catalog.json");
  REQUIRE(ours.ok());
  int compared = 0, lists = 0;
  for (const char* file : {"object_info.json", "object_info_core.json"}) {
    const StatusOr<Json> reference = ParseJson(ReadFile(std::filesystem::path(GoldenWorkflows()) / file));
    REQUIRE(reference.ok());
    for (const std::string& type : ours->Types()) {
      if (!reference->contains(type)) continue;
      const Json& wanted = (*reference)[type]["output_is_list"];
      const Json got = ToObjectInfo(*ours->Find(type), ReferenceFiles())["output_is_list"];
      INFO(type);
      ++compared;
      for (size_t o = 0; o < std::min(got.size(), wanted.size()); ++o) {
        CHECK(got[o] == wanted[o]);
        lists += got[o] == true ? 1 : 0;
      }
    }
  }
  CHECK(compared > 300);
  CHECK(lists >= 3);
}

TEST_CASE("requests get the reference's errors") {
  const std::filesystem::path folder = GoldenWorkflows();
  StatusOr<Catalog> catalog = CatalogFromObjectInfo(*ParseJson(ReadFile(folder / "object_info_core.json")));
  REQUIRE(catalog.ok());
  const Inventory inventory = ReferenceFiles();
  int compared = 0, refused = 0;
  for (const auto& file : std::filesystem::directory_iterator(folder / "errors")) {
    const std::string text = ReadFile(file.path());
    StatusOr<Json> entry = ParseJson(text);
    if (!entry.ok()) {  // the recorded answer itself holds what is no JSON
      ++refused;
      CHECK((text.find("NaN") != std::string::npos || text.find("Infinity") != std::string::npos));
      continue;
    }
    const Json& request = (*entry)["request"];
    const Json& response = (*entry)["response"];
    const Json answer = response.contains("body") ? response["body"] : Json();
    const int status = response.value("status", 0);
    if (request["path"] != "/prompt" || request["method"] != "POST" || !request.contains("body_text") ||
        status == 403 || status == 405)
      continue;
    const std::string name = file.path().stem();
    StatusOr<Json> body = ParseJson(request["body_text"].get<std::string>());
    if (!body.ok()) {
      ++refused;  // no JSON to us: the reference fails at these too, or takes NaN, which we do not
      const bool nan = request["body_text"].get<std::string>().find("NaN") != std::string::npos ||
                       request["body_text"].get<std::string>().find("Infinity") != std::string::npos;
      INFO(name);
      CHECK((status == 500 || nan));
      continue;
    }
    const ValidationReport report = ValidateRequest(*body, *catalog, inventory);
    INFO(name << ": " << request["body_text"].get<std::string>().substr(0, 400));
    const Json mine = report.ToJson();
    INFO("got " << mine.dump().substr(0, 600));
    INFO("want " << answer.dump().substr(0, 600));
    if (status == 500) {
      // A crash of the reference inside prompt checking is an error here; what is wrong elsewhere in the body is not
      // our subject.
      ++refused;
      continue;
    }
    ++compared;
    CHECK(report.ok() == (status == 200));
    CHECK(ErrorType(mine) == ErrorType(answer));
    CHECK(ErrorsOf(mine) == ErrorsOf(answer));
    if (answer.is_object() && answer.contains("error") && answer["error"].is_object()) {
      CHECK(mine["error"]["message"] == answer["error"]["message"]);
    }
    const Json wanted = answer.is_object() ? answer.value("node_errors", Json::object()) : Json::object();
    for (const auto& [id, node] : wanted.get_ref<const Json::object_t&>()) {
      for (const Json& want : node["errors"]) {
        bool found = false;
        for (const Json& got : mine["node_errors"][id]["errors"])
          found = found || (got["message"] == want["message"] && got["details"] == want["details"]);
        // Integers beyond 64 bits are doubles here, so their digits are shown otherwise.
        CHECK((found || name == "int_huge"));
      }
    }
  }
  WARN(compared << " answers compared, " << refused << " bodies refused as the reference fails on them");
  CHECK(compared > 60);
}

}  // namespace
}  // namespace atelier
