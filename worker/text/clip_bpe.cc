#include "worker/text/clip_bpe.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <limits>
#include <string>
#include <unordered_map>

#include "common/base/check.h"
#include "worker/text/embedded_file.h"

ATELIER_EMBED_FILE(kClipBpe, "atelier_clip_bpe", CLIP_BPE_FILE);

namespace atelier::text {
namespace {

constexpr size_t kMerges = 48894;
constexpr size_t kBytesMax = 600'000;

void AppendUtf8(utf8proc_int32_t code, std::string& out) {
  std::array<utf8proc_uint8_t, 4> bytes{};
  const utf8proc_ssize_t n = utf8proc_encode_char(code, bytes.data());
  out.append(reinterpret_cast<const char*>(bytes.data()), static_cast<size_t>(n));
}

// Symbols are numbered as in the vocabulary: 256 bytes, 256 bytes at a word's end, then one for each merge.
class Bpe {
 public:
  static const Bpe& Get() {
    static const Bpe bpe;
    return bpe;
  }

  void EncodeWord(std::string_view word, std::vector<int64_t>& ids) const {
    std::vector<uint32_t> symbols;
    for (const char c : word) symbols.push_back(byte_symbol_[static_cast<unsigned char>(c)]);
    symbols.back() += 256;
    while (symbols.size() > 1) {
      uint32_t best = std::numeric_limits<uint32_t>::max();
      for (size_t i = 0; i + 1 < symbols.size(); ++i) best = std::min(best, Merge(symbols[i], symbols[i + 1]));
      if (best == std::numeric_limits<uint32_t>::max()) break;
      // All places of the best pair at once, left to right.
      size_t to = 0;
      for (size_t i = 0; i < symbols.size(); ++to) {
        if (i + 1 < symbols.size() && Merge(symbols[i], symbols[i + 1]) == best) {
          symbols[to] = best;
          i += 2;
        } else {
          symbols[to] = symbols[i++];
        }
      }
      symbols.resize(to);
    }
    for (const uint32_t symbol : symbols) ids.push_back(symbol);
  }

 private:
  Bpe() {
    // The printable bytes come first in the vocabulary, then the others (written as U+0100 and up).
    std::unordered_map<std::string, uint32_t> symbol_of;
    const auto printable = [](int b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174; };
    uint32_t next = 0;
    for (const bool first : {true, false}) {
      utf8proc_int32_t stand_in = 256;
      for (int b = 0; b < 256; ++b) {
        if (printable(b) != first) continue;
        std::string text;
        AppendUtf8(first ? b : stand_in++, text);
        byte_symbol_[static_cast<size_t>(b)] = next;
        symbol_of[text + "</w>"] = next + 256;
        symbol_of[std::move(text)] = next++;
      }
    }
    const std::string merges = Inflate(kClipBpeBegin, kClipBpeEnd, kBytesMax);
    merges_.reserve(kMerges * 2);
    uint32_t id = 512;
    for (size_t at = 0; at < merges.size();) {
      const size_t end = merges.find('\n', at), space = merges.find(' ', at);
      ATELIER_CHECK(end != std::string::npos && space < end);
      const std::string left = merges.substr(at, space - at), right = merges.substr(space + 1, end - space - 1);
      merges_.emplace(Key(symbol_of.at(left), symbol_of.at(right)), id);
      symbol_of.emplace(left + right, id++);
      at = end + 1;
    }
    ATELIER_CHECK(id == 512 + kMerges);
  }
  static uint64_t Key(uint32_t a, uint32_t b) { return (static_cast<uint64_t>(a) << 32) | b; }
  // Ids grow with the rank, so the smallest id is the best merge.
  uint32_t Merge(uint32_t a, uint32_t b) const {
    auto it = merges_.find(Key(a, b));
    return it == merges_.end() ? std::numeric_limits<uint32_t>::max() : it->second;
  }

  std::array<uint32_t, 256> byte_symbol_{};
  std::unordered_map<uint64_t, uint32_t> merges_;
};

using Code = utf8proc_int32_t;

std::u32string Decode(std::string_view text) {
  std::u32string out;
  const auto* at = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  auto left = static_cast<utf8proc_ssize_t>(text.size());
  while (left > 0) {
    Code code = 0;
    const utf8proc_ssize_t n = utf8proc_iterate(at, left, &code);
    if (n <= 0) {
      ++at, --left;
      continue;
    }
    out.push_back(static_cast<char32_t>(code));
    at += n, left -= n;
  }
  return out;
}

utf8proc_category_t Category(char32_t c) { return utf8proc_category(static_cast<Code>(c)); }
bool IsLetter(char32_t c) {
  const auto k = Category(c);
  return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}
bool IsNumber(char32_t c) {
  const auto k = Category(c);
  return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}
bool IsControl(char32_t c) {
  if (c == '\t' || c == '\n' || c == '\r') return false;
  const auto k = Category(c);
  return k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF || k == UTF8PROC_CATEGORY_CS ||
         k == UTF8PROC_CATEGORY_CO || k == UTF8PROC_CATEGORY_CN;
}
bool IsSpace(char32_t c) {
  const auto k = Category(c);
  return c == ' ' || (c >= 9 && c <= 13) || k == UTF8PROC_CATEGORY_ZS || k == UTF8PROC_CATEGORY_ZL ||
         k == UTF8PROC_CATEGORY_ZP;
}
bool IsIdeograph(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B820 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}
bool IsCased(char32_t c) {
  const auto k = Category(c);
  return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT;
}
bool IsCaseIgnorable(char32_t c) {
  const auto k = Category(c);
  return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_ME || k == UTF8PROC_CATEGORY_CF ||
         k == UTF8PROC_CATEGORY_LM || k == UTF8PROC_CATEGORY_SK || c == '\'' || c == '.' || c == ':' || c == 0xB7 ||
         c == 0x2019;
}

// Unicode lower case of one whitespace-free word, with the two rules that depend on more than the character.
std::u32string Lower(const std::u32string& word) {
  std::u32string out;
  for (size_t i = 0; i < word.size(); ++i) {
    if (word[i] == 0x130) {
      out += U"i\u0307";
    } else if (word[i] == 0x3A3) {
      size_t before = i, after = i + 1;
      while (before > 0 && IsCaseIgnorable(word[before - 1])) --before;
      while (after < word.size() && IsCaseIgnorable(word[after])) ++after;
      const bool is_final = before > 0 && IsCased(word[before - 1]) && !(after < word.size() && IsCased(word[after]));
      out.push_back(is_final ? 0x3C2 : 0x3C3);
    } else {
      out.push_back(static_cast<char32_t>(utf8proc_tolower(static_cast<Code>(word[i]))));
    }
  }
  return out;
}

std::u32string Nfc(const std::u32string& text) {
  std::string utf8;
  for (const char32_t c : text) AppendUtf8(static_cast<Code>(c), utf8);
  utf8proc_uint8_t* composed = nullptr;
  const utf8proc_ssize_t n =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(utf8.data()), static_cast<utf8proc_ssize_t>(utf8.size()),
                   &composed, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  if (n < 0) return text;
  std::u32string out = Decode(std::string_view(reinterpret_cast<const char*>(composed), static_cast<size_t>(n)));
  std::free(composed);  // utf8proc allocates with malloc
  return out;
}

// Cleaned, composed, lower-cased words joined by single spaces.
std::u32string Normalise(std::string_view text) {
  std::u32string cleaned;
  for (const char32_t c : Decode(text)) {
    if (c == 0 || c == 0xFFFD || IsControl(c)) continue;
    if (IsIdeograph(c)) {
      cleaned += {U' ', c, U' '};
    } else {
      cleaned.push_back(IsSpace(c) ? U' ' : c);
    }
  }
  cleaned = Nfc(cleaned);
  std::u32string out, word;
  const auto flush = [&] {
    if (word.empty()) return;
    if (!out.empty()) out.push_back(U' ');
    out += Lower(word);
    word.clear();
  };
  for (const char32_t c : cleaned) {
    if (IsSpace(c)) {
      flush();
    } else {
      word.push_back(c);
    }
  }
  flush();
  return out;
}

constexpr std::u32string_view kStartText = U"<|startoftext|>", kEndText = U"<|endoftext|>";

// One piece without special tokens of the caller's spelling; after lower-casing they may appear once more.
void EncodePiece(std::string_view piece, std::vector<int64_t>& ids) {
  const std::u32string text = Normalise(piece);
  const std::u32string_view view = text;
  size_t at = 0;
  const auto starts = [&](std::u32string_view what) { return view.substr(at, what.size()) == what; };
  while (at < text.size()) {
    if (IsSpace(text[at])) {
      ++at;
      continue;
    }
    if (starts(kStartText)) {
      ids.push_back(kClipStart);
      at += kStartText.size();
      continue;
    }
    if (starts(kEndText)) {
      ids.push_back(kClipEnd);
      at += kEndText.size();
      continue;
    }
    size_t end = at;
    for (const std::u32string_view contraction : {U"'s", U"'t", U"'re", U"'ve", U"'m", U"'ll", U"'d"}) {
      if (starts(contraction)) {
        end = at + contraction.size();
        break;
      }
    }
    if (end == at) {
      if (IsLetter(text[at])) {
        while (end < text.size() && IsLetter(text[end])) ++end;
      } else if (IsNumber(text[at])) {
        end = at + 1;
      } else {
        while (end < text.size() && !IsSpace(text[end]) && !IsLetter(text[end]) && !IsNumber(text[end])) ++end;
      }
    }
    std::string word;
    for (; at < end; ++at) AppendUtf8(static_cast<Code>(text[at]), word);
    Bpe::Get().EncodeWord(word, ids);
  }
}

}  // namespace

std::vector<int64_t> ClipEncode(std::string_view text) {
  std::vector<int64_t> ids;
  size_t from = 0;
  while (from <= text.size()) {
    // The exact spellings are cut out before anything else happens to the text.
    const size_t start = text.find("<|startoftext|>", from), end = text.find("<|endoftext|>", from);
    const size_t special = std::min(start, end);
    EncodePiece(text.substr(from, special == std::string_view::npos ? special : special - from), ids);
    if (special == std::string_view::npos) break;
    ids.push_back(special == start ? kClipStart : kClipEnd);
    from = special + (special == start ? kStartText.size() : kEndText.size());
  }
  return ids;
}

}  // namespace atelier::text
