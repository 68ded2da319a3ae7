#include "worker/text/unigram.h"

#include <utf8proc.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>

#include "common/base/check.h"
#include "worker/text/embedded_file.h"

ATELIER_EMBED_FILE(kT5Unigram, "atelier_t5_unigram", T5_UNIGRAM_FILE);

namespace atelier::text {
namespace {

constexpr std::string_view kSpace = "\xe2\x96\x81";  // U+2581, what sentencepiece writes for a space
constexpr size_t kPiecesMax = 2'000'000;
constexpr size_t kModelBytesMax = 256 << 20;
constexpr size_t kBytesMax = 1'000'000;  // of the vocabulary that is part of the binary
constexpr float kUnknownPenalty = 10.0f;

// One field of a protocol buffer message.
struct Field {
  uint64_t number = 0;
  uint64_t value = 0;      // of a varint
  std::string_view bytes;  // of a string, a message or a fixed number
};

bool ReadVarint(std::string_view& in, uint64_t* value) {
  *value = 0;
  for (int shift = 0; shift < 64 && !in.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(in.front());
    in.remove_prefix(1);
    *value |= static_cast<uint64_t>(byte & 127) << shift;
    if (byte < 128) return true;
  }
  return false;
}

bool ReadField(std::string_view& in, Field* field) {
  uint64_t tag = 0;
  if (!ReadVarint(in, &tag)) return false;
  field->number = tag >> 3;
  uint64_t size = 0;
  switch (tag & 7) {
    case 0:
      return ReadVarint(in, &field->value);
    case 1:
      size = 8;
      break;
    case 2:
      if (!ReadVarint(in, &size)) return false;
      break;
    case 5:
      size = 4;
      break;
    default:
      return false;
  }
  if (size > in.size()) return false;
  field->bytes = in.substr(0, size);
  in.remove_prefix(size);
  return true;
}

bool ReadPiece(std::string_view in, UnigramTokenizer::Piece* piece) {
  Field field;
  while (!in.empty()) {
    if (!ReadField(in, &field)) return false;
    if (field.number == 1) piece->text = std::string(field.bytes);
    if (field.number == 2 && field.bytes.size() == 4) std::memcpy(&piece->score, field.bytes.data(), 4);
    if (field.number == 3) {
      if (field.value < 1 || field.value > 6) return false;
      piece->kind = static_cast<UnigramTokenizer::Kind>(field.value);
    }
  }
  return true;
}

// Bytes of the character that `text` starts with; 0 when they are no UTF-8.
size_t CharBytes(std::string_view text) {
  utf8proc_int32_t code = 0;
  const utf8proc_ssize_t n = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                              static_cast<utf8proc_ssize_t>(text.size()), &code);
  return n > 0 ? static_cast<size_t>(n) : 0;
}

uint32_t Word(std::string_view bytes, size_t index) {
  uint32_t value = 0;
  std::memcpy(&value, bytes.data() + index * 4, 4);
  return value;
}

}  // namespace

StatusOr<UnigramTokenizer::Model> UnigramTokenizer::ReadModel(std::string_view bytes) {
  const auto damaged = [] { return InvalidArgument("the sentencepiece model is damaged; download the file again"); };
  if (bytes.size() > kModelBytesMax)
    return InvalidArgument("the sentencepiece model has ", bytes.size(), " bytes, more than ", kModelBytesMax);
  Model model;
  Field field, part;
  while (!bytes.empty()) {
    if (!ReadField(bytes, &field)) return damaged();
    if (field.number == 1) {
      if (model.pieces.size() >= kPiecesMax)
        return InvalidArgument("the sentencepiece model has more than ", kPiecesMax, " pieces");
      if (!ReadPiece(field.bytes, &model.pieces.emplace_back())) return damaged();
    } else if (field.number == 2) {
      while (!field.bytes.empty()) {
        if (!ReadField(field.bytes, &part)) return damaged();
        if (part.number == 3 && part.value != 1)
          return InvalidArgument("the sentencepiece model is of type ", part.value, ", expected unigram (1)");
        if (part.number == 35) model.byte_fallback = part.value != 0;
      }
    } else if (field.number == 3) {
      while (!field.bytes.empty()) {
        if (!ReadField(field.bytes, &part)) return damaged();
        if (part.number == 2) model.charsmap = std::string(part.bytes);
        if (part.number == 3) model.add_dummy_prefix = part.value != 0;
        if (part.number == 4) model.remove_extra_whitespace = part.value != 0;
      }
    }
  }
  return model;
}

StatusOr<std::shared_ptr<const UnigramTokenizer>> UnigramTokenizer::Build(Model model) {
  std::shared_ptr<UnigramTokenizer> t(new UnigramTokenizer());
  t->model_ = std::move(model);
  const std::vector<Piece>& pieces = t->model_.pieces;
  if (!t->model_.charsmap.empty()) {
    const std::string_view map = t->model_.charsmap;
    const size_t size = map.size() >= 4 ? Word(map, 0) : 0;
    if (size < 4 || size % 4 != 0 || size > map.size() - 4 || map.back() != '\0')
      return InvalidArgument("the tokenizer's normalisation table is damaged; download the file again");
    t->trie_ = map.substr(4, size);
    t->replacements_ = map.substr(4 + size);
  }
  float low = std::numeric_limits<float>::max(), high = std::numeric_limits<float>::lowest();
  bool has_unknown = false;
  std::vector<int64_t> byte_ids(256, -1);
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Piece& piece = pieces[i];
    const auto id = static_cast<int64_t>(i);
    if (piece.kind == Kind::kUnknown) t->unknown_ = id, has_unknown = true;
    if (piece.kind == Kind::kNormal || piece.kind == Kind::kUser) {
      t->by_text_.emplace(piece.text, id);
      t->piece_bytes_max_ = std::max(t->piece_bytes_max_, piece.text.size());
    }
    if (piece.kind == Kind::kNormal) low = std::min(low, piece.score), high = std::max(high, piece.score);
    if (piece.kind == Kind::kUser) t->user_.push_back(piece.text);
    if (piece.kind == Kind::kByte) {
      // "<0x41>"
      const std::string& text = piece.text;
      unsigned value = 256;
      if (text.size() == 6 && text.starts_with("<0x") && text.back() == '>' &&
          std::from_chars(text.data() + 3, text.data() + 5, value, 16).ptr == text.data() + 5)
        byte_ids[value] = id;
    }
    if (piece.kind == Kind::kControl || piece.kind == Kind::kUnknown) t->specials_.emplace_back(piece.text, id);
  }
  if (t->by_text_.empty() || !has_unknown)
    return InvalidArgument("the tokenizer's vocabulary has ", pieces.size(),
                           " pieces without a piece for unknown text; download the file again");
  t->unknown_score_ = low - kUnknownPenalty;
  t->max_score_ = high;
  if (t->model_.byte_fallback && std::find(byte_ids.begin(), byte_ids.end(), -1) == byte_ids.end())
    t->byte_ids_ = std::move(byte_ids);
  std::sort(t->user_.begin(), t->user_.end(), [](auto a, auto b) { return a.size() > b.size(); });
  return std::shared_ptr<const UnigramTokenizer>(std::move(t));
}

const UnigramTokenizer& UnigramTokenizer::T5() {
  static const std::shared_ptr<const UnigramTokenizer> tokenizer = [] {
    StatusOr<Model> model = ReadModel(Inflate(kT5UnigramBegin, kT5UnigramEnd, kBytesMax));
    ATELIER_CHECK(model.ok());
    auto built = Build(*std::move(model));
    ATELIER_CHECK(built.ok());
    auto t5 = std::const_pointer_cast<UnigramTokenizer>(*built);
    t5->words_ = true;
    return built.value();
  }();
  return *tokenizer;
}

// The table is a double array trie of 32-bit units in front of NUL-terminated replacements.
bool UnigramTokenizer::Lookup(std::string_view text, bool shortest, size_t* length,
                              std::string_view* replacement) const {
  const size_t units = trie_.size() / 4;
  if (units == 0) return false;
  const auto offset = [](uint32_t unit) { return static_cast<size_t>(unit >> 10) << ((unit & 512) >> 6); };
  size_t at = offset(Word(trie_, 0));
  bool found = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    at ^= byte;
    if (at >= units) break;
    const uint32_t unit = Word(trie_, at);
    if ((unit & 0x800000FFu) != byte) break;
    at ^= offset(unit);
    if (((unit >> 8) & 1) == 0) continue;
    if (at >= units) break;
    const size_t value = Word(trie_, at) & 0x7FFFFFFFu;
    if (value >= replacements_.size()) break;
    *length = i + 1;
    *replacement = std::string_view(replacements_.data() + value);
    found = true;
    if (shortest) break;
  }
  return found;
}

size_t UnigramTokenizer::UserPiece(std::string_view text) const {
  for (const std::string_view piece : user_) {
    if (text.starts_with(piece)) return piece.size();
  }
  return 0;
}

std::string UnigramTokenizer::Normalise(std::string_view text) const {
  std::string out;
  const bool squeeze = model_.remove_extra_whitespace;
  bool after_space = squeeze, started = false;
  while (!text.empty()) {
    std::string_view part;
    size_t length = UserPiece(text);
    if (length > 0) {
      part = text.substr(0, length);
    } else if (!Lookup(text, false, &length, &part)) {
      length = CharBytes(text);
      part = length > 0 ? text.substr(0, length) : std::string_view("\xEF\xBF\xBD");
      length = std::max<size_t>(length, 1);
    }
    text.remove_prefix(length);
    while (after_space && part.starts_with(' ')) part.remove_prefix(1);
    if (part.empty()) continue;
    if (!started && model_.add_dummy_prefix) out += kSpace;
    started = true;
    for (const char c : part) {
      if (c == ' ') {
        out += kSpace;
      } else {
        out += c;
      }
    }
    after_space = squeeze && part.ends_with(' ');
  }
  while (squeeze && std::string_view(out).ends_with(kSpace)) out.resize(out.size() - kSpace.size());
  return out;
}

void UnigramTokenizer::EncodeNormal(std::string_view normal, std::vector<int64_t>& ids) const {
  struct Best {
    float score = 0;
    int64_t id = -1;
    size_t from = 0;
    bool reached = false;
  };
  std::vector<Best> best(normal.size() + 1);
  best[0].reached = true;
  for (size_t from = 0; from < normal.size();) {
    const size_t one = std::max<size_t>(CharBytes(normal.substr(from)), 1);
    bool single = false;
    const auto offer = [&](size_t to, float score, int64_t id) {
      const float candidate = best[from].score + score;
      if (!best[to].reached || candidate > best[to].score) best[to] = {candidate, id, from, true};
    };
    for (size_t length = one; length <= std::min(piece_bytes_max_, normal.size() - from);) {
      const auto it = by_text_.find(normal.substr(from, length));
      if (it != by_text_.end()) {
        const Piece& piece = model_.pieces[static_cast<size_t>(it->second)];
        // A piece that the user named wins over its parts.
        const float score = piece.kind == Kind::kUser ? static_cast<float>(length) * max_score_ - 0.1f : piece.score;
        offer(from + length, score, it->second);
        single = single || length == one;
      }
      if (from + length == normal.size()) break;
      length += std::max<size_t>(CharBytes(normal.substr(from + length)), 1);
    }
    if (!single) offer(from + one, unknown_score_, unknown_);
    from += one;
  }
  std::vector<std::pair<int64_t, std::string_view>> path;
  for (size_t at = normal.size(); at > 0; at = best[at].from)
    path.emplace_back(best[at].id, normal.substr(best[at].from, at - best[at].from));
  std::reverse(path.begin(), path.end());
  bool after_unknown = false;
  for (const auto& [id, piece] : path) {
    if (id == unknown_ && !byte_ids_.empty()) {
      for (const char c : piece) ids.push_back(byte_ids_[static_cast<unsigned char>(c)]);
      continue;
    }
    if (id != unknown_ || !after_unknown) ids.push_back(id);
    after_unknown = id == unknown_;
  }
}

void UnigramTokenizer::EncodeWords(std::string_view text, std::vector<int64_t>& ids) const {
  // The fast T5 tokenizer looks up whole user-perceived characters of up to 5 bytes, then single ones, and takes the
  // shortest entry that such a text starts with for all of it.
  std::string out;
  const auto replace = [&](std::string_view part) {
    size_t length = 0;
    std::string_view replacement;
    if (!Lookup(part, true, &length, &replacement)) return false;
    out += replacement;
    return true;
  };
  while (!text.empty()) {
    size_t end = 0;
    utf8proc_int32_t previous = 0, code = 0, state = 0;
    std::vector<size_t> chars;
    while (end < text.size()) {
      const utf8proc_ssize_t n = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data() + end),
                                                  static_cast<utf8proc_ssize_t>(text.size() - end), &code);
      if (n <= 0) break;
      if (end > 0 && utf8proc_grapheme_break_stateful(previous, code, &state)) break;
      chars.push_back(static_cast<size_t>(n));
      end += static_cast<size_t>(n);
      previous = code;
    }
    if (end == 0) {
      out += "\xEF\xBF\xBD";
      text.remove_prefix(1);
      continue;
    }
    if (end >= 6 || !replace(text.substr(0, end))) {
      size_t at = 0;
      for (const size_t n : chars) {
        if (!replace(text.substr(at, n))) out += text.substr(at, n);
        at += n;
      }
    }
    text.remove_prefix(end);
  }
  // Words: a space, or the character that stands for one, begins the next.
  std::string word;
  const auto flush = [&] {
    if (!word.empty()) EncodeNormal(std::string(kSpace) + word, ids);
    word.clear();
  };
  for (size_t i = 0; i < out.size();) {
    if (out[i] == ' ') {
      flush();
      ++i;
    } else if (std::string_view(out).substr(i).starts_with(kSpace)) {
      flush();
      i += kSpace.size();
    } else {
      word += out[i++];
    }
  }
  flush();
}

std::vector<int64_t> UnigramTokenizer::Encode(std::string_view text) const {
  std::vector<int64_t> ids;
  if (!words_) {
    EncodeNormal(Normalise(text), ids);
    return ids;
  }
  while (!text.empty()) {
    size_t first = std::string_view::npos;
    std::pair<std::string_view, int64_t> special;
    for (size_t from = 0; first == std::string_view::npos;) {
      const size_t open = text.find('<', from);
      if (open == std::string_view::npos) break;
      for (const auto& entry : specials_) {
        if (text.substr(open).starts_with(entry.first)) {
          first = open;
          special = entry;
          break;
        }
      }
      from = open + 1;
    }
    EncodeWords(text.substr(0, first), ids);
    if (first == std::string_view::npos) break;
    ids.push_back(special.second);
    text.remove_prefix(first + special.first.size());
  }
  return ids;
}

}  // namespace atelier::text
