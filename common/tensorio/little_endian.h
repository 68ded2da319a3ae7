// Numbers of little-endian files, with a check of the bounds.
#pragma once

#include <cstdint>
#include <string_view>

namespace atelier {

/// Reading past the end gives 0 and sets `bad`.
struct LittleEndian {
  std::string_view bytes;
  bool bad = false;

  /// The number of `width` <= 8 bytes at `at`.
  uint64_t Number(uint64_t at, size_t width) {
    if (at > bytes.size() || width > bytes.size() - at) {
      bad = true;
      return 0;
    }
    uint64_t v = 0;
    for (size_t i = width; i-- > 0;) v = (v << 8) | static_cast<unsigned char>(bytes[at + i]);
    return v;
  }
};

}  // namespace atelier
