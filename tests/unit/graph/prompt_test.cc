#include "common/graph/prompt.h"

#include <catch2/catch.hpp>
#include <string>

#include "common/base/limits.h"
#include "tests/harness/cpu_seconds.h"

namespace atelier {
namespace {

Prompt Chain(int length, bool closed) {
  Prompt prompt;
  for (int i = length - 1; i >= 0; --i) {  // later nodes first, so that the file's order is no help
    PromptNode node;
    node.id = std::to_string(i);
    node.class_type = std::string("X");
    if (i > 0) node.inputs["in"] = {std::to_string(i - 1), 0};
    if (i == 0 && closed) node.inputs["in"] = {std::to_string(length - 1), 0};
    REQUIRE(prompt.Add(node).ok());
  }
  return prompt;
}

TEST_CASE("links and constants") {
  CHECK(AsLink(Json{"4", 1})->slot == 1);
  CHECK(AsLink(Json{"4", -1})->slot == -1);
  for (const char* text : {R"(["4"])", R"(["4",1,2])", R"([4,1])", R"(["4",1.0])", R"(["4",true])",
                           R"({"__value__":["4",1]})", "\"4\"", R"(["4",9223372036854775808])"})
    CHECK_FALSE(AsLink(*ParseJson(text)));
  const Json wrapped = *ParseJson(R"({"__value__":["4",1]})"), plain = 3;
  CHECK(UnwrapConstant(wrapped) == Json{"4", 1});
  CHECK(UnwrapConstant(plain) == 3);
}

TEST_CASE("a prompt keeps its form") {
  const Json json = *ParseJson(
      R"({"9":{"inputs":{"b":1,"a":["2",0]},"class_type":"Y","_meta":{"title":"T"}},"2":{"inputs":{},"class_type":"__proto__"}})");
  StatusOr<Prompt> prompt = PromptFromJson(json);
  REQUIRE(prompt.ok());
  CHECK(DumpJson(ToJson(*prompt)) == DumpJson(json));
  CHECK(prompt->Find("2")->class_type == "__proto__");
  CHECK(prompt->Find("constructor") == nullptr);
  for (const char* bad : {"[]", "null", R"({"1":null})", R"({"1":{"inputs":{}}})", R"({"1":{"class_type":"X"}})",
                          R"({"1":{"class_type":"X","inputs":[]}})", R"({"1":{"class_type":5,"inputs":{}}})"})
    CHECK_FALSE(ParsePrompt(bad).ok());
}

TEST_CASE("order, ancestors and cycles of long chains need no stack") {
  const Prompt chain = Chain(limits::kGraphDepthMax, false);
  StatusOr<std::vector<size_t>> order = TopologicalOrder(chain);
  REQUIRE(order.ok());
  CHECK(chain.nodes()[order->front()].id == "0");
  CHECK(order->size() == chain.size());
  CHECK(FindCycle(chain).empty());
  CHECK(Ancestors(chain, {"9", "nobody"}).size() == 10);

  CHECK(Message(TopologicalOrder(Chain(10'000, false)).status()).find("chain of more than 5000") != std::string::npos);
  const Prompt ring = Chain(10'000, true);
  const double start = CpuSeconds();
  CHECK(Message(TopologicalOrder(ring).status()).find("cycle") != std::string::npos);
  CHECK(FindCycle(ring, {"17"}).size() == 10'000);
  CHECK(CpuSeconds() - start < 0.5 * kSlower);
}

TEST_CASE("names that stay inside their folder") {
  for (const char* good : {"a.png", "sub/a.png", "sub\\a.png", "..a", "a..b/c", "\xc3\xa9.png", " a"})
    CHECK(IsSafeRelativeName(good));
  for (const char* bad : {"", "/etc/passwd", "..", "../a", "a/../b", "a/..", "./a", "a//b", "a/", "\\\\host\\x",
                          "C:\\x", "http://x/y", "a\nb", "..\\..\\x", "\xff", "\xe2\x82", "\x7f"})
    CHECK_FALSE(IsSafeRelativeName(bad));
  CHECK_FALSE(IsSafeRelativeName(std::string_view("a\0b", 3)));
  CHECK_FALSE(IsSafeRelativeName(std::string(5000, 'a')));
  CHECK_FALSE(IsSafeRelativeName(std::string(256, 'a')));
}

}  // namespace
}  // namespace atelier
