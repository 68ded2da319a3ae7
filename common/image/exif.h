// Private to common/image: the few EXIF fields that matter here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace atelier::image_internal {

struct ExifText {
  int tag = 0;
  std::string text;
};

struct Exif {
  int orientation = 1;          // 1 to 8
  std::vector<ExifText> texts;  // ASCII fields of the first directory, in file order
};

/// Reads the first directory of a TIFF block (with or without "Exif\0\0" before it). Whatever is damaged is left out;
/// never fails, never reads outside `bytes`. Thread: any.
Exif ParseExif(std::string_view bytes);

/// The EXIF block of a PNG, JPEG or WebP file; empty when there is none. Points into `file`. Thread: any.
std::string_view FindExif(std::string_view file);

/// Unsigned numbers at `offset`. REQUIRES: they lie inside `bytes`.
uint32_t BigEndian32(std::string_view bytes, size_t offset);
uint32_t LittleEndian32(std::string_view bytes, size_t offset);

inline constexpr std::string_view kPngSignature{"\x89PNG\r\n\x1a\n", 8};

}  // namespace atelier::image_internal
