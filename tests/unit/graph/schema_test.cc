#include "common/graph/schema.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <string>

#include "common/graph/node.h"
#include "common/graph/python_value.h"

namespace atelier {
namespace {

InputSpec Input(std::string name, std::string type) {
  InputSpec input;
  input.name = std::move(name);
  input.type = std::move(type);
  return input;
}

NodeSpec Sampler() {
  NodeSpec spec;
  spec.type = "KSampler";
  spec.display_name = "KSampler";
  spec.category = "sampling";
  InputSpec seed = Input("seed", "INT");
  seed.default_value = 0;
  seed.min = 0;
  seed.max = 18446744073709551615u;
  seed.control_after_generate = true;
  spec.inputs.push_back(seed);
  InputSpec name = Input("sampler_name", "COMBO");
  name.choices = {"euler", "heun"};
  spec.inputs.push_back(name);
  InputSpec mask = Input("mask", "MASK");
  mask.required = false;
  spec.inputs.push_back(mask);
  spec.outputs = {{"LATENT", "LATENT"}};
  spec.tiles = TileSplit{.tile_node = "Tile", .image_input = "mask"};
  return spec;
}

TEST_CASE("a node type survives its JSON form") {
  const Json json = ToJson(Sampler());
  StatusOr<NodeSpec> back = NodeSpecFromJson(json);
  REQUIRE(back.ok());
  CHECK(ToJson(*back) == json);
  CHECK(back->inputs[0].max.get<uint64_t>() == 18446744073709551615u);
  CHECK_FALSE(back->inputs[2].required);
}

TEST_CASE("a broken node type names the field") {
  Json json = ToJson(Sampler());
  json["inputs"][1]["choices"] = "euler";
  StatusOr<NodeSpec> spec = NodeSpecFromJson(json);
  REQUIRE_FALSE(spec.ok());
  CHECK(Message(spec.status()) == "node type \"KSampler\": input 1: field \"choices\": expected a list of texts");
  CHECK_FALSE(NodeSpecFromJson(Json("x")).ok());
  CHECK_FALSE(NodeSpecFromJson(Json::object()).ok());
}

TEST_CASE("the catalogue's digest follows its content") {
  Catalog a;
  a.Add(Sampler());
  StatusOr<Catalog> b = Catalog::FromJson(a.ToJson());
  REQUIRE(b.ok());
  CHECK(a.Digest() == b->Digest());
  NodeSpec other = Sampler();
  other.inputs[0].default_value = 1;
  b->Add(other);
  CHECK(b->size() == 1);
  CHECK(a.Digest() != b->Digest());
  CHECK_FALSE(Catalog::Load("/nowhere.json").ok());
}

TEST_CASE("data and handles") {
  CHECK(IsDataType("IMAGE"));
  CHECK(IsDataType("FLOAT, INT"));
  CHECK_FALSE(IsDataType("MODEL"));
  CHECK_FALSE(IsDataType("IMAGE,MODEL"));
}

TEST_CASE("Python's conversions") {
  CHECK(PythonInt("  -1_000 ").value() == -1000);
  CHECK(PythonInt(3.9).value() == 3);
  CHECK(PythonInt(-3.9).value() == -3);
  CHECK(PythonInt(true).value() == 1);
  CHECK(PythonInt("18446744073709551615").value() == 18446744073709551615u);
  CHECK(PythonInt("-9223372036854775808").value() == std::numeric_limits<int64_t>::min());
  CHECK(PythonInt("99999999999999999999999").value().is_number_float());
  CHECK(Message(PythonInt("3.0").status()) == "invalid literal for int() with base 10: '3.0'");
  CHECK(Message(PythonInt(Json()).status()) ==
        "int() argument must be a string, a bytes-like object or a real number, not 'NoneType'");
  for (const char* bad : {"", "_1", "1_", "1__0", "0x10", "- 1", "1 2"}) CHECK_FALSE(PythonInt(bad).ok());
  CHECK(PythonFloat(" 1e3 ").value() == 1000.0);
  CHECK(PythonFloat(".5").value() == 0.5);
  CHECK(std::isnan(PythonFloat("NaN").value()));
  CHECK(PythonFloat("-Infinity").value() == -HUGE_VAL);
  CHECK(Message(PythonFloat("abc").status()) == "could not convert string to float: 'abc'");
  for (const char* bad : {"", "--1", "+-1", "1e", "e5", "0x1p3"}) CHECK_FALSE(PythonFloat(bad).ok());
  CHECK(PythonBool("false"));
  CHECK_FALSE(PythonBool(0.0));
  CHECK_FALSE(PythonBool(Json::array()));
  CHECK(PythonStr(Json{{"a", {1, 2.0, true, nullptr, "it's"}}}) == "{'a': [1, 2.0, True, None, \"it's\"]}");
}

TEST_CASE("literals reach fields with Python's conversions") {
  int64_t i = 0;
  uint64_t u = 0;
  double d = 0;
  bool b = false;
  std::string s;
  CHECK(internal::FromLiteral(Value::Literal("128"), i).ok());
  CHECK(i == 128);
  CHECK(internal::FromLiteral(Value::Literal(18446744073709551615u), u).ok());
  CHECK(u == 18446744073709551615u);
  CHECK_FALSE(internal::FromLiteral(Value::Literal(18446744073709551615u), i).ok());
  CHECK_FALSE(internal::FromLiteral(Value::Literal(-1), u).ok());
  CHECK_FALSE(internal::FromLiteral(Value::Literal(1e30), i).ok());
  CHECK(internal::FromLiteral(Value::Literal(3), d).ok());
  CHECK(d == 3.0);
  CHECK(internal::FromLiteral(Value::Literal("false"), b).ok());
  CHECK(b);
  CHECK(internal::FromLiteral(Value::Literal(2.0), s).ok());
  CHECK(s == "2.0");
  CHECK_FALSE(internal::FromLiteral(Value::Of<int>("MODEL", 1), i).ok());
  CHECK_FALSE(internal::FromLiteral(Value(), i).ok());
}

}  // namespace
}  // namespace atelier
