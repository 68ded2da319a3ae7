// Inputs that name a folder of pictures. In a schema their folder is kPictureFolders; in a task's input files such a
// name ends in "/" and stands for every picture that lies directly in it.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"

namespace atelier {

inline constexpr char kPictureFolders[] = "input/";

/// Folders among `files` (names with "/") that hold pictures, sorted. Thread: any.
std::vector<std::string> PictureFolders(const std::vector<std::string>& files);

/// The pictures of `files` directly in `folder`, which ends in "/", sorted. Thread: any.
std::vector<std::string> PicturesIn(std::string_view folder, const std::vector<std::string>& files);

/// Those entries of a map by name that lie in `folder`, which ends in "/".
template <typename Map, typename Visit>
void VisitFolder(const Map& by_name, std::string_view folder, Visit visit) {
  for (auto it = by_name.lower_bound(std::string(folder)); it != by_name.end() && it->first.starts_with(folder); ++it)
    visit(*it);
}

/// Files as one text, as NodeContext::InputFile gives a folder, and back. Errors: INVALID_ARGUMENT for another text.
std::string JoinFiles(const std::vector<std::pair<std::string, std::string>>& files);
StatusOr<std::vector<std::pair<std::string, std::string>>> SplitFiles(std::string_view text);

}  // namespace atelier
