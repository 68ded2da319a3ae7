#include "common/tensorio/safetensors.h"

#include <catch2/catch.hpp>
#include <cstdio>
#include <fstream>

namespace atelier {
namespace {

std::string File(std::string_view header, std::string_view data) {
  std::string out;
  for (int i = 0; i < 8; ++i) out.push_back(static_cast<char>((header.size() >> (8 * i)) & 0xFF));
  return out + std::string(header) + std::string(data);
}
StatusCode CodeOf(std::string_view header, std::string_view data) {
  return ParseSafetensors(File(header, data)).status().code();
}

TEST_CASE("what is written is read back, with metadata") {
  const std::string f32(24, '\1'), f16(6, '\2');
  const std::string bytes = WriteSafetensors(
      {{"b", DType::kF32, {2, 3}, f32}, {"a\"\n\xC3\xA9", DType::kF16, {3}, f16}, {"z", DType::kI64, {0, 4}, ""}},
      {{"prompt", "{\"1\": \"\xC3\xA4\\\"}"}, {"empty", ""}});
  auto view = ParseSafetensors(bytes);
  REQUIRE(view.ok());
  CHECK(view->tensors().size() == 3);
  const TensorInfo* a = view->Find("a\"\n\xC3\xA9");
  REQUIRE(a != nullptr);
  CHECK(a->dtype == DType::kF16);
  CHECK(a->shape == std::vector<int64_t>{3});
  CHECK(view->Data(*a) == f16);
  CHECK(view->Data(*view->Find("b")) == f32);
  CHECK(view->Find("z")->elements() == 0);
  CHECK(view->metadata().find("prompt")->second == "{\"1\": \"\xC3\xA4\\\"}");
  CHECK(view->metadata().find("empty")->second.empty());
  CHECK(view->Find("none") == nullptr);

  auto more = AddSafetensorsMetadata(bytes, {{"workflow", "w"}, {"empty", "no"}});
  REQUIRE(more.ok());
  auto again = ParseSafetensors(*more);
  REQUIRE(again.ok());
  CHECK(again->metadata().size() == 3);
  CHECK(again->metadata().find("empty")->second == "no");
  CHECK(again->Data(*again->Find("b")) == f32);
  CHECK(again->Find("b")->begin == 0);
}

TEST_CASE("escapes of a header are resolved") {
  auto view = ParseSafetensors(
      File(R"({"__metadata__":{"k":"\u00e4\ud83d\ude00\/\t"}, "t" : {"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
           "x"));
  REQUIRE(view.ok());
  CHECK(view->metadata().find("k")->second == "\xC3\xA4\xF0\x9F\x98\x80/\t");
}

TEST_CASE("damaged files are refused with the tensor's name") {
  const std::string one = R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  REQUIRE(ParseSafetensors(File(one, "12345678")).ok());
  CHECK(ParseSafetensors("").status().code() == StatusCode::kDataLoss);
  CHECK(ParseSafetensors("1234567").status().code() == StatusCode::kDataLoss);
  CHECK(CodeOf(one, "1234567") == StatusCode::kDataLoss);    // cut off
  CHECK(CodeOf(one, "123456789") == StatusCode::kDataLoss);  // longer
  const struct {
    const char* header;
    const char* word;
  } cases[] = {
      {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
       "twice"},
      {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"u":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
       "overlap"},
      {R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", "gap"},
      {R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}})", "gap"},
      {R"({"t":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", "size of its shape"},
      {R"({"t":{"dtype":"F32","shape":[4611686018427387904,4,2],"data_offsets":[0,0]}})", "size of its shape"},
      {R"({"t":{"dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,8]}})", "2^64"},
      {R"({"t":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", "whole number"},
      {R"({"t":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}})", "element type"},
      {R"({"t":{"dtype":"F32","shape":[2]}})", "needs dtype"},
      {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})", "unexpected key"},
      {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0]}})", "2 numbers"},
      {R"({"__metadata__":{"a":1}})", "string"},
      {R"({"t")", "expected"},
      {R"([])", "expected"},
      {R"({} x)", "after its end"},
  };
  for (const auto& c : cases) {
    const Status status = ParseSafetensors(File(c.header, "12345678"), "m.safetensors").status();
    INFO(c.header << " -> " << status.ToString());
    CHECK(status.code() == StatusCode::kInvalidArgument);
    CHECK(Message(status).find(c.word) != std::string::npos);
    CHECK(Message(status).find("m.safetensors") != std::string::npos);
  }
  // Header length beyond the bound and beyond the file.
  CHECK(ParseSafetensors(std::string(16, '\xFF')).status().code() == StatusCode::kInvalidArgument);
  CHECK(ParseSafetensors(std::string("\x10\0\0\0\0\0\0\0{}", 10)).status().code() == StatusCode::kDataLoss);
}

TEST_CASE("every truncation of a file is an error, never a crash") {
  const std::string bytes =
      WriteSafetensors({{"a", DType::kF32, {2}, "12345678"}, {"b", DType::kU8, {3}, "abc"}}, {{"k", "v"}});
  REQUIRE(ParseSafetensors(bytes).ok());
  for (size_t n = 0; n < bytes.size(); ++n) CHECK_FALSE(ParseSafetensors(std::string_view(bytes).substr(0, n)).ok());
}

TEST_CASE("a mapped file") {
  const std::string path = "/tmp/atelier_tensorio_test.safetensors";
  {
    std::ofstream out(path, std::ios::binary);
    out << WriteSafetensors({{"a", DType::kU8, {3}, "abc"}}, {});
  }
  auto file = SafetensorsFile::Open(path);
  REQUIRE(file.ok());
  CHECK((*file)->name() == "atelier_tensorio_test.safetensors");
  const std::string_view bytes = (*file)->view().Data(*(*file)->view().Find("a"));
  CHECK(bytes == "abc");
  CHECK(MappedFile::GiveBack(bytes));
  CHECK(bytes == "abc");
  std::remove(path.c_str());
  CHECK(SafetensorsFile::Open(path).status().code() == StatusCode::kNotFound);
  CHECK(SafetensorsFile::Open("/tmp").status().code() == StatusCode::kNotFound);
}

TEST_CASE("names and sizes of element types") {
  for (const char* name : {"BOOL", "U8", "F8_E4M3", "F8_E5M2", "F16", "BF16", "I32", "F32", "I64", "F64"}) {
    auto dtype = DTypeFromName(name);
    REQUIRE(dtype.ok());
    CHECK(DTypeName(*dtype) == name);
  }
  CHECK(DTypeBytes(DType::kBF16) == 2);
  CHECK_FALSE(DTypeFromName("f32").ok());
}

}  // namespace
}  // namespace atelier
