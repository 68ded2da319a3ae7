// Text in UTF-8.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace atelier {

/// The first `bytes` bytes of UTF-8 text, or up to three fewer, so that no character is cut: messages with half a one
/// are refused as a whole (protobuf). Thread: any.
inline std::string CutUtf8(std::string_view text, size_t bytes) {
  if (text.size() > bytes) {
    while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xC0) == 0x80) --bytes;
    text = text.substr(0, bytes);
  }
  return std::string(text);
}

}  // namespace atelier
