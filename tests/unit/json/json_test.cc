#include "common/json/json.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <string>

#include "tests/harness/cpu_seconds.h"

namespace atelier {
namespace {

std::string ErrorOf(std::string_view text) {
  StatusOr<Json> json = ParseJson(text);
  return json.ok() ? "" : Message(json.status());
}

TEST_CASE("JSON keeps key order and exact integers") {
  StatusOr<Json> json = ParseJson(R"({"b":18446744073709551615,"a":[1,-2,2.5,true,null,"x"],"c":{}})");
  REQUIRE(json.ok());
  CHECK(json->begin().key() == "b");
  CHECK((*json)["b"].get<uint64_t>() == 18446744073709551615u);
  CHECK(DumpJson(*json) == R"({"b":18446744073709551615,"a":[1,-2,2.5,true,null,"x"],"c":{}})");
}

TEST_CASE("the last of equal keys wins in the first one's place") {
  CHECK(DumpJson(*ParseJson(R"({"a":1,"b":2,"a":3})")) == R"({"a":3,"b":2})");
  std::string many = "{";
  for (int i = 0; i < 100; ++i) many += Cat("\"k", i, "\":", i, ",");
  many += "\"k50\":\"last\"}";
  StatusOr<Json> json = ParseJson(many);
  REQUIRE(json.ok());
  CHECK(json->size() == 100);
  CHECK((*json)["k50"] == "last");
}

TEST_CASE("what is not JSON is refused with its place") {
  CHECK(ErrorOf("{\"a\": NaN}").find("line 1, column 7") != std::string::npos);
  CHECK(ErrorOf("[1,\n 2,\n x]").find("line 3, column 2") != std::string::npos);
  for (const char* text : {"", "Infinity", "[1,]", "{\"a\":1,}", "[1] 2", "\"\xff\"", "\"\xed\xa0\x80\"", "'a'",
                           "[1e400]", "\"abc", "{\"a\" 1}", "\"\\ud800\"", "01", "+1", "\"\n\""})
    CHECK_FALSE(ErrorOf(text).empty());
}

TEST_CASE("bounds are checked before anything is built") {
  const std::string deep(5'000'000, '[');
  const double start = CpuSeconds();
  CHECK(ErrorOf(deep).find("nested deeper than 200") != std::string::npos);
  CHECK(CpuSeconds() - start < 0.2 * kSlower);
  CHECK(ParseJson(std::string(200, '[') + std::string(200, ']')).ok());
  CHECK_FALSE(ParseJson(std::string(201, '[') + std::string(201, ']')).ok());
  CHECK_FALSE(ParseJson("[1,2,3]", {.bytes_max = 6}).ok());
  CHECK_FALSE(ParseJson("[1,2,3]", {.values_max = 3}).ok());
  CHECK(ParseJson("\"[[[[\"", {.depth_max = 1}).ok());
}

TEST_CASE("an object of many keys is read in linear time") {
  std::string many = "{";
  for (int i = 0; i < 50'000; ++i) many += Cat(i ? "," : "", "\"", i, "\":{\"class_type\":\"X\"}");
  many += "}";
  const double start = CpuSeconds();
  StatusOr<Json> json = ParseJson(many);
  REQUIRE(json.ok());
  CHECK(json->size() == 50'000);
  CHECK(CpuSeconds() - start < 1 * kSlower);
}

TEST_CASE("Python's form") {
  CHECK(DumpJsonPython(*ParseJson("{\"a\":[1,2.0,1e16,1e-5,0.0001,123456.75,1e22,5e-324],\"b\":"
                                  "\"\xc3\xa9\xf0\x9f\x98\x80\\n\x7f\",\"c\":null,\"d\":[],\"e\":{}}")) ==
        "{\"a\": [1, 2.0, 1e+16, 1e-05, 0.0001, 123456.75, 1e+22, 5e-324], \"b\": \"\\u00e9\\ud83d\\ude00\\n\\u007f\", "
        "\"c\": null, \"d\": [], "
        "\"e\": {}}");
  CHECK(DumpJsonPython(Json(-0.0)) == "-0.0");
  CHECK(DumpJsonPython(Json(0.1)) == "0.1");
  CHECK(DumpJsonPython(Json(1234567890123456.0)) == "1234567890123456.0");
  CHECK(DumpJsonPython(Json(std::nan(""))) == "NaN");
  CHECK(DumpJsonPython(Json(-HUGE_VAL)) == "-Infinity");
}

}  // namespace
}  // namespace atelier
