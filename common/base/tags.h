// Words by which workers are told apart, and jobs choose among them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace atelier {

/// In order, each once.
using Tags = std::vector<std::string>;

/// 1 to 64 letters, digits, '.', '_' or '-'. Thread: any.
bool IsTag(std::string_view word);

/// Errors: INVALID_ARGUMENT for a word that is no tag, or more than 32. Thread: any.
StatusOr<Tags> MakeTags(std::vector<std::string> words);

/// Whether `has` holds all of `wanted`. Thread: any.
bool HasTags(const Tags& has, const Tags& wanted);

/// "attic, fast". Thread: any.
std::string TagsList(const Tags& tags);
/// "the tag fast", "the tags attic, fast". REQUIRES: some. Thread: any.
std::string TagsText(const Tags& tags);

}  // namespace atelier
