#include "common/tensorio/gguf.h"

#include <catch2/catch.hpp>

#include "tests/fuzz/seeds.h"

namespace atelier {
namespace {

TEST_CASE("a GGUF file's metadata and tensors") {
  const std::string bytes = fuzz::GgufSeed({{8, {64, 68}}});
  REQUIRE(IsGguf(bytes));
  const auto file = ParseGguf(bytes, "x.gguf");
  INFO(file.status().ToString());
  REQUIRE(file.ok());
  CHECK(file->Text("general.architecture") == "t5");
  CHECK(file->Find("tokens")->items.at(1).text == "b");
  CHECK(file->Find("scores")->items.at(0).real == 1.0);
  CHECK(file->Find("flag")->number == 1);
  REQUIRE(file->tensors.size() == 2);
  CHECK(file->tensors[0].shape == std::vector<int64_t>{4, 2, 1, 2, 2});
  CHECK(file->tensors[0].begin % 32 == 0);
  CHECK(file->tensors[1].bytes == 68);
  CHECK(file->tensors[1].type->name == "Q8_0");
}

TEST_CASE("damaged GGUF files are refused") {
  const std::string bytes = fuzz::GgufSeed({{8, {64, 68}}});
  for (size_t n = 4; n < bytes.size() - 32; ++n) CHECK_FALSE(ParseGguf(bytes.substr(0, n), "x.gguf").ok());
  const auto changed = [&](size_t at, uint64_t value, int width) {
    std::string bad = bytes;
    bad.replace(at, static_cast<size_t>(width), fuzz::Little(value, width));
    return ParseGguf(bad, "x.gguf").status();
  };
  CHECK(Message(changed(4, 0x03000000, 4)).find("big-endian") != std::string::npos);
  CHECK(Message(changed(4, 7, 4)).find("version 7") != std::string::npos);
  CHECK_FALSE(changed(8, ~uint64_t{0}, 8).ok());                                          // tensors
  CHECK_FALSE(changed(16, ~uint64_t{0}, 8).ok());                                         // metadata
  CHECK_FALSE(ParseGguf(fuzz::GgufSeed({{8, {33, 34}}}), "x.gguf").ok());                 // no whole block
  CHECK_FALSE(ParseGguf(fuzz::GgufSeed({{77, {32, 34}}}), "x.gguf").ok());                // unknown type
  CHECK_FALSE(ParseGguf(fuzz::GgufSeed({{8, {32, 34}}, {8, {32, 34}}}), "x.gguf").ok());  // a name twice
  CHECK_FALSE(ParseGguf(fuzz::GgufSeed({{0, {uint64_t{1} << 61, 4}}}), "x.gguf").ok());   // its size overflows
}

}  // namespace
}  // namespace atelier
