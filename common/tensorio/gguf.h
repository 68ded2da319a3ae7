// GGUF, the container of quantised weights: metadata and where each tensor's blocks lie; the values of a block. No
// torch here. Everything is checked against the file's length before it is used. Source: spec extras.md 3.2, 3.3.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace atelier {

/// A metadata value; numbers of every width are widened.
struct GgufValue {
  enum class Kind { kInt, kFloat, kBool, kString, kArray } kind = Kind::kInt;
  int64_t number = 0;     // kInt (u64 as its bits), kBool
  double real = 0;        // kFloat
  std::string_view text;  // kString, of the parsed bytes
  std::vector<GgufValue> items;
};

/// How elements are stored: `block_elements` of them in `block_bytes`.
struct GgufType {
  uint32_t id = 0;
  std::string_view name;
  int64_t block_elements = 1, block_bytes = 0;
  bool readable = false;  // whether values can be made of it
};

/// The type of that id, or null. Thread: any.
const GgufType* FindGgufType(uint32_t id);

struct GgufTensor {
  std::string name;
  const GgufType* type = nullptr;
  std::vector<int64_t> shape;  // slowest dimension first, as torch has it
  uint64_t begin = 0, bytes = 0;
};

/// The parsed header; texts point into the bytes it was parsed from.
struct GgufFile {
  std::map<std::string, GgufValue, std::less<>> metadata;
  std::vector<GgufTensor> tensors;

  /// A string of the metadata, or "".
  std::string_view Text(std::string_view key) const;
  /// A value of the metadata, or null.
  const GgufValue* Find(std::string_view key) const;
};

/// Whether the file begins as one. Thread: any.
bool IsGguf(std::string_view bytes);

/// Checks `bytes` as a whole file; every tensor lies inside. `file` names them in errors. Errors: DATA_LOSS when the
/// file is cut off; INVALID_ARGUMENT for what is malformed or of an unknown kind, naming tensor or key. Thread: any.
StatusOr<GgufFile> ParseGguf(std::string_view bytes, std::string_view file);

/// In which precision values are computed: every product and sum is rounded to it. Source: spec extras.md 3.3.
enum class GgufPrecision { kHalf, kBFloat16, kFloat };

/// The values of `count` whole blocks. REQUIRES: type.readable; out holds count * block_elements. Thread: any.
void DecodeGgufBlocks(const GgufType& type, const unsigned char* blocks, int64_t count, GgufPrecision precision,
                      float* out);

}  // namespace atelier
