// Which choices the files at hand give an input.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/graph/schema.h"

namespace atelier {

/// The file of each part of a set, by hidden input: those of one ending where all parts have it, else the first of
/// each; of a set without parts none. Nothing when a part has no file. Thread: any.
std::optional<std::map<std::string, std::string>> FilesOf(const FileSet& set, const Inventory& inventory);

/// The files of the input's folder, then the sets that are whole. Thread: any.
std::vector<std::string> ChoicesOf(const InputSpec& input, const Inventory& inventory);

}  // namespace atelier
