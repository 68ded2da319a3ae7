// The texts that a container file carries beside its streams. Source: spec engine.md 11.3, 11.4.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"

namespace atelier::media {

using Tags = std::vector<std::pair<std::string, std::string>>;

/// Whether files with this extension (no dot) can carry tags. Thread: any.
bool CarriesTags(std::string_view extension);

/// The tags of a file with keys in lower case, of its first stream where the container itself has none. Errors:
/// INVALID_ARGUMENT when the file is no container that can be read; RESOURCE_EXHAUSTED. Thread: any.
StatusOr<Tags> ReadTags(std::string_view bytes);

/// The file with these tags added to those that it has; streams are copied as they are. The same input gives the same
/// bytes. Errors: as ReadTags; INVALID_ARGUMENT for an extension that carries none. Thread: any.
StatusOr<std::string> AddTags(std::string_view bytes, std::string_view extension, const Tags& tags);

}  // namespace atelier::media
