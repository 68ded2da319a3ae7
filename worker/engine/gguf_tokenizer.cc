#include "worker/engine/gguf_tokenizer.h"

#include <cstdint>
#include <cstring>

namespace atelier::engine {
namespace {

constexpr uint64_t kUnigram = 1;

void AppendVarint(std::string& out, uint64_t value) {
  for (; value >= 128; value >>= 7) out.push_back(static_cast<char>(value % 128 + 128));
  out.push_back(static_cast<char>(value));
}
void AppendNumber(std::string& out, uint64_t field, uint64_t value) {
  AppendVarint(out, field << 3);
  AppendVarint(out, value);
}
void AppendFloat(std::string& out, uint64_t field, float value) {
  AppendVarint(out, field << 3 | 5);
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}
void AppendBytes(std::string& out, uint64_t field, std::string_view bytes) {
  AppendVarint(out, field << 3 | 2);
  AppendVarint(out, bytes.size());
  out.append(bytes);
}

bool Truth(const GgufFile& gguf, std::string_view key, bool fallback) {
  const GgufValue* const value = gguf.Find(key);
  return value == nullptr ? fallback : value->number != 0;
}

}  // namespace

StatusOr<std::optional<std::string>> SentencepieceModelOf(const GgufFile& gguf, std::string_view file) {
  const GgufValue* const tokens = gguf.Find("tokenizer.ggml.tokens");
  if (tokens == nullptr) return std::optional<std::string>();
  if (gguf.Text("tokenizer.ggml.model") != "t5")
    return InvalidArgument("file \"", file, "\": its tokenizer is of kind \"", gguf.Text("tokenizer.ggml.model"),
                           "\", expected \"t5\"; choose another file of UMT5");
  const GgufValue* const scores = gguf.Find("tokenizer.ggml.scores");
  const GgufValue* const kinds = gguf.Find("tokenizer.ggml.token_type");
  const auto list = [](const GgufValue* value) { return value != nullptr && value->kind == GgufValue::Kind::kArray; };
  if (!list(tokens) || !list(scores) || !list(kinds) || scores->items.size() != tokens->items.size() ||
      kinds->items.size() != tokens->items.size())
    return InvalidArgument("file \"", file, "\": its tokenizer's pieces, scores and kinds are not as many of each; ",
                           "download it again");
  std::string model, part;
  for (size_t i = 0; i < tokens->items.size(); ++i) {
    part.clear();
    AppendBytes(part, 1, tokens->items[i].text);
    AppendFloat(part, 2, static_cast<float>(scores->items[i].real));
    AppendNumber(part, 3, static_cast<uint64_t>(kinds->items[i].number));
    AppendBytes(model, 1, part);
  }
  part.clear();
  AppendNumber(part, 3, kUnigram);
  AppendNumber(part, 35, 1);  // byte fallback
  AppendBytes(model, 2, part);
  part.clear();
  AppendNumber(part, 3, Truth(gguf, "tokenizer.ggml.add_space_prefix", true) ? 1 : 0);
  AppendNumber(part, 4, Truth(gguf, "tokenizer.ggml.remove_extra_whitespaces", true) ? 1 : 0);
  AppendBytes(model, 3, part);
  return std::optional(std::move(model));
}

}  // namespace atelier::engine
