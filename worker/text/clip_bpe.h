// CLIP's byte pair encoder: text to the ids 0..49405, as the slow tokenizer of transformers 4 without ftfy gives them.
// Source: spec engine.md 4.3.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace atelier::text {

inline constexpr int64_t kClipStart = 49406;
inline constexpr int64_t kClipEnd = 49407;
inline constexpr int64_t kClipVocabulary = 49408;

/// Ids of `text` (UTF-8; broken bytes are dropped) without start and end; the literals <|startoftext|> and
/// <|endoftext|> become those tokens. Thread: any.
std::vector<int64_t> ClipEncode(std::string_view text);

}  // namespace atelier::text
