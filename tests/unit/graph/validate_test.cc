#include "common/graph/validate.h"

#include <catch2/catch.hpp>
#include <string>

#include "common/graph/lists.h"
#include "tests/harness/cpu_seconds.h"

namespace atelier {
namespace {

Catalog Nodes() {
  return *CatalogFromObjectInfo(*ParseJson(R"({
    "Make": {"input": {"required": {"width": ["INT", {"default": 512, "min": 1, "max": 16384}], "batch_size": ["INT", {"min": 1, "max": 4096}],
                                     "height": ["INT", {"min": 1, "max": 16384}], "method": [["a", "b"]]}},
             "output": ["IMAGE"], "output_node": false},
    "Load": {"input": {"required": {"image": [[], {"image_upload": true}]}}, "output": ["IMAGE", "MASK"]},
    "Invert": {"input": {"required": {"image": ["IMAGE"]}}, "output": ["IMAGE"]},
    "Save": {"input": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {"default": "x"}]}}, "output": [], "output_node": true}
  })"));
}

Inventory Files() {
  Inventory inventory;
  inventory.files["input"] = {"a.png", "sub/b.png"};
  inventory.files["output"] = {"o.png"};
  return inventory;
}

ValidationReport Check(const std::string& text, ValidateOptions options = {}) {
  return Validate(*ParseJson(text), Nodes(), Files(), options);
}

std::string Make(const std::string& more) {
  return R"({"1":{"class_type":"Make","inputs":{"width":64,"height":64,"batch_size":1,"method":"a")" + more +
         R"(}},"2":{"class_type":"Save","inputs":{"images":["1",0],"filename_prefix":"x"}}})";
}

std::string Load(const std::string& name) {
  Json prompt = *ParseJson(
      R"({"1":{"class_type":"Load","inputs":{}},"2":{"class_type":"Save","inputs":{"images":["1",-2],"filename_prefix":"x"}}})");
  prompt["1"]["inputs"]["image"] = name;
  return prompt.dump();
}

TEST_CASE("a good prompt is converted and pruned") {
  const ValidationReport report = Check(
      R"({"9":{"class_type":"Invert","inputs":{"image":["1",0]}},"1":{"class_type":"Make","inputs":{"width":"64","height":64.9,"batch_size":true,
          "method":"b","other":1}},"2":{"class_type":"Save","inputs":{"images":["1",0],"filename_prefix":5}}})");
  REQUIRE(report.ok());
  CHECK(report.valid_outputs == std::vector<std::string>{"2"});
  CHECK(report.graph.size() == 2);
  CHECK(report.graph.Find("1")->inputs["width"] == 64);
  CHECK(report.graph.Find("1")->inputs["height"] == 64);
  CHECK(report.prompt["2"]["inputs"]["filename_prefix"] == "5");
  CHECK(report.prompt.contains("9"));
}

TEST_CASE("all problems at once") {
  const ValidationReport report = Check(
      R"({"1":{"class_type":"Make","inputs":{"width":0,"height":"x","batch_size":[1],"method":"c"}},
          "2":{"class_type":"Save","inputs":{"images":["1",0]}}})");
  REQUIRE_FALSE(report.ok());
  CHECK(report.error->type == "prompt_outputs_failed_validation");
  REQUIRE(report.node_errors.size() == 2);
  CHECK(report.Sentences().size() == 5);
  CHECK(report.Sentences()[1].find("node 1 (Make), input \"width\": Value 0 smaller than min of 1") !=
        std::string::npos);
}

TEST_CASE("one good output is enough") {
  const ValidationReport report = Check(
      R"({"1":{"class_type":"Load","inputs":{"image":"a.png"}},"2":{"class_type":"Save","inputs":{"images":["1",0],"filename_prefix":"x"}},
          "3":{"class_type":"Save","inputs":{"images":["7",0],"filename_prefix":"x"}}})");
  CHECK(report.ok());
  CHECK(report.valid_outputs == std::vector<std::string>{"2"});
  REQUIRE(report.node_errors.size() == 1);
  CHECK(report.node_errors[0].second.errors[0].type == "exception_during_validation");
  ValidateOptions only;
  only.targets = std::vector<std::string>{"3"};
  CHECK_FALSE(Check(R"({"2":{"class_type":"Save","inputs":{}}})", only).ok());
}

TEST_CASE("file names stay inside their folders") {
  CHECK(Check(Load("a.png")).ok());
  CHECK(Check(Load("sub/b.png")).ok());
  CHECK(Check(Load("a.png [input]")).ok());
  CHECK(Check(Load("o.png [output]")).ok());
  CHECK(Check(Load("a.png")).graph.Find("2")->inputs["images"][1] == 0);
  for (const char* bad :
       {"b.png", "../a.png", "/etc/passwd", "sub/../a.png", "o.png", ".", "", " [output]", "/dev/zero"}) {
    const ValidationReport report = Check(Load(bad));
    REQUIRE_FALSE(report.ok());
    CHECK(report.node_errors[0].second.errors[0].type == "custom_validation_failed");
  }
  for (const char* bad : {"/x", "../x", "a/../../x", "..//x"})
    CHECK_FALSE(
        Check(Make(Cat(R"(}},"3":{"class_type":"Save","inputs":{"images":["1",0],"filename_prefix":")", bad, "\"")),
              {.targets = std::vector<std::string>{"3"}})
            .ok());
  CHECK(Check(Make(R"(}},"3":{"class_type":"Save","inputs":{"images":["1",0],"filename_prefix":"a/../b")")).ok());
}

TEST_CASE("sizes that no machine holds are refused before they are made") {
  CHECK(Check(Make("")).ok());
  CHECK_FALSE(Check(Make(R"(,"width":16384,"height":16384,"batch_size":4096)")).ok());
  CHECK_FALSE(Check(Make(""), {.targets = std::nullopt, .tensor_bytes_max = 1000}).ok());
}

TEST_CASE("cycles and long chains end quickly") {
  const double start = CpuSeconds();
  for (const bool closed : {false, true}) {
    Json prompt = Json::object();
    std::string text = "{";
    for (int i = 0; i < 10'000; ++i)
      text += Cat("\"", i, R"(":{"class_type":"Invert","inputs":{"image":[")",
                  i == 9'999 ? (closed ? "0" : "m") : std::to_string(i + 1), "\",0]}},");
    text +=
        R"("m":{"class_type":"Load","inputs":{"image":"a.png"}},"s":{"class_type":"Save","inputs":{"images":["0",0],"filename_prefix":"x"}}})";
    const ValidationReport report = Check(text);
    CHECK_FALSE(report.ok());
    INFO(report.Sentences()[0].substr(0, 300));
    CHECK((closed ? report.Sentences()[0].find("cycle") : report.Sentences()[0].find("chain")) != std::string::npos);
  }
  CHECK(CpuSeconds() - start < 1 * kSlower);
}

TEST_CASE("what is no prompt") {
  for (const char* bad : {"null", "5", "[1]", "\"x\"", R"({"1":null})", R"({"1":{"class_type":[]}})",
                          R"({"1":{"class_type":"Nope","inputs":{}}})", R"({"__proto__":{"inputs":{}}})"})
    CHECK(Check(bad).error->type == "invalid_prompt");
  CHECK(Check("{}").error->type == "prompt_no_outputs");
  CHECK(ValidateRequest(Json::array(), Nodes(), Files()).error->type == "no_prompt");
}

TEST_CASE("object info goes both ways") {
  const Catalog catalog = Nodes();
  const Json info = ToObjectInfo(*catalog.Find("Make"), Files());
  CHECK(info["input"]["required"]["method"][0] == Json{"a", "b"});
  CHECK(ToObjectInfo(*catalog.Find("Load"), Files())["input"]["required"]["image"][0] == Json{"a.png", "sub/b.png"});
  CHECK(info["output_is_list"] == Json::array({false}));
  NodeSpec lists = *catalog.Find("Load");
  DeclareLists(lists);
  const Json listed = ToObjectInfo(lists, Files());
  CHECK(listed["output_is_list"] == Json::array({true, true}));
  CHECK(listed["input"] == ToObjectInfo(*catalog.Find("Load"), Files())["input"]);
  CHECK(GivesLists(*CatalogFromObjectInfo({{"X", listed}})->Find("X")));
  CHECK_FALSE(GivesLists(*CatalogFromObjectInfo({{"X", info}})->Find("X")));
  CHECK_FALSE(CatalogFromObjectInfo(*ParseJson(R"({"X":{"input":{"required":{"a":5}}}})")).ok());
  CHECK_FALSE(CatalogFromObjectInfo(*ParseJson(R"({"X":null})")).ok());
}

}  // namespace
}  // namespace atelier
