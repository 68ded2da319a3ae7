#include <algorithm>

#include "common/base/check.h"
#include "common/tensorio/gguf.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/seeds.h"

namespace atelier::fuzz {

std::vector<std::string> Seeds() {
  return {GgufSeed({{8, {32, 34}}, {12, {256, 144}}, {30, {3, 6}}, {1, {5, 10}}}),
          GgufSeed({{2, {32, 18}}, {3, {32, 20}}, {6, {32, 22}}, {7, {32, 24}}, {20, {32, 18}}}),
          GgufSeed({{10, {256, 84}}, {11, {256, 110}}, {13, {256, 176}}, {14, {256, 210}}, {23, {256, 136}}})};
}

}  // namespace atelier::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto file = atelier::ParseGguf(bytes, "fuzz.gguf");
  if (!file.ok()) return 0;
  std::vector<float> values;
  for (const atelier::GgufTensor& tensor : file->tensors) {
    ATELIER_CHECK(tensor.begin <= size && tensor.bytes <= size - tensor.begin);
    if (!tensor.type->readable) continue;
    const int64_t blocks = std::min<int64_t>(static_cast<int64_t>(tensor.bytes) / tensor.type->block_bytes, 64);
    values.resize(static_cast<size_t>(blocks * tensor.type->block_elements));
    for (const auto precision :
         {atelier::GgufPrecision::kHalf, atelier::GgufPrecision::kBFloat16, atelier::GgufPrecision::kFloat}) {
      atelier::DecodeGgufBlocks(*tensor.type, data + tensor.begin, blocks, precision, values.data());
    }
  }
  return 0;
}
