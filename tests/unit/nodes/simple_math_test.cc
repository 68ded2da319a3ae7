// Expressions, comparisons and choices of ComfyUI_essentials, against what Python gives.
#include <catch2/catch.hpp>
#include <cmath>

#include "tests/harness/node_context.h"
#include "worker/nodes/python_numbers.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

using test::RunNode;

Value Picture() { return Value::Of<Image>("IMAGE", Image{at::zeros({2, 48, 64, 3})}); }

// The outputs of a node whose inputs are literals, or why there are none.
StatusOr<std::vector<Value>> Run(const std::string& type, const Json& literals, InputValues inputs = {}) {
  for (const auto& [name, value] : literals.items()) inputs[name] = {Value::Literal(value)};
  return RunNode(type, inputs);
}

Json One(const std::string& type, const Json& literals, size_t slot = 0) {
  const auto values = Run(type, literals);
  return values.ok() ? values->at(slot).literal() : Json("ERROR: " + Message(values.status()));
}

// The FLOAT of an expression in which a is a picture of 2 x 48 x 64 x 3 and b is 4.
Json Compute(const std::string& text) {
  const auto values = Run("SimpleMath+", {{"value", text}, {"b", 4}}, {{"a", {Picture()}}});
  return values.ok() ? values->at(1).literal() : Json("ERROR: " + Message(values.status()));
}

bool Says(const Json& answer, const std::string& text) {
  return answer.is_string() && answer.get<std::string>().find(text) != std::string::npos;
}

TEST_CASE("Python's rounding of floats") {
  CHECK(PythonRound(2.675, 2) == 2.67);
  CHECK(PythonRound(1.115, 2) == 1.11);
  CHECK(PythonRound(-0.125, 2) == -0.12);
  CHECK(PythonRound(0.5, 0) == 0.0);
  CHECK(PythonRound(1.5, 0) == 2.0);
  CHECK(PythonRound(1250.0, -2) == 1200.0);
  CHECK(PythonRound(50.0, -2) == 0.0);
  CHECK(PythonRound(51.0, -2) == 100.0);
  CHECK(PythonRound(49.0, -3) == 0.0);
  CHECK(PythonRound(1.5e300, -300) == 2e300);
  CHECK(PythonRound(5e-324, 323) == 0.0);
  CHECK(PythonRound(5e-324, 324) == 5e-324);
  CHECK(PythonRound(1e308, 400) == 1e308);
  CHECK(PythonRound(1e308, -400) == 0.0);
}

TEST_CASE("Python's quotients and rests of floats") {
  CHECK(PythonFloorDivide(1.0, 0.1) == 9.0);
  CHECK(PythonModulo(1.0, 0.1) == 0.09999999999999995);
  CHECK(PythonFloorDivide(-1.0, 0.1) == -10.0);
  CHECK(PythonModulo(-1.0, 0.1) == 5.551115123125783e-17);
  CHECK(PythonModulo(5.3, -2.0) == -0.7000000000000002);
  CHECK(PythonFloorDivide(5.3, -2.0) == -3.0);
  CHECK(std::signbit(PythonModulo(4.0, -2.0)));
}

TEST_CASE("an expression has Python's numbers") {
  CHECK(Compute("1 % 0.1") == 0.09999999999999995);
  CHECK(Compute("1 // 0.1") == 9.0);
  CHECK(Compute("-7 % 3") == 2.0);
  CHECK(Compute("-7 // 2") == -4.0);
  CHECK(Compute("round(2.675, 2)") == 2.67);
  CHECK(Compute("round(1250, -2)") == 1200.0);
  CHECK(Compute("round(2.5) + round(3.5)") == 6.0);
  CHECK(Compute("1_000 + 2.5e-1 + .25") == 1000.5);
  CHECK(Compute("+b - +1 + -+2") == 1.0);
  CHECK(Compute("2 ** 3 ** 2 - -2 ** 2") == 516.0);
  CHECK(Compute("True + False") == 1.0);
  CHECK(Compute("sum(a) + len(a)") == 121.0);
  CHECK(One("SimpleMath+", {{"value", "a"}, {"a", "nan"}}, 1) == 0.0);
  CHECK(One("SimpleMath+", {{"value", "c + d"}, {"c", " 1_0.5 "}}, 1) == 10.5);
  CHECK(One("SimpleMath+", {{"value", "2.5"}}) == 2);
}

TEST_CASE("only a constant chooses a side") {
  CHECK(Compute("a[2]") == 64.0);
  CHECK(Compute("a[ (1) ] * 2") == 96.0);
  CHECK(Compute("a[ 3 ]") == 3.0);
  for (const char* text : {"a[-1]", "a[1+1]", "a[b]", "a[0:1]", "a[:]", "a[1,2]", "a[1.0]", "a[1/0]", "b[1]"}) {
    INFO(text);
    CHECK(Compute(text) == 0.0);
  }
  CHECK(Says(Compute("a[4]"), "asks for side 4 of 4"));
  CHECK(Says(Compute("a + 1"), "choose one, as in a[2]"));
  for (const char* text : {"a[]", "a[1", "a[1 2]"}) {
    INFO(text);
    CHECK(Says(Compute(text), "ERROR"));
  }
}

TEST_CASE("and and or give an operand, of the first two") {
  CHECK(Compute("3 and 5") == 5.0);
  CHECK(Compute("0 and 5") == 0.0);
  CHECK(Compute("3 or 5") == 3.0);
  CHECK(Compute("0 or 5") == 5.0);
  CHECK(Compute("1 and 2 and 0") == 2.0);
  CHECK(Compute("0 or 0 or 7") == 0.0);
  CHECK(Compute("0 and 2 or 6") == 6.0);
  CHECK(Compute("0 and 1 / 0") == 0.0);
  CHECK(Compute("a and 2") == 2.0);
  CHECK(Compute("not a") == 0.0);
  CHECK(Compute("unknown or 2") == 2.0);
  CHECK(Says(Compute("unknown + 2"), "uses the unknown name unknown"));
  CHECK(Says(Compute("unknown"), "uses the unknown name unknown"));
  CHECK(Says(Compute("1 / 0 or 2"), "divides by zero"));
}

TEST_CASE("comparisons in a row are with the first term") {
  CHECK(Compute("1 < 3 < 2") == 1.0);
  CHECK(Compute("3 > 2 > 4") == 0.0);
  CHECK(Compute("(1 < 2) + (2 <= 2) + (3 != 3)") == 2.0);
  CHECK(Compute("a == a") == 1.0);
  CHECK(Compute("a == b") == 0.0);
  CHECK(Says(Compute("a < b"), "uses the sides of a tensor as a number"));
}

TEST_CASE("other syntax gives 0") {
  for (const char* text : {"1 if b else 2", "1 / 0 if b else 2 if b else 3", "a.shape", "[1, 2]", "[]", "()", "(1, 2)",
                           "(1,)", "a.shape[0] + 0"}) {
    INFO(text);
    CHECK(Compute(text) == 0.0);
  }
  CHECK(Compute("3 + (1 if b else 2)") == 3.0);
  for (const char* text :
       {"", "1 +", "1 2", "1 if b", "if", "1 and", "1__0", "1..2", "a.", "max(1", "(1", "1 << 2", "b = 1"}) {
    INFO(text);
    CHECK(Says(Compute(text), "ERROR"));
  }
  CHECK(Says(Compute("0 ** -1"), "divides by zero"));
  CHECK(Says(Compute("5 % 0"), "divides by zero"));
  CHECK(Says(Compute("(-8) ** 0.5"), "takes a root of -8"));
  CHECK(Says(Compute("10 ** 400"), "too large"));
  CHECK(Says(Compute("round(1, 0.5)"), "rounds to 0.5 decimals"));
  CHECK(Says(Compute("abs(1)"), "unknown function abs"));
  for (const char* nested : {"(", "[", "-", "not ", "2**"}) {
    std::string text;
    for (int i = 0; i < 5000; ++i) text += nested;
    CHECK(Says(Compute(text), "too deeply"));
  }
  CHECK(Says(One("SimpleMath+", {{"value", "1"}, {"b", "x"}}), "input \"b\": could not convert string to float: 'x'"));
}

TEST_CASE("sliders and constants round as Python") {
  const auto slider = [](const Json& settings) { return One("SimpleMathSlider+", settings); };
  CHECK(slider({{"value", 1.0}, {"min", 0.0}, {"max", 2.675}, {"rounding", 2}}) == 2.67);
  CHECK(slider({{"value", 0.25}, {"min", 1.0}, {"max", 2.0}, {"rounding", 0}}) == 1.25);
  CHECK(One("SimpleMathSlider+", {{"value", 1.0}, {"min", 0.0}, {"max", -2.75}, {"rounding", 1}}) == -2.8);
  CHECK(One("SimpleMathSlider+", {{"value", 1.0}, {"min", 0.0}, {"max", -2.75}}, 1) == -2);
  CHECK(One("SimpleMathSliderLowRes+", {{"value", 10}, {"min", 0.0}, {"max", 2.675}, {"rounding", 2}}) == 2.67);
  CHECK(One("FloatConstant", {{"value", 2.5e-6}}) == 3e-6);  // the float is a little above the half
  CHECK(One("FloatConstant", {{"value", 1e305}}) == 1e305);
}

TEST_CASE("values compare as Python compares them") {
  const auto compare = [](const Json& a, const char* sign, const Json& b) {
    return One("SimpleComparison+", {{"a", a}, {"b", b}, {"comparison", sign}});
  };
  CHECK(compare("cat", "==", "cat") == true);
  CHECK(compare("cat", "!=", "cat") == false);
  CHECK(compare("1", "==", 1) == false);
  CHECK(compare("1", "!=", 1) == true);
  CHECK(compare(1, "==", 1.0) == true);
  CHECK(compare(true, "==", 1) == true);
  CHECK(compare(9007199254740993, "==", 9007199254740992) == false);
  CHECK(compare(9007199254740993, ">", 9007199254740992.0) == true);
  CHECK(compare(9007199254740993, "==", 9007199254740992.0) == false);
  CHECK(compare(18446744073709551615U, ">", -1) == true);
  CHECK(compare(18446744073709551615U, "==", 18446744073709551616.0) == false);
  CHECK(compare("Zoo", "<", "ant") == true);
  CHECK(compare("a", "<=", "ä") == true);
  CHECK(compare(2, ">=", 2) == true);
  CHECK(compare(Json::array({1, 2}), "==", Json::array({1, 2})) == true);
  for (const char* sign : {"<", "<=", ">", ">="}) {
    INFO(sign);
    const Json refused = compare("a", sign, 1);
    CHECK(Says(refused, "input \"a\" is 'a' and input \"b\" 1"));
    CHECK(Says(refused, std::string("for ") + sign));
  }
  const auto picture = Run("SimpleComparison+", {{"a", 1}, {"comparison", "=="}}, {{"b", {Picture()}}});
  REQUIRE_FALSE(picture.ok());
  CHECK(Message(picture.status()) == "input \"b\" is a value of type IMAGE, expected a number or a text");
}

TEST_CASE("a condition passes one of two values on") {
  const auto chosen = [](const Json& evaluate) {
    return One("SimpleCondition+", {{"evaluate", evaluate}, {"on_true", "yes"}, {"on_false", "no"}});
  };
  for (const Json& holds : {Json(true), Json(1), Json(-0.5), Json("False"), Json::array({0})}) {
    INFO(holds);
    CHECK(chosen(holds) == "yes");
  }
  for (const Json& fails : {Json(false), Json(0), Json(0.0), Json(""), Json::array(), Json()}) {
    INFO(fails);
    CHECK(chosen(fails) == "no");
  }
  const auto picture = Run("SimpleCondition+", {{"evaluate", 1}}, {{"on_true", {Picture()}}});
  REQUIRE(picture.ok());
  CHECK(picture->at(0).Get<Image>()->pixels.size(1) == 48);
  CHECK(Says(One("SimpleCondition+", {{"evaluate", 0}, {"on_true", 1}}), "\"on_false\" is not linked"));
}

}  // namespace
}  // namespace atelier::nodes
