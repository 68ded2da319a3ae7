// Texts, patterns and expressions, against what Python gives.
#include <catch2/catch.hpp>

#include "tests/golden/nodes/run_prompt.h"

namespace atelier {
namespace {

// The literal outputs of one node.
StatusOr<std::vector<Json>> Run(const std::string& type, const Json& inputs, int64_t outputs = 1) {
  golden::Host host;
  Fragment fragment;
  fragment.nodes["1"] = {{"class_type", type}, {"inputs", inputs}};
  for (int64_t slot = 0; slot < outputs; ++slot) fragment.wanted.push_back({"1", slot, ""});
  Executor executor;
  ASSIGN_OR_RETURN(const FragmentResult result, executor.Run(fragment, host));
  std::vector<Json> values;
  for (const std::string& blob : result.blobs) {
    ASSIGN_OR_RETURN(const Value value, DecodeBlob(blob));
    values.push_back(value.literal());
  }
  return values;
}

Json One(const std::string& type, const Json& inputs) {
  auto result = Run(type, inputs);
  if (!result.ok()) return Json("ERROR: " + Message(result.status()));
  return result->at(0);
}

TEST_CASE("texts") {
  CHECK(One("StringConcatenate", {{"string_a", "a"}, {"string_b", "b"}, {"delimiter", ", "}}) == "a, b");
  CHECK(One("StringSubstring", {{"string", "grüße"}, {"start", 2}, {"end", -1}}) == "üß");
  CHECK(One("StringSubstring", {{"string", "abc"}, {"start", 2}, {"end", 1}}) == "");
  CHECK(One("StringLength", {{"string", "grüße"}}) == 5);
  CHECK(One("CaseConverter", {{"string", "éa o'neil 2nd"}, {"mode", "Title Case"}}) == "Éa O'Neil 2Nd");
  CHECK(One("CaseConverter", {{"string", "aBC dE"}, {"mode", "Capitalize"}}) == "Abc de");
  CHECK(One("CaseConverter", {{"string", "ä"}, {"mode", "UPPERCASE"}}) == "Ä");
  CHECK(One("StringTrim", {{"string", "\t a\u00a0\n"}, {"mode", "Both"}}) == "a");
  CHECK(One("StringTrim", {{"string", " a "}, {"mode", "Left"}}) == "a ");
  CHECK(One("StringReplace", {{"string", "aXbX"}, {"find", "X"}, {"replace", "--"}}) == "a--b--");
  CHECK(One("StringReplace", {{"string", "ab"}, {"find", ""}, {"replace", "-"}}) == "-a-b-");
  CHECK(One("StringContains", {{"string", "ABC"}, {"substring", "bc"}, {"case_sensitive", false}}) == true);
  CHECK(One("StringContains", {{"string", "ABC"}, {"substring", "bc"}, {"case_sensitive", true}}) == false);
  CHECK(One("StringCompare",
            {{"string_a", "abc"}, {"string_b", "BC"}, {"mode", "Ends With"}, {"case_sensitive", false}}) == true);
  const std::string large(10 << 20, 'x');
  CHECK(Run("StringConcatenate", {{"string_a", large}, {"string_b", large}, {"delimiter", ""}}).status().code() ==
        absl::StatusCode::kResourceExhausted);
}

TEST_CASE("patterns") {
  const auto extract = [](const std::string& text, const std::string& pattern, const std::string& mode, int group = 1) {
    return One("RegexExtract", {{"string", text},
                                {"regex_pattern", pattern},
                                {"mode", mode},
                                {"case_insensitive", true},
                                {"multiline", false},
                                {"dotall", false},
                                {"group_index", group}});
  };
  CHECK(extract("a1 b22", "[a-z](\\d+)", "First Match") == "a1");
  CHECK(extract("a1 b22", "[a-z](\\d+)", "All Matches") == "1\n22");
  CHECK(extract("a1 b22", "[a-z]\\d+", "All Matches") == "a1\nb22");
  CHECK(extract("a1 b22", "([a-z])(\\d+)", "All Groups", 2) == "1\n22");
  CHECK(extract("a1 b22", "([a-z])(\\d+)", "First Group", 0) == "a1");
  CHECK(extract("a1 b22", "([a-z])(\\d+)", "First Group", 3) == "");
  CHECK(extract("zzz", "x", "First Match") == "");
  const auto replace = [](const std::string& text, const std::string& pattern, const std::string& with, int count = 0) {
    return One("RegexReplace", {{"string", text}, {"regex_pattern", pattern}, {"replace", with}, {"count", count}});
  };
  CHECK(replace("ab12", "([a-z])", "<\\1>") == "<a><b>12");
  CHECK(replace("ab12", "(?P<c>[a-z])", "\\g<c>\\g<0>", 1) == "aab12");
  CHECK(replace("abc", "x*", "-") == "-a-b-c-");
  CHECK(replace("a", "a", "\\2").get<std::string>().find("the pattern lacks") != std::string::npos);
  CHECK(extract("a", "(?=a)", "First Match").get<std::string>().find("not supported") != std::string::npos);
  // Catastrophic for backtracking engines.
  CHECK(One("RegexMatch", {{"string", std::string(5000, 'a')},
                           {"regex_pattern", "(a+)+$b"},
                           {"case_insensitive", true},
                           {"multiline", false},
                           {"dotall", false}}) == false);
}

TEST_CASE("expressions") {
  const auto compute = [](const std::string& text, const Json& a = 0, const Json& b = 0) {
    auto result = Run("SimpleMath+", {{"value", text}, {"a", a}, {"b", b}}, 2);
    return result.ok() ? result->at(1) : Json("ERROR: " + Message(result.status()));
  };
  CHECK(compute("1 + 2 * 3") == 7.0);
  CHECK(compute("-2 ** 2") == -4.0);
  CHECK(compute("7 // 2 + 7 % 4") == 6.0);
  CHECK(compute("-7 // 2") == -4.0);
  CHECK(compute("(a + 1) * b", 2, 2.5) == 7.5);
  CHECK(compute("max(a, b, 3) - min(1, 2)", 5, 9) == 8.0);
  CHECK(compute("round(2.567, 2)") == 2.57);
  CHECK(compute("a > 3 and not b", 4, 0) == 1.0);
  CHECK(compute("1 < 3 < 2") == 1.0);  // as the reference: every term is compared with the first
  CHECK(compute("a[1]", 4) == 0.0);
  CHECK(compute("1 / 0").get<std::string>().find("divides by zero") != std::string::npos);
  CHECK(compute("1 +").get<std::string>().find("ends too early") != std::string::npos);
  CHECK(compute("import(a)").get<std::string>().find("unknown function") != std::string::npos);
  CHECK(compute(std::string(5000, '(')).get<std::string>().find("too deeply") != std::string::npos);
  CHECK(Run("SimpleMath+", {{"value", "2.5"}}, 2)->at(0) == 2);
  CHECK(Run("SimpleMath+", {{"value", "3.5"}}, 2)->at(0) == 4);
}

}  // namespace
}  // namespace atelier
