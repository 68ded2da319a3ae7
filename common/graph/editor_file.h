// An editor file as data: its graph and those of its subgraphs and legacy group nodes, with widget values in their
// places.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/graph/widgets.h"
#include "common/json/json.h"

namespace atelier::editor {

/// Stand-ins for nodes in the links of a subgraph: its inputs, and its outputs.
inline constexpr std::string_view kSubgraphIn = "-10";
inline constexpr std::string_view kSubgraphOut = "-20";

/// The member of an object, or null when it has none or is no object. Thread: any.
const Json* Member(const Json& object, const char* key);
/// The member's text, or "" when it has none. Thread: any.
std::string Text(const Json& object, const char* key);
/// Quoted and cut to what an error message can carry. Thread: any.
std::string Shown(std::string_view text);

struct Slot {
  std::string name;
  std::string type;
  std::optional<std::string> link;
};

struct Link {
  std::string origin;
  int64_t origin_slot = 0;
  std::string target;
  int64_t target_slot = 0;
};

// A widget's value; nothing is JavaScript's undefined.
using WidgetValue = std::optional<Json>;

struct Node {
  std::string id;
  std::string type;
  Json title;
  std::string search_name;  // properties["Node name for S&R"]
  bool muted = false;
  bool bypassed = false;
  const NodeLayout* layout = nullptr;  // null: unknown type or an instance
  int graph = -1;                      // the subgraph that this is an instance of
  std::vector<Slot> inputs;
  std::vector<std::string> outputs;  // types
  std::vector<std::pair<std::string, WidgetValue>> values;
  std::vector<WidgetValue> promoted;  // of an instance: by input
  std::vector<std::vector<std::string>> output_links;
  const Json* source = nullptr;

  bool is_reroute() const { return type == "Reroute"; }
  bool is_primitive() const { return type == "PrimitiveNode"; }
  bool front_end() const { return layout != nullptr && layout->front_end; }
  WidgetValue* FindValue(std::string_view name) {
    for (auto& [key, value] : values)
      if (key == name) return &value;
    return nullptr;
  }
};

struct Graph {
  std::string name;
  bool group = false;        // a legacy group node: inputs are matched by place, as their names are made up
  std::vector<Slot> inputs;  // of a subgraph; links unused
  std::vector<std::string> outputs;
  std::vector<Node> nodes;
  std::unordered_map<std::string, size_t> by_id;
  std::unordered_map<std::string, Link> links;
  std::unordered_map<int64_t, std::string> to_output;  // subgraph output -> link
  std::vector<int> promotes;                           // by input: -1 not known yet, else whether it shows a widget
};

/// Reads a parsed editor file of either schema version; the root is the first graph. Node::source points into `root`.
/// Errors: INVALID_ARGUMENT naming what has the wrong form; RESOURCE_EXHAUSTED beyond limits::kPromptNodesMax.
/// Source: spec engine.md 1.2; golden/workflows/README.md. Thread: any.
StatusOr<std::vector<Graph>> ReadEditorFile(const Json& root, const WidgetTable& widgets);

}  // namespace atelier::editor
