#include "common/image/png_text.h"

#include <zlib.h>

#include <array>
#include <optional>

#include "common/base/limits.h"
#include "common/image/exif.h"

namespace atelier {
namespace {

using image_internal::BigEndian32;
using image_internal::kPngSignature;

constexpr size_t kChunkFrame = 12;  // length, type, checksum
constexpr size_t kHeaderEnd = 33;   // signature and IHDR
constexpr size_t kTextsMax = 4096;  // chunks of text in one file

uint32_t Crc(std::string_view bytes) {
  return static_cast<uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size())));
}

Status CheckPng(std::string_view bytes) {
  if (bytes.substr(0, 8) != kPngSignature) return InvalidArgument("not a png file");
  if (bytes.size() < kHeaderEnd || BigEndian32(bytes, 8) != 13 || bytes.substr(12, 4) != "IHDR") {
    return InvalidArgument("png file has no header, it is cut or damaged");
  }
  return OkStatus();
}

// Calls `use` with each code point of UTF-8, read strictly (no overlong forms, no surrogates). False when it is not
// UTF-8.
template <typename F>
bool ForEachCodePoint(std::string_view text, F use) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    size_t more = 0;
    char32_t value = lead;
    if (lead >= 0x80) {
      if (lead >= 0xC2 && lead <= 0xDF) more = 1;
      if (lead >= 0xE0 && lead <= 0xEF) more = 2;
      if (lead >= 0xF0 && lead <= 0xF4) more = 3;
      if (more == 0 || more >= text.size() - i) return false;
      value = lead & (0x3FU >> more);
      for (size_t k = 1; k <= more; ++k) {
        const auto next = static_cast<unsigned char>(text[i + k]);
        if ((next & 0xC0U) != 0x80U) return false;
        value = value << 6 | (next & 0x3FU);
      }
      if ((more == 2 && (value < 0x800 || (value >= 0xD800 && value < 0xE000))) ||
          (more == 3 && (value < 0x10000 || value > 0x10FFFF))) {
        return false;
      }
    }
    use(value);
    i += more + 1;
  }
  return true;
}

bool IsUtf8(std::string_view text) {
  return ForEachCodePoint(text, [](char32_t) {});
}

std::optional<std::string> ToLatin1(std::string_view utf8) {
  std::string out;
  out.reserve(utf8.size());
  bool fits = true;
  const bool valid = ForEachCodePoint(utf8, [&out, &fits](char32_t c) {
    fits = fits && c <= 0xFF;
    out.push_back(static_cast<char>(static_cast<unsigned char>(c & 0xFF)));
  });
  if (!valid || !fits) return std::nullopt;
  return out;
}

std::string FromLatin1OrUtf8(std::string_view text) {
  if (IsUtf8(text)) return std::string(text);
  std::string out;
  out.reserve(text.size() * 2);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      out.push_back(c);
    } else {
      out.push_back(static_cast<char>(0xC0 | byte >> 6));
      out.push_back(static_cast<char>(0x80 | (byte & 0x3F)));
    }
  }
  return out;
}

StatusOr<std::string> Inflate(std::string_view bytes, int64_t most) {
  z_stream stream{};
  if (inflateInit(&stream) != Z_OK) return ResourceExhausted("no memory to unpack png text");
  // zlib's interface wants a pointer to non-const and does not write.
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  std::string out;
  std::array<char, 16384> buffer;
  int result = Z_OK;
  while (result == Z_OK) {
    stream.next_out = reinterpret_cast<Bytef*>(buffer.data());
    stream.avail_out = buffer.size();
    result = inflate(&stream, Z_NO_FLUSH);
    out.append(buffer.data(), buffer.size() - stream.avail_out);
    if (static_cast<int64_t>(out.size()) > most) break;
  }
  inflateEnd(&stream);
  if (static_cast<int64_t>(out.size()) > most) {
    return ResourceExhausted("png text unpacks to more than the limit of ", limits::kJsonBytesMax, " bytes");
  }
  if (result != Z_STREAM_END) return InvalidArgument("packed png text is damaged");
  return out;
}

// Takes what stands before the next NUL off `bytes`.
StatusOr<std::string_view> TakeField(std::string_view* bytes) {
  const size_t end = bytes->find('\0');
  if (end == std::string_view::npos) return InvalidArgument("png text has no key");
  const std::string_view field = bytes->substr(0, end);
  bytes->remove_prefix(end + 1);
  return field;
}

StatusOr<std::pair<std::string, std::string>> ParseText(std::string_view type, std::string_view body, int64_t most) {
  ASSIGN_OR_RETURN(const std::string_view key, TakeField(&body));
  bool packed = false;
  if (type == "zTXt") {
    if (body.empty() || body[0] != 0) return InvalidArgument("packed png text is of an unknown kind");
    body.remove_prefix(1);
    packed = true;
  } else if (type == "iTXt") {
    if (body.size() < 2 || (body[0] != 0 && (body[0] != 1 || body[1] != 0))) {
      return InvalidArgument("international png text is of an unknown kind");
    }
    packed = body[0] == 1;
    body.remove_prefix(2);
    RETURN_IF_ERROR(TakeField(&body).status());  // language
    RETURN_IF_ERROR(TakeField(&body).status());  // translated key
  }
  std::string text(packed ? std::string_view() : body);
  if (packed) {
    ASSIGN_OR_RETURN(text, Inflate(body, most));
  }
  return std::make_pair(FromLatin1OrUtf8(key), FromLatin1OrUtf8(text));
}

void AppendBigEndian32(uint32_t value, std::string* out) {
  for (int shift = 24; shift >= 0; shift -= 8) out->push_back(static_cast<char>(value >> shift & 0xFFU));
}

void AppendChunk(std::string_view type, std::string_view body, std::string* out) {
  AppendBigEndian32(static_cast<uint32_t>(body.size()), out);
  const size_t start = out->size();
  out->append(type);
  out->append(body);
  AppendBigEndian32(Crc(std::string_view(*out).substr(start)), out);
}

}  // namespace

StatusOr<TextPairs> ReadPngText(std::string_view bytes) {
  RETURN_IF_ERROR(CheckPng(bytes));
  TextPairs texts;
  int64_t total = 0;
  for (size_t at = kPngSignature.size(); at + kChunkFrame <= bytes.size();) {
    const size_t length = BigEndian32(bytes, at);
    if (length > bytes.size() - at - kChunkFrame) break;
    const std::string_view type = bytes.substr(at + 4, 4);
    if (type == "IEND") break;
    if (type == "tEXt" || type == "zTXt" || type == "iTXt" || type == "comf") {
      if (static_cast<int64_t>(length) > limits::kJsonBytesMax || texts.size() >= kTextsMax) {
        return ResourceExhausted("png file carries more text than the limits of ", limits::kJsonBytesMax, " bytes and ",
                                 kTextsMax, " texts");
      }
      if (Crc(bytes.substr(at + 4, length + 4)) != BigEndian32(bytes, at + 8 + length)) {
        return InvalidArgument("png text chunk '", type, "' at byte ", at,
                               " has a wrong checksum, the file is damaged");
      }
      ASSIGN_OR_RETURN(auto pair, ParseText(type, bytes.substr(at + 8, length), limits::kJsonBytesMax - total));
      total += static_cast<int64_t>(pair.first.size() + pair.second.size());
      if (total > limits::kJsonBytesMax) {
        return ResourceExhausted("png file carries more than the limit of ", limits::kJsonBytesMax, " bytes of text");
      }
      texts.push_back(std::move(pair));
    }
    at += kChunkFrame + length;
  }
  return texts;
}

StatusOr<TextPairs> ReadImageText(std::string_view bytes) {
  if (bytes.substr(0, 8) == kPngSignature) return ReadPngText(bytes);
  const bool webp = bytes.substr(0, 4) == "RIFF" && bytes.size() >= 12 && bytes.substr(8, 4) == "WEBP";
  if (!webp && bytes.substr(0, 3) != "\xFF\xD8\xFF") return InvalidArgument("not a png, jpeg or webp file");
  TextPairs texts;
  for (const auto& field : image_internal::ParseExif(image_internal::FindExif(bytes)).texts) {
    const size_t colon = field.text.find(':');
    if (colon == std::string::npos || colon == 0) continue;
    texts.emplace_back(FromLatin1OrUtf8(field.text.substr(0, colon)), FromLatin1OrUtf8(field.text.substr(colon + 1)));
  }
  return texts;
}

StatusOr<std::string> InsertPngText(std::string_view bytes, const TextPairs& texts) {
  RETURN_IF_ERROR(CheckPng(bytes));
  std::string chunks;
  for (const auto& [key, text] : texts) {
    if (static_cast<int64_t>(chunks.size() + key.size() + text.size()) > limits::kJsonBytesMax) {
      return ResourceExhausted("text for a png file is larger than the limit of ", limits::kJsonBytesMax, " bytes");
    }
    const auto key_bytes = ToLatin1(key);
    if (!key_bytes || key_bytes->empty() || key_bytes->size() > 79 || key_bytes->find('\0') != std::string::npos) {
      return InvalidArgument("png text key '", key.substr(0, 100), "' is not 1 to 79 characters of latin-1");
    }
    if (text.find('\0') != std::string::npos || !IsUtf8(text)) {
      return InvalidArgument("png text '", key, "' is not utf-8 without zero bytes");
    }
    const auto latin = ToLatin1(text);
    // Latin-1 that reads as other UTF-8 would come back as that.
    if (latin && (*latin == text || !IsUtf8(*latin))) {
      AppendChunk("tEXt", *key_bytes + '\0' + *latin, &chunks);
    } else {
      // Not packed, no language, no translated key.
      AppendChunk("iTXt", *key_bytes + std::string(5, '\0') + text, &chunks);
    }
  }
  std::string out;
  out.reserve(bytes.size() + chunks.size());
  out.append(bytes.substr(0, kHeaderEnd)).append(chunks).append(bytes.substr(kHeaderEnd));
  return out;
}

}  // namespace atelier
