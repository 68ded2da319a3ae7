#include "common/graph/input_folder.h"

#include <algorithm>
#include <charconv>
#include <set>

namespace atelier {
namespace {

bool IsPicture(std::string_view name) {
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return false;
  std::string ending(name.substr(dot + 1));
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return ending == "png" || ending == "jpg" || ending == "jpeg" || ending == "webp";
}

// "12:" and as many bytes.
StatusOr<std::string> TakePiece(std::string_view& text) {
  size_t size = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), size);
  const auto digits = static_cast<size_t>(end - text.data());
  if (error != std::errc() || digits == text.size() || *end != ':' || size > text.size() - digits - 1)
    return InvalidArgument("damaged list of files, ", text.size(), " bytes before its end");
  std::string piece(text.substr(digits + 1, size));
  text.remove_prefix(digits + 1 + size);
  return piece;
}

}  // namespace

std::vector<std::string> PictureFolders(const std::vector<std::string>& files) {
  std::set<std::string> folders;
  for (const std::string& file : files) {
    const size_t slash = file.rfind('/');
    if (slash != std::string::npos && IsPicture(file)) folders.insert(file.substr(0, slash));
  }
  return {folders.begin(), folders.end()};
}

std::vector<std::string> PicturesIn(std::string_view folder, const std::vector<std::string>& files) {
  std::vector<std::string> pictures;
  for (const std::string& file : files) {
    const bool inside = file.starts_with(folder) && file.find('/', folder.size()) == std::string::npos;
    if (inside && IsPicture(file)) pictures.push_back(file);
  }
  std::sort(pictures.begin(), pictures.end());
  return pictures;
}

std::string JoinFiles(const std::vector<std::pair<std::string, std::string>>& files) {
  std::string text;
  for (const auto& [name, bytes] : files) text += Cat(name.size(), ":", name, bytes.size(), ":", bytes);
  return text;
}

StatusOr<std::vector<std::pair<std::string, std::string>>> SplitFiles(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> files;
  while (!text.empty()) {
    ASSIGN_OR_RETURN(std::string name, TakePiece(text));
    ASSIGN_OR_RETURN(std::string bytes, TakePiece(text));
    files.emplace_back(std::move(name), std::move(bytes));
  }
  return files;
}

}  // namespace atelier
