#include "worker/text/prompt.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "common/base/limits.h"
#include "worker/text/clip_bpe.h"

namespace atelier::text {
namespace {

constexpr size_t kSplitGroup = 8;  // a group of that many tokens may be cut; a smaller one moves as a whole
constexpr int kBracketDepthMax = 200;
constexpr std::string_view kEmbedding = "embedding:";

bool IsAsciiSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r') || (c >= '\x1c' && c <= '\x1f'); }

std::string_view Strip(std::string_view text) {
  while (!text.empty() && IsAsciiSpace(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsAsciiSpace(text.back())) text.remove_suffix(1);
  return text;
}

// Python's float(): spaces around, underscores between digits, inf and nan in any case; no hexadecimal.
std::optional<double> ParseFloat(std::string_view text) {
  text = Strip(text);
  std::string clean;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto is_digit = [&](size_t k) { return k < text.size() && text[k] >= '0' && text[k] <= '9'; };
    if (text[i] == '_') {
      if (i == 0 || !is_digit(i - 1) || !is_digit(i + 1)) return std::nullopt;
      continue;
    }
    clean.push_back(text[i] >= 'A' && text[i] <= 'Z' ? static_cast<char>(text[i] + 32) : text[i]);
  }
  bool negative = false;
  std::string_view digits = clean;
  if (!digits.empty() && (digits[0] == '+' || digits[0] == '-')) {
    negative = digits[0] == '-';
    digits.remove_prefix(1);
  }
  if (digits.empty() || digits[0] == '+' || digits[0] == '-') return std::nullopt;
  const bool word = digits == "inf" || digits == "infinity" || digits == "nan";
  if (!word && digits.find_first_not_of("0123456789.e+-") != std::string_view::npos) return std::nullopt;
  double value = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (parsed.ptr != digits.data() + digits.size()) return std::nullopt;
  if (parsed.ec == std::errc::result_out_of_range) {
    // Python gives inf or 0 here.
    const size_t e = digits.find('e');
    value =
        e != std::string_view::npos && digits.substr(e + 1, 1) == "-" ? 0.0 : std::numeric_limits<double>::infinity();
  } else if (parsed.ec != std::errc()) {
    return std::nullopt;
  }
  return negative ? -value : value;
}

// Escaped brackets as two bytes that do not occur otherwise, so that the grammar does not see them.
std::string Escape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size() && (text[i + 1] == '(' || text[i + 1] == ')')) {
      out.push_back('\0');
      out.push_back(text[++i] == ')' ? '\1' : '\2');
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

std::string Unescape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\0' && i + 1 < text.size() && (text[i + 1] == '\1' || text[i + 1] == '\2')) {
      out.push_back(text[++i] == '\1' ? ')' : '(');
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

// Top-level pieces: text outside brackets, and bracket groups with their brackets.
std::vector<std::string_view> SplitBrackets(std::string_view text) {
  std::vector<std::string_view> pieces;
  size_t from = 0;
  int64_t depth = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '(') {
      if (depth == 0) {
        if (i > from) pieces.push_back(text.substr(from, i - from));
        from = i;
      }
      ++depth;
    } else if (text[i] == ')') {
      --depth;
      if (depth == 0) {
        pieces.push_back(text.substr(from, i + 1 - from));
        from = i + 1;
      }
    }
  }
  if (from < text.size()) pieces.push_back(text.substr(from));
  return pieces;
}

void ParsePieces(std::string_view text, double weight, int depth, std::vector<WeightedText>& out) {
  for (const std::string_view piece : SplitBrackets(text)) {
    if (piece.size() < 2 || piece.front() != '(' || piece.back() != ')' || depth >= kBracketDepthMax) {
      out.push_back({Unescape(piece), weight});
      continue;
    }
    std::string_view inner = piece.substr(1, piece.size() - 2);
    double inner_weight = weight * 1.1;
    const size_t colon = inner.rfind(':');
    if (colon != std::string_view::npos && colon > 0) {
      if (const std::optional<double> number = ParseFloat(inner.substr(colon + 1))) {
        inner_weight = *number;
        inner = inner.substr(0, colon);
      }
    }
    ParsePieces(inner, inner_weight, depth + 1, out);
  }
}

// Cuts where a space or newline stands directly before "embedding:"; that character goes.
std::vector<std::string> SplitEmbeddings(const std::string& text) {
  std::vector<std::string> pieces;
  size_t from = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if ((text[i] == ' ' || text[i] == '\n') && std::string_view(text).substr(i + 1, kEmbedding.size()) == kEmbedding) {
      if (i > from) pieces.push_back(text.substr(from, i - from));
      from = i + 1;
    }
  }
  if (from < text.size()) pieces.push_back(text.substr(from));
  return pieces;
}

struct EmbeddingWord {
  std::string name, rest;
};

StatusOr<EmbeddingWord> CutEmbedding(std::string_view piece) {
  piece.remove_prefix(kEmbedding.size());
  while (!piece.empty() && piece.front() == '\n') piece.remove_prefix(1);
  while (!piece.empty() && piece.back() == '\n') piece.remove_suffix(1);
  std::vector<std::string_view> words;
  for (size_t i = 0; i < piece.size();) {
    while (i < piece.size() && IsAsciiSpace(piece[i])) ++i;
    size_t end = i;
    while (end < piece.size() && !IsAsciiSpace(piece[end])) ++end;
    if (end > i) words.push_back(piece.substr(i, end - i));
    i = end;
  }
  if (words.empty()) return InvalidArgument("\"embedding:\" in the prompt has no name after it");
  EmbeddingWord word{std::string(words[0]), ""};
  for (size_t i = 1; i < words.size(); ++i) word.rest += (i > 1 ? " " : "") + std::string(words[i]);
  return word;
}

}  // namespace

std::vector<WeightedText> ParseWeights(std::string_view prompt) {
  std::vector<WeightedText> out;
  ParsePieces(Escape(prompt), 1.0, 0, out);
  return out;
}

StatusOr<std::vector<std::vector<Token>>> Tokenize(std::string_view prompt, const TokenizerOptions& options,
                                                   std::vector<std::string>* missing) {
  if (prompt.size() > static_cast<size_t>(limits::kPromptTextBytesMax)) {
    return InvalidArgument("a prompt of ", prompt.size(), " bytes is longer than the limit of ",
                           limits::kPromptTextBytesMax);
  }
  std::vector<std::vector<Token>> groups;
  for (const WeightedText& segment : ParseWeights(prompt)) {
    for (std::string piece : SplitEmbeddings(segment.text)) {
      if (options.embedding != nullptr && piece.starts_with(kEmbedding)) {
        ASSIGN_OR_RETURN(EmbeddingWord word, CutEmbedding(piece));
        ASSIGN_OR_RETURN(at::Tensor vectors, options.embedding(word.name));
        if (!vectors.defined()) {
          // "embedding:name," is written often: the comma is not part of the name.
          const size_t first = word.name.find_first_not_of(','), last = word.name.find_last_not_of(',');
          const std::string bare = first == std::string::npos ? "" : word.name.substr(first, last + 1 - first);
          if (bare.size() < word.name.size()) {
            if (!bare.empty()) {
              ASSIGN_OR_RETURN(vectors, options.embedding(bare));
            }
            word.rest = word.name.substr(bare.size()) + (word.rest.empty() ? "" : " " + word.rest);
          }
        }
        if (vectors.defined()) {
          std::vector<Token> group;
          for (int64_t row = 0; row < vectors.size(0); ++row) group.push_back({-1, vectors[row], segment.weight, 0});
          groups.push_back(std::move(group));
        } else if (missing != nullptr) {
          missing->push_back(word.name);
        }
        if (word.rest.empty()) continue;
        piece = std::move(word.rest);
      }
      std::vector<Token> group;
      for (const int64_t id : options.encode != nullptr ? options.encode(piece) : ClipEncode(piece))
        group.push_back({id, {}, segment.weight, 0});
      groups.push_back(std::move(group));
    }
  }

  const Token start{options.start, {}, 1.0, 0}, end{options.end, {}, 1.0, 0}, pad{options.pad, {}, 1.0, 0};
  const size_t limit = options.chunk > 0 ? static_cast<size_t>(options.chunk) : std::numeric_limits<size_t>::max();
  const std::vector<Token> empty = options.start >= 0 ? std::vector<Token>{start} : std::vector<Token>{};
  std::vector<std::vector<Token>> chunks{empty};
  const auto close = [&] {
    chunks.back().push_back(end);
    const size_t length = options.chunk > 0 ? limit : static_cast<size_t>(options.length_min);
    if (chunks.back().size() < length) chunks.back().resize(length, pad);
  };
  for (size_t g = 0; g < groups.size(); ++g) {
    std::vector<Token>& group = groups[g];
    for (Token& token : group) token.word = static_cast<int64_t>(g) + 1;
    const bool may_split = group.size() >= kSplitGroup;
    size_t from = 0;
    while (from < group.size()) {
      const size_t room = limit - 1 - chunks.back().size();
      if (group.size() - from > room) {
        if (may_split) {
          chunks.back().insert(chunks.back().end(), group.begin() + static_cast<std::ptrdiff_t>(from),
                               group.begin() + static_cast<std::ptrdiff_t>(from + room));
          from += room;
        }
        close();
        chunks.push_back(empty);
      } else {
        chunks.back().insert(chunks.back().end(), group.begin() + static_cast<std::ptrdiff_t>(from), group.end());
        from = group.size();
      }
    }
  }
  close();
  return chunks;
}

}  // namespace atelier::text
