#include "common/image/exif.h"

#include "common/base/limits.h"

namespace atelier::image_internal {
namespace {

constexpr int kOrientationTag = 0x0112;
constexpr int kAsciiType = 2;
constexpr int kShortType = 3;

uint32_t Byte(std::string_view bytes, size_t offset) { return static_cast<unsigned char>(bytes[offset]); }

std::string_view ExifOfJpeg(std::string_view file) {
  size_t at = 2;
  while (at + 4 <= file.size() && Byte(file, at) == 0xFF) {
    const uint32_t marker = Byte(file, at + 1);
    if (marker == 0xFF) {  // fill byte
      ++at;
      continue;
    }
    if (marker == 0xD9 || marker == 0xDA) break;
    if (marker == 0x01 || (marker >= 0xD0 && marker <= 0xD8)) {  // stands alone
      at += 2;
      continue;
    }
    const size_t length = Byte(file, at + 2) << 8 | Byte(file, at + 3);
    if (length < 2 || length > file.size() - at - 2) break;
    const std::string_view body = file.substr(at + 4, length - 2);
    if (marker == 0xE1 && body.substr(0, 6) == std::string_view("Exif\0\0", 6)) return body;
    at += 2 + length;
  }
  return {};
}

std::string_view ExifOfPng(std::string_view file) {
  for (size_t at = kPngSignature.size(); at + 12 <= file.size();) {
    const size_t length = BigEndian32(file, at);
    if (length > file.size() - at - 12) break;
    if (file.substr(at + 4, 4) == "eXIf") return file.substr(at + 8, length);
    at += 12 + length;
  }
  return {};
}

std::string_view ExifOfWebp(std::string_view file) {
  for (size_t at = 12; at + 8 <= file.size();) {
    const size_t length = LittleEndian32(file, at + 4);
    if (length > file.size() - at - 8) break;
    if (file.substr(at, 4) == "EXIF") return file.substr(at + 8, length);
    at += 8 + length + length % 2;
  }
  return {};
}

}  // namespace

uint32_t BigEndian32(std::string_view bytes, size_t offset) {
  return Byte(bytes, offset) << 24 | Byte(bytes, offset + 1) << 16 | Byte(bytes, offset + 2) << 8 |
         Byte(bytes, offset + 3);
}

uint32_t LittleEndian32(std::string_view bytes, size_t offset) {
  return Byte(bytes, offset + 3) << 24 | Byte(bytes, offset + 2) << 16 | Byte(bytes, offset + 1) << 8 |
         Byte(bytes, offset);
}

std::string_view FindExif(std::string_view file) {
  if (file.substr(0, 8) == kPngSignature) return ExifOfPng(file);
  if (file.substr(0, 2) == "\xFF\xD8") return ExifOfJpeg(file);
  if (file.substr(0, 4) == "RIFF" && file.size() >= 12 && file.substr(8, 4) == "WEBP") return ExifOfWebp(file);
  return {};
}

Exif ParseExif(std::string_view bytes) {
  Exif exif;
  if (bytes.substr(0, 6) == std::string_view("Exif\0\0", 6)) bytes.remove_prefix(6);
  if (bytes.size() < 8) return exif;
  const bool little = bytes.substr(0, 2) == "II";
  if (!little && bytes.substr(0, 2) != "MM") return exif;
  const auto u16 = [&](size_t at) {
    return little ? Byte(bytes, at) | Byte(bytes, at + 1) << 8 : Byte(bytes, at) << 8 | Byte(bytes, at + 1);
  };
  const auto u32 = [&](size_t at) -> size_t { return little ? LittleEndian32(bytes, at) : BigEndian32(bytes, at); };
  const size_t directory = u32(4);
  if (directory > bytes.size() || bytes.size() - directory < 2) return exif;
  const size_t entries = u16(directory);
  int64_t text_bytes = 0;
  for (size_t i = 0; i < entries; ++i) {
    const size_t entry = directory + 2 + i * 12;
    if (entry + 12 > bytes.size()) break;
    const uint32_t tag = u16(entry);
    const uint32_t type = u16(entry + 2);
    const size_t count = u32(entry + 4);
    if (tag == kOrientationTag && type == kShortType && count >= 1) {
      const uint32_t value = u16(entry + 8);
      if (value >= 1 && value <= 8) exif.orientation = static_cast<int>(value);
    }
    if (type == kAsciiType) {
      const size_t at = count <= 4 ? entry + 8 : u32(entry + 8);
      if (at > bytes.size() || count > bytes.size() - at) continue;
      std::string_view text = bytes.substr(at, count);
      text = text.substr(0, text.find('\0'));
      text_bytes += static_cast<int64_t>(text.size());  // entries may share bytes, so a small file can name many
      if (text_bytes > limits::kJsonBytesMax) break;
      exif.texts.push_back({static_cast<int>(tag), std::string(text)});
    }
  }
  return exif;
}

}  // namespace atelier::image_internal
