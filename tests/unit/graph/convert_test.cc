#include <catch2/catch.hpp>
#include <set>
#include <string>

#include "common/base/limits.h"
#include "common/graph/js_number.h"
#include "common/graph/load_workflow.h"

namespace atelier {
namespace {

WidgetTable Table() {
  return *WidgetTable::FromJson(*ParseJson(R"({
    "Sampler": {"title": "My Sampler", "widgets": [
        {"n":"seed","k":"number","d":0,"t":"INT","r":[0,18446744073709551615,null]},
        {"n":"control_after_generate","k":"combo","d":"randomize","p":0},
        {"n":"cfg","k":"number","d":8,"t":"FLOAT","r":[0,100,0.1]}],
      "inputs": [["latent","LATENT"]], "outputs": ["LATENT"]},
    "Text": {"title": "Text", "widgets": [{"n":"text","k":"customtext","d":"","t":"STRING","s":"text"}], "inputs": [], "outputs": ["COND"]},
    "Save": {"title": "Save", "widgets": [{"n":"filename_prefix","k":"text","d":"x","t":"STRING","s":"prefix"}], "inputs": [["images","IMAGE"]], "outputs": []},
    "Reroute": {"title": "Reroute", "widgets": [], "inputs": [["","*"]], "outputs": ["*"], "front_end": true},
    "PrimitiveNode": {"title": "Primitive", "widgets": [], "inputs": [], "outputs": ["*"], "front_end": true}
  })"));
}

std::string ConvertText(const std::string& nodes, const std::string& links) {
  StatusOr<Converted> converted =
      ConvertWorkflow(*ParseJson(R"({"version":0.4,"nodes":)" + nodes + R"(,"links":)" + links + "}"), Table(),
                      {.now = {2025, 1, 2, 3, 4, 5}, .seed = 1});
  return converted.ok() ? DumpJsonJs(converted->prompt) : "error: " + Message(converted.status());
}

TEST_CASE("widget values, links and order") {
  CHECK(
      ConvertText(R"([{"id":10,"type":"Sampler","mode":0,"inputs":[{"name":"latent","type":"LATENT","link":1}],
                         "widgets_values":[18446744073709551615,"fixed",1.0]},
                        {"id":9,"type":"Sampler","title":"T","widgets_values":[]}])",
                  R"([[1,9,0,10,0,"LATENT"]])") ==
      R"({"9":{"inputs":{"seed":0,"cfg":8},"class_type":"Sampler","_meta":{"title":"T"}},)"
      R"("10":{"inputs":{"seed":18446744073709552000,"cfg":1,"latent":["9",0]},"class_type":"Sampler","_meta":{"title":"My Sampler"}}})");
}

TEST_CASE("bypassed nodes, reroutes and muted sources") {
  const std::string links = R"([[1,1,0,2,0,"LATENT"],[2,2,0,3,0,"LATENT"],[3,3,0,4,0,"LATENT"]])";
  const auto nodes = [](int mode) {
    return Cat(
        R"([{"id":1,"type":"Sampler"},{"id":2,"type":"Sampler","mode":)", mode,
        R"(,"inputs":[{"name":"latent","type":"LATENT","link":1}]},)",
        R"({"id":3,"type":"Reroute","inputs":[{"name":"","type":"*","link":2}],"outputs":[{"type":"LATENT","links":[3]}]},)",
        R"({"id":4,"type":"Sampler","inputs":[{"name":"latent","type":"LATENT","link":3}]}])");
  };
  CHECK(ConvertText(nodes(4), links).find(R"("4":{"inputs":{"seed":0,"cfg":8,"latent":["1",0]})") != std::string::npos);
  CHECK(ConvertText(nodes(2), links).find(R"("4":{"inputs":{"seed":0,"cfg":8})") != std::string::npos);
  CHECK(ConvertText(nodes(0), links).find(R"("latent":["2",0])") != std::string::npos);
}

TEST_CASE("primitives are clamped and stepped") {
  const std::string text = ConvertText(
      R"([{"id":1,"type":"Sampler","inputs":[{"name":"cfg","type":"FLOAT","link":1,"widget":{"name":"cfg"}}]},
          {"id":2,"type":"PrimitiveNode","outputs":[{"links":[1]}],"widgets_values":[3.25,"fixed"]}])",
      R"([[1,2,0,1,0,"FLOAT"]])");
  CHECK(text.find(R"("cfg":3.3)") != std::string::npos);
}

TEST_CASE("what cannot be converted names the cause") {
  CHECK(ConvertText(R"([{"id":1,"type":"Sampler","inputs":[{"name":"latent","type":"LATENT","link":7}]}])", "[]") ==
        "error: node \"1\", input \"latent\": link \"7\" is not in the file's list of links");
  CHECK(ConvertText(R"([{"id":1,"type":"Reroute","inputs":[{"name":"","type":"*","link":1}]},
                        {"id":2,"type":"Sampler","inputs":[{"name":"latent","type":"LATENT","link":2}]}])",
                    R"([[1,1,0,1,0,"*"],[2,1,0,2,0,"*"]])")
            .find("runs in a circle") != std::string::npos);
  CHECK(ConvertText("5", "[]").find("no list of nodes") != std::string::npos);
  CHECK(ConvertText(R"([{"type":"Sampler"}])", "[]").find("has no id") != std::string::npos);
}

TEST_CASE("subgraphs: promoted widgets, recursion and explosion") {
  const auto workflow = [](const std::string& inner, const std::string& nodes) {
    return *ParseJson(R"({"version":0.4,"nodes":)" + nodes +
                      R"(,"links":[],"definitions":{"subgraphs":[{"id":"A","name":"A",
      "inputs":[{"name":"cfg","type":"FLOAT"}],"outputs":[],"nodes":)" +
                      inner + R"(,"links":[{"id":1,"origin_id":-10,"origin_slot":0,
      "target_id":1,"target_slot":0,"type":"FLOAT"}]}]}})");
  };
  const std::string inner =
      R"([{"id":1,"type":"Sampler","inputs":[{"name":"cfg","type":"FLOAT","link":1,"widget":{"name":"cfg"}}]}])";
  StatusOr<Converted> two = ConvertWorkflow(
      workflow(inner, R"([{"id":5,"type":"A","widgets_values":[2.5]},{"id":6,"type":"A","widgets_values":[null]}])"),
      Table());
  REQUIRE(two.ok());
  CHECK(two->prompt["5:1"]["inputs"]["cfg"] == 2.5);
  CHECK(two->prompt["6:1"]["inputs"]["cfg"] == 8);
  StatusOr<Converted> self = ConvertWorkflow(workflow(R"([{"id":1,"type":"A"}])", R"([{"id":5,"type":"A"}])"), Table());
  CHECK(Message(self.status()).find("contains itself") != std::string::npos);

  Json laughs =
      *ParseJson(R"({"version":0.4,"nodes":[{"id":1,"type":"s0"}],"links":[],"definitions":{"subgraphs":[]}})");
  for (int i = 0; i < 20; ++i) {
    laughs["definitions"]["subgraphs"].push_back(
        *ParseJson(Cat(R"({"id":"s)", i, R"(","name":"s","nodes":[{"id":1,"type":"s)", i + 1, R"("},{"id":2,"type":"s)",
                       i + 1, R"("}],"links":[]})")));
  }
  CHECK(ConvertWorkflow(laughs, Table()).status().code() == StatusCode::kResourceExhausted);
}

TEST_CASE("dynamic prompts") {
  uint64_t state = 7;
  CHECK(ResolveDynamicPrompt("a /* b */ c // d\r\ne", state) == "a  c \ne");
  CHECK(ResolveDynamicPrompt("{a", state) == "a");
  CHECK(ResolveDynamicPrompt("\\{x\\|y\\} }", state) == "{x|y} }");
  CHECK(ResolveDynamicPrompt("/* open", state) == "/* open");
  std::set<std::string> seen;
  for (int i = 0; i < 200; ++i) seen.insert(ResolveDynamicPrompt("{a|{b|c}} d", state));
  CHECK(seen == std::set<std::string>{"a d", "b d", "c d"});
  CHECK(ResolveDynamicPrompt(std::string(1'000'000, '{'), state).empty());
  CHECK(ResolveDynamicPrompt(std::string(500'000, '/'), state).empty());
}

TEST_CASE("file-name patterns") {
  const std::string save = R"([{"id":1,"type":"Sampler","title":"S","widgets_values":[12,"fixed",3]},
                               {"id":2,"type":"Save","widgets_values":["%date:yyyy-MM-dd_hhmmss%_%S.seed%_%S.nope%_100%"]}])";
  CHECK(ConvertText(save, "[]").find(R"("filename_prefix":"2025-01-02_030405_12_%S.nope%_100%")") != std::string::npos);
  CHECK(ConvertText(R"([{"id":2,"type":"Save","widgets_values":[5]}])", "[]").find("expected text for a file name") !=
        std::string::npos);
}

TEST_CASE("JavaScript's numbers") {
  CHECK(JsNumberText(1e21) == "1e+21");
  CHECK(JsNumberText(123456789012345680000.0) == "123456789012345680000");
  CHECK(JsNumberText(0.000001) == "0.000001");
  CHECK(JsNumberText(1.5e-7) == "1.5e-7");
  CHECK(JsNumberText(-0.0) == "0");
  CHECK(JsNumber(Json(12345678901234567890u)) == 12345678901234567000u);
  CHECK(JsNumber(Json(9007199254740993)) == 9007199254740992);
  CHECK(DumpJsonJs(*ParseJson(R"({"a":[1.0,"é"],"b":{}})"), 2) ==
        "{\n  \"a\": [\n    1,\n    \"é\"\n  ],\n  \"b\": {}\n}");
}

TEST_CASE("all forms of a workflow are told apart") {
  const std::string api = R"({"3":{"class_type":"Save","inputs":{}}})";
  CHECK(LoadWorkflow(api, Table())->prompt.contains("3"));
  CHECK(LoadWorkflow(R"({"prompt":)" + api + R"(,"extra_data":{"extra_pnginfo":{"workflow":{"a":1}}}})", Table())
            ->workflow["a"] == 1);
  StatusOr<LoadedWorkflow> editor =
      LoadWorkflow(R"({"version":0.4,"nodes":[{"id":3,"type":"Save"}],"links":[]})", Table());
  REQUIRE(editor.ok());
  CHECK(editor->prompt["3"]["class_type"] == "Save");
  CHECK(editor->workflow.contains("nodes"));
  StatusOr<LoadedWorkflow> picture =
      LoadWorkflow({{"prompt", R"({"3":{"class_type":"Save","inputs":{"a":"NaN"},"is_changed":[NaN]}})"},
                    {"workflow", "{\"x\":-Infinity}"}},
                   Table());
  REQUIRE(picture.ok());
  CHECK(picture->prompt["3"].dump() == R"({"class_type":"Save","inputs":{"a":"NaN"}})");
  CHECK_FALSE(LoadWorkflow({{"Software", "x"}}, Table()).ok());
  for (const char* bad : {"null", "[]", "5", "{}", "\"x\"", ""})
    CHECK_FALSE(LoadWorkflow(std::string_view(bad), Table()).ok());
}

}  // namespace
}  // namespace atelier
