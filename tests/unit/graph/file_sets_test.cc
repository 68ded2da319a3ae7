// Choices that stand for several files.
#include "common/graph/file_sets.h"

#include <catch2/catch.hpp>

#include "common/graph/validate.h"

namespace atelier {
namespace {

InputSpec Choice(const char* name, const char* folder) {
  InputSpec input;
  input.name = name;
  input.type = "COMBO";
  input.folder = folder;
  return input;
}

NodeSpec Loader() {
  NodeSpec spec;
  spec.type = "Load";
  spec.output_node = true;
  InputSpec name = Choice("name", "whole");
  name.sets = {{"pair", "halves", {{"left", "pair_left"}, {"right", "pair_right"}}},
               {"pair2", "halves", {{"left", "pair2_left"}, {"right", "pair2_right"}}}};
  spec.inputs.push_back(name);
  for (const char* part : {"left", "right"}) {
    InputSpec input = Choice(part, "halves");
    input.required = false;
    input.hidden = true;
    spec.inputs.push_back(input);
  }
  return spec;
}

Inventory Files(std::vector<std::string> halves) {
  Inventory inventory;
  inventory.files["whole"] = {"a.pth", "b.pth"};
  inventory.files["halves"] = std::move(halves);
  return inventory;
}

using Names = std::vector<std::string>;

TEST_CASE("a set of files is a choice when all of them are there") {
  const NodeSpec spec = Loader();
  const auto choices = [&](Names halves) { return ChoicesOf(spec.inputs[0], Files(std::move(halves))); };
  CHECK(choices({}) == Names{"a.pth", "b.pth"});
  CHECK(choices({"pair_left.pth"}) == Names{"a.pth", "b.pth"});
  CHECK(choices({"pair_left.pth", "pair_right.safetensors"}) == Names{"a.pth", "b.pth", "pair"});
  CHECK(choices({"pair2_left.pth", "pair2_right.pth", "pair_left.pth", "pair_right.pth"}) ==
        Names{"a.pth", "b.pth", "pair", "pair2"});
  // Other names that begin so, or lie deeper, are others.
  CHECK(choices({"pair_left.pth", "pair_right", "pair_right.old.pth", "pair_right2.pth", "x/pair_right.pth"}) ==
        Names{"a.pth", "b.pth"});
  CHECK(ChoicesOf(spec.inputs[0], {}).empty());
  CHECK(InputConfig(spec.inputs[0], Files({"pair_left.pth", "pair_right.pth"}))[0] ==
        Json(Names{"a.pth", "b.pth", "pair"}));
}

TEST_CASE("validation names the files of a set for what runs, and for nobody else") {
  Catalog catalog;
  catalog.Add(Loader());
  const auto check = [&](const char* inputs, Names halves) {
    return Validate(*ParseJson(Cat(R"({"1":{"class_type":"Load","inputs":)", inputs, "}}")), catalog,
                    Files(std::move(halves)));
  };
  const Names both{"pair_left.pth", "pair_left.safetensors", "pair_right.pth"};
  const ValidationReport good = check(R"({"name":"pair","left":"elsewhere.pth"})", both);
  REQUIRE(good.ok());
  CHECK(good.graph.Find("1")->inputs ==
        *ParseJson(R"({"name":"pair","left":"pair_left.pth","right":"pair_right.pth"})"));
  CHECK(good.prompt["1"]["inputs"] == *ParseJson(R"({"name":"pair","left":"elsewhere.pth"})"));
  const ValidationReport file = check(R"({"name":"a.pth","right":"elsewhere.pth"})", both);
  REQUIRE(file.ok());
  CHECK(file.graph.Find("1")->inputs == *ParseJson(R"({"name":"a.pth"})"));
  const ValidationReport alike =
      check(R"({"name":"pair"})", {"pair_left.pth", "pair_left.safetensors", "pair_right.safetensors"});
  REQUIRE(alike.ok());
  CHECK(alike.graph.Find("1")->inputs["left"] ==
        "pair_left.safetensors");  // which may lie on another machine otherwise
  CHECK(FilesOf({"none", "nowhere", {}}, Files({}))->empty());
  const ValidationReport half = check(R"({"name":"pair"})", {"pair_left.pth"});
  REQUIRE_FALSE(half.ok());
  CHECK(half.Sentences()[0].find("'pair' not in ['a.pth', 'b.pth']") != std::string::npos);
}

TEST_CASE("sets survive the JSON form of a node type, and broken ones are named") {
  const NodeSpec spec = Loader();
  const Json json = ToJson(spec);
  const StatusOr<NodeSpec> read = NodeSpecFromJson(json);
  REQUIRE(read.ok());
  CHECK(ToJson(*read) == json);
  REQUIRE(read->inputs[0].FindSet("pair2") != nullptr);
  CHECK(read->inputs[0].FindSet("pair2")->parts.at("right") == "pair2_right");
  CHECK(read->inputs[0].FindSet("pair3") == nullptr);
  for (const char* broken :
       {R"({"name":"x"})", R"({"folder":"x"})", R"({"name":"x","folder":"y","parts":{"a":1}})", "1"}) {
    Json bad = json;
    bad["inputs"][0]["sets"] = Json::array({*ParseJson(broken)});
    INFO(broken);
    CHECK(NodeSpecFromJson(bad).status().code() == StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace atelier
