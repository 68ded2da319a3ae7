// The tokenizer that a GGUF text encoder carries in its metadata. Source: spec extras.md 3.5.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "common/tensorio/gguf.h"

namespace atelier::engine {

/// The sentencepiece model (protocol buffer bytes) of UMT5: pieces, scores and kinds as the file lists them, unigram
/// with byte fallback, without a normalisation table. Nothing when the file lists none. Errors: INVALID_ARGUMENT,
/// naming `file`, for lists that do not fit together or a tokenizer of another kind.
StatusOr<std::optional<std::string>> SentencepieceModelOf(const GgufFile& gguf, std::string_view file);

}  // namespace atelier::engine
