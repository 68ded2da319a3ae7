// The texts that a container file carries beside its streams. A process of its own reads and writes the file
// (process.h), so a hostile file is a status at worst. Source: spec engine.md 11.3, 11.4.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"

namespace atelier::media {

using Tags = std::vector<std::pair<std::string, std::string>>;

/// FFmpeg's name of the container that files with this extension (no dot) are; null where such files carry no tags.
/// Thread: any.
const char* MuxerOf(std::string_view extension);

/// Whether files with this extension (no dot) can carry tags. Thread: any.
inline bool CarriesTags(std::string_view extension) { return MuxerOf(extension) != nullptr; }

/// The tags of a file with keys in lower case, of its first stream where the container itself has none. Errors:
/// INVALID_ARGUMENT when the file is no container that can be read; FAILED_PRECONDITION when there is no process to
/// read it; RESOURCE_EXHAUSTED; DEADLINE_EXCEEDED after 2 minutes, with a second more for each 4 MiB. Thread: any.
StatusOr<Tags> ReadTags(std::string_view bytes);

/// The file with these tags added to those that it has; streams are copied as they are. The same input gives the same
/// bytes. Errors: as ReadTags; INVALID_ARGUMENT for an extension that carries none.
/// Thread: any.
StatusOr<std::string> AddTags(std::string_view bytes, std::string_view extension, const Tags& tags);

}  // namespace atelier::media
