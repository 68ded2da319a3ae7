#include "common/graph/file_sets.h"

#include <algorithm>
#include <string>

namespace atelier {

std::optional<std::map<std::string, std::string>> FilesOf(const FileSet& set, const Inventory& inventory) {
  if (set.parts.empty()) return std::map<std::string, std::string>();
  const auto names = inventory.files.find(set.folder);
  if (names == inventory.files.end()) return std::nullopt;
  // Of each part the files, by their endings.
  std::map<std::string, std::map<std::string, std::string>> found;
  for (const auto& [input, stem] : set.parts) {
    std::map<std::string, std::string>& endings = found[input];
    for (const std::string& name : names->second)
      if (name.rfind('.') == stem.size() && name.starts_with(stem)) endings.emplace(name.substr(stem.size()), name);
    if (endings.empty()) return std::nullopt;
  }
  // One ending that all have, if there is one: such files lie together.
  const auto all_have = [&](const std::string& ending) {
    return std::all_of(found.begin(), found.end(), [&](const auto& part) { return part.second.contains(ending); });
  };
  std::string common;
  if (!found.empty())
    for (const auto& [ending, name] : found.begin()->second)
      if (common.empty() && all_have(ending)) common = ending;
  std::map<std::string, std::string> files;
  for (const auto& [input, endings] : found)
    files[input] = common.empty() ? endings.begin()->second : endings.at(common);
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
