#include "common/base/tags.h"

#include <algorithm>

namespace atelier {
namespace {

constexpr size_t kTagsMax = 32;
constexpr size_t kTagBytesMax = 64;

}  // namespace

bool IsTag(std::string_view word) {
  return !word.empty() && word.size() <= kTagBytesMax && std::all_of(word.begin(), word.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  });
}

StatusOr<Tags> MakeTags(std::vector<std::string> words) {
  for (const std::string& word : words)
    if (!IsTag(word))
      return InvalidArgument("\"", word.substr(0, 80), "\" is no tag, expected 1 to ", kTagBytesMax,
                             " letters, digits, '.', '_' or '-'");
  std::sort(words.begin(), words.end());
  words.erase(std::unique(words.begin(), words.end()), words.end());
  if (words.size() > kTagsMax) return InvalidArgument(words.size(), " tags, at most ", kTagsMax, " are taken");
  return words;
}

bool HasTags(const Tags& has, const Tags& wanted) {
  return std::includes(has.begin(), has.end(), wanted.begin(), wanted.end());
}

std::string TagsList(const Tags& tags) {
  std::string text;
  for (const std::string& tag : tags) text += Cat(text.empty() ? "" : ", ", tag);
  return text;
}

std::string TagsText(const Tags& tags) { return Cat(tags.size() == 1 ? "the tag " : "the tags ", TagsList(tags)); }

}  // namespace atelier
