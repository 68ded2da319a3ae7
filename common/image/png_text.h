// Text that pictures carry beside their pixels: how workflows travel in files. Source: spec engine.md 11.2.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"

namespace atelier {

using TextPairs = std::vector<std::pair<std::string, std::string>>;  // key, text; UTF-8

/// The texts of a PNG file in file order: tEXt, zTXt, iTXt, and the chunks "comf" of SaveAnimatedPNG. Bytes that are
/// UTF-8 are taken as such (editors write them), others as Latin-1. A file that ends early gives the texts before its
/// end. Errors: INVALID_ARGUMENT (no PNG, a text chunk with a wrong checksum or form), RESOURCE_EXHAUSTED (more than
/// limits::kJsonBytesMax bytes of text). Thread: any.
StatusOr<TextPairs> ReadPngText(std::string_view bytes);

/// The texts of a PNG, or of the EXIF fields "key:text" of a WebP or JPEG (SaveAnimatedWEBP). Errors: ReadPngText's;
/// INVALID_ARGUMENT for any other file. Thread: any.
StatusOr<TextPairs> ReadImageText(std::string_view bytes);

/// The PNG file with one chunk for each pair, in order, right after IHDR; all else stays byte by byte. Texts whose
/// characters are all in Latin-1 become tEXt, others iTXt. Errors: INVALID_ARGUMENT (no PNG; a key that is not 1 to 79
/// bytes of Latin-1; text that is not UTF-8 or holds a NUL), RESOURCE_EXHAUSTED (as ReadPngText). Thread: any.
StatusOr<std::string> InsertPngText(std::string_view bytes, const TextPairs& texts);

}  // namespace atelier
