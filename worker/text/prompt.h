// Prompt text to token chunks: the weights grammar, embeddings, chunks of 77. Source: spec engine.md 4.3.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"

namespace atelier::text {

/// Text with its weight.
struct WeightedText {
  std::string text;
  double weight = 1.0;
};

/// Cuts a prompt by the weights grammar: "(a)" is 1.1, "(a:1.3)" is 1.3, "\(" is a plain bracket. Brackets nested
/// deeper than 200 are plain text. Thread: any.
std::vector<WeightedText> ParseWeights(std::string_view prompt);

/// One position of a chunk: a token id, or a row of an embedding (then `embedding` is f32 [D] and id is -1).
struct Token {
  int64_t id = 0;
  at::Tensor embedding;
  double weight = 1.0;
  int64_t word = 0;  // number of its group from 1; 0 for start, end and padding
};

/// The vectors of a named embedding, f32 [n,D], or an undefined tensor when there is none of that name. Errors: a
/// damaged file.
using EmbeddingLookup = std::function<StatusOr<at::Tensor>(const std::string& name)>;

/// How an encoder wants its tokens. The defaults are CLIP's.
struct TokenizerOptions {
  int64_t pad = 49407;                                                     // 0 for CLIP-G, CLIP-H and T5
  EmbeddingLookup embedding;                                               // null: no embeddings
  std::function<std::vector<int64_t>(std::string_view)> encode = nullptr;  // null: ClipEncode
  int64_t start = 49406;                                                   // -1: none
  int64_t end = 49407;
  int64_t chunk = 77;  // 0: one chunk of any length, padded to `length_min`
  int64_t length_min = 0;
};

/// Chunks of exactly `chunk` tokens, at least one. A name that `embedding` does not know is dropped and added to
/// `missing` (may be null). Errors: INVALID_ARGUMENT for "embedding:" without a name or a text beyond
/// limits::kPromptTextBytesMax; those of the lookup. Thread: any.
StatusOr<std::vector<std::vector<Token>>> Tokenize(std::string_view prompt, const TokenizerOptions& options,
                                                   std::vector<std::string>* missing = nullptr);

}  // namespace atelier::text
