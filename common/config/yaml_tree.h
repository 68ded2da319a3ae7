// A YAML text as plain nodes with line numbers: the one door to yaml-cpp (yaml_tree.cc), which throws and has no
// bounds.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"

namespace atelier {

struct YamlNode {
  enum class Kind { kNull, kScalar, kList, kMap };
  struct Pair;
  Kind kind = Kind::kNull;
  int line = 0;    // of its first character, from 1
  int column = 0;  // from 1
  bool quoted = false;
  std::string text;             // of a scalar
  std::vector<YamlNode> items;  // of a list
  std::vector<Pair> pairs;      // of a map, in the order of the file; duplicate keys stay
};
struct YamlNode::Pair {
  std::string key;
  int line = 0;
  YamlNode value;
};

/// Parses one document of at most 1 MiB, 16 levels deep and 10,000 nodes; anchors and tags are refused. An empty text
/// is a map without pairs. Errors: INVALID_ARGUMENT `name:line: what`. Thread: any.
StatusOr<YamlNode> ParseYaml(std::string_view text, std::string_view name);

/// `text` as a YAML scalar that reads back as the same text: plain where that is safe, else in double quotes. Thread:
/// any.
std::string YamlScalar(std::string_view text);

}  // namespace atelier
