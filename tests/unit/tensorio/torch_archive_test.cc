#include "common/tensorio/torch_archive.h"

#include <catch2/catch.hpp>

#include "tests/fuzz/seeds.h"

namespace atelier {
namespace {

using fuzz::PickleInt;
using fuzz::PickleTensor;
using fuzz::PickleText;
using fuzz::Zip;

std::string ZipOf(const std::string& pickle) {
  return Zip({{"a/data.pkl", pickle}, {"a/data/0", std::string(24, '\1')}, {"a/data/1", std::string(8, '\2')}});
}

std::vector<std::string> Names(const std::vector<ArchiveTensor>& tensors) {
  std::vector<std::string> names;
  for (const ArchiveTensor& tensor : tensors) names.push_back(tensor.name);
  return names;
}

TEST_CASE("both forms of torch.save give the same tensors") {
  for (const std::string& file : {fuzz::TorchZipSeed(), fuzz::TorchLegacySeed()}) {
    REQUIRE(IsTorchArchive(file));
    const auto tensors = ParseTorchArchive(file, "x.pt");
    INFO(tensors.status().ToString());
    REQUIRE(tensors.ok());
    REQUIRE(Names(*tensors) == std::vector<std::string>{"h", "w"});
    const ArchiveTensor &h = (*tensors)[0], &w = (*tensors)[1];
    CHECK(h.dtype == DType::kF16);
    CHECK(w.dtype == DType::kF32);
    CHECK(w.shape == std::vector<int64_t>{2, 3});
    CHECK(w.strides == std::vector<int64_t>{3, 1});
    CHECK(file.substr(w.begin, 4) == fuzz::Little(0x3F800000, 4));
    CHECK(file.substr(h.begin, 8) == std::string(8, '\x3c'));
  }
}

TEST_CASE("weights are taken out of their wrappers") {
  const std::string tensor = PickleTensor("FloatStorage", "0", 6, 2, 3, false);
  const auto names = [&](const std::string& pickle) {
    const auto tensors = ParseTorchArchive(ZipOf("\x80\x02" + pickle + "."), "x.pt");
    INFO(tensors.status().ToString());
    REQUIRE(tensors.ok());
    return Names(*tensors);
  };
  using List = std::vector<std::string>;
  const std::string inner = "}" + PickleText("a.weight") + tensor + "s";
  CHECK(names(inner) == List{"a.weight"});
  CHECK(names("}" + PickleText("params_ema") + inner + "s") == List{"a.weight"});
  CHECK(names("}" + PickleText("anything") + inner + "s") == List{"a.weight"});
  CHECK(names("}" + PickleText("model") + "}" + PickleText("net") + inner + "ss") == List{"a.weight"});
  // An embedding keeps its name, and a list counts.
  CHECK(names("}" + PickleText("string_to_param") + "}" + PickleText("*") + tensor + "ss") ==
        List{"string_to_param.*"});
  CHECK(names("]" + tensor + "a") == List{"0"});
}

TEST_CASE("a pickle that asks for anything but data is refused") {
  const auto refused = [](const std::string& pickle, const std::string& why) {
    const auto tensors = ParseTorchArchive(ZipOf("\x80\x02" + pickle), "x.pt");
    INFO(tensors.status().ToString());
    CHECK(tensors.status().code() == StatusCode::kInvalidArgument);
    CHECK(Message(tensors.status()).find(why) != std::string::npos);
  };
  refused("cos\nsystem\n" + PickleText("id") + "\x85R.", "os system");
  refused("cbuiltins\neval\n.", "builtins eval");
  refused(PickleText("os") + PickleText("system") + "\x93.", "os system");
  refused("ctorch\nload\n.", "torch load");
  refused("ctorch._utils\n_rebuild_tensor_v2\n)R.", "malformed tensor");
  refused("(ios\nsystem\n.", "instruction");                                       // INST
  refused(PickleTensor("FloatStorage", "0", 6, 3, 3, false) + ".", "beyond");      // 9 of 6 elements
  refused(PickleTensor("FloatStorage", "7", 6, 2, 3, false) + ".", "is missing");  // no such storage
  refused("", "end is missing");
  CHECK_FALSE(ParseTorchArchive("\x80\x02}.", "x.pt").ok());
}

TEST_CASE("a list that holds itself ends") {
  const auto tensors = ParseTorchArchive(ZipOf("\x80\x02]q\x01h\x01"
                                               "a."),
                                         "x.pt");
  REQUIRE(tensors.ok());
  CHECK(tensors->empty());
}

TEST_CASE("a safetensors file is not taken for a pickle") {
  // Its length begins with the bytes of a pickle of protocol 2.
  std::string header = "{\"__metadata__\":{\"a\":\"";
  header += std::string(640 - header.size() - 3, 'x') + "\"}}";
  CHECK_FALSE(IsTorchArchive(fuzz::Little(640, 8) + header));
}

TEST_CASE("every truncation and changed byte of an archive is an error or harmless") {
  for (const std::string& file : {fuzz::TorchZipSeed(), fuzz::TorchLegacySeed()}) {
    // The last two bytes of a zip archive are the length of its comment, which is not read.
    for (size_t n = 0; n + 2 < file.size(); ++n) CHECK_FALSE(ParseTorchArchive(file.substr(0, n), "x.pt").ok());
    for (size_t i = 0; i < file.size(); ++i) {
      for (const char flip : {'\x01', '\x80', '\xff'}) {
        std::string bad = file;
        bad[i] = static_cast<char>(bad[i] ^ flip);
        ParseTorchArchive(bad, "x.pt").status().IgnoreError();
      }
    }
  }
}

}  // namespace
}  // namespace atelier
