// Containers in the calling process, for atelier-media and tests alone; everybody else calls common/media/tags.h and
// summary.h, which ask it.
#pragma once

#include <string_view>

#include "common/media/summary.h"
#include "common/media/tags.h"
#include "worker/media/bytes.h"

namespace atelier::media {

/// ReadTags, AddTags and ReadSummary, with their errors but those of a process. Thread: any.
StatusOr<Tags> ReadTagsHere(ByteSource* source);
Status AddTagsHere(ByteSource* source, std::string_view extension, const Tags& tags, ByteSink* sink);
StatusOr<Summary> ReadSummaryHere(ByteSource* source);

}  // namespace atelier::media
