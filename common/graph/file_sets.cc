#include "common/graph/file_sets.h"

#include <algorithm>

namespace atelier {

std::optional<std::map<std::string, std::string>> FilesOf(const FileSet& set, const Inventory& inventory) {
  const auto names = inventory.files.find(set.folder);
  if (names == inventory.files.end()) return std::nullopt;
  std::map<std::string, std::string> files;
  for (const auto& [input, stem] : set.parts) {
    const auto file = std::find_if(names->second.begin(), names->second.end(), [&](const std::string& name) {
      return name.rfind('.') == stem.size() && name.starts_with(stem);
    });
    if (file == names->second.end()) return std::nullopt;
    files[input] = *file;
  }
  return files;
}

std::vector<std::string> ChoicesOf(const InputSpec& input, const Inventory& inventory) {
  std::vector<std::string> choices;
  if (const auto files = inventory.files.find(input.folder); files != inventory.files.end()) choices = files->second;
  for (const FileSet& set : input.sets)
    if (FilesOf(set, inventory)) choices.push_back(set.name);
  return choices;
}

}  // namespace atelier
