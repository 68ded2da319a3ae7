// Unigram tokenizers as sentencepiece defines them: text to the ids of the most likely pieces. T5's own vocabulary is
// part of the binary; UMT5's comes out of its checkpoint. Source: spec engine.md 9.1, extras.md "UMT5 tokenizer".
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/base/status.h"

namespace atelier::text {

/// A unigram model. Thread: const any.
class UnigramTokenizer {
 public:
  /// Kinds of pieces, numbered as sentencepiece does.
  enum class Kind { kNormal = 1, kUnknown = 2, kControl = 3, kUser = 4, kUnused = 5, kByte = 6 };
  struct Piece {
    std::string text;
    float score = 0;
    Kind kind = Kind::kNormal;
  };
  struct Model {
    std::vector<Piece> pieces;  // index = id
    std::string charsmap;       // sentencepiece's precompiled normalisation table, or empty
    bool byte_fallback = false;
    bool add_dummy_prefix = true;
    bool remove_extra_whitespace = true;
  };

  /// Reads a sentencepiece model file (protocol buffer bytes), as the tensor "spiece_model" of UMT5 holds it. Errors:
  /// INVALID_ARGUMENT for damaged bytes, more than limits or a model that is not unigram.
  static StatusOr<Model> ReadModel(std::string_view bytes);
  /// Errors: INVALID_ARGUMENT for a model without pieces or unknown piece, or with a damaged table.
  static StatusOr<std::shared_ptr<const UnigramTokenizer>> Build(Model model);
  /// T5's own: words are encoded one by one, "</s>" and its kin in the text become those tokens.
  static const UnigramTokenizer& T5();

  /// Ids without an end token. Broken UTF-8 becomes U+FFFD.
  std::vector<int64_t> Encode(std::string_view text) const;
  int64_t size() const { return static_cast<int64_t>(model_.pieces.size()); }

 private:
  UnigramTokenizer() = default;
  // The replacement for the longest (or, as the fast T5 tokenizer has it, the shortest) prefix that the table knows.
  bool Lookup(std::string_view text, bool shortest, size_t* length, std::string_view* replacement) const;
  size_t UserPiece(std::string_view text) const;  // bytes of the longest user-defined piece that `text` starts with
  std::string Normalise(std::string_view text) const;
  void EncodeNormal(std::string_view normal, std::vector<int64_t>& ids) const;
  void EncodeWords(std::string_view text, std::vector<int64_t>& ids) const;  // T5's way

  Model model_;
  std::unordered_map<std::string_view, int64_t> by_text_;       // pieces that text can become
  std::vector<std::pair<std::string_view, int64_t>> specials_;  // cut out of the text first (T5)
  std::vector<std::string_view> user_;
  std::vector<int64_t> byte_ids_;  // 256, or empty
  std::string_view trie_, replacements_;
  size_t piece_bytes_max_ = 0;
  int64_t unknown_ = 0;
  float unknown_score_ = 0, max_score_ = 0;
  bool words_ = false;
};

}  // namespace atelier::text
