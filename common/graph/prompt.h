// The graph that is executed: the API format's nodes in their order, their links, and walks over them without
// recursion.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "common/base/status.h"
#include "common/json/json.h"

namespace atelier {

/// Where a linked input gets its value: output `slot` of node `node`.
struct NodeLink {
  std::string node;
  int64_t slot = 0;
};

struct PromptNode {
  std::string id;          // any text; "12:5" for the inner nodes of subgraphs
  std::string class_type;  // node type
  Json inputs =
      Json::object();  // name to link or constant, as in the file; lists as constants stay {"__value__": [...]}
  std::string title;   // _meta.title, may be empty
};

/// Whether a value has the form of a link, ["node id", slot]. Thread: any.
bool IsLink(const Json& value);

/// The link that `value` is: an array [node id, slot] of a string and an integer. Anything else gives nothing, also
/// other arrays (validation refuses those). Source: spec engine.md 1.1. Thread: any.
std::optional<NodeLink> AsLink(const Json& value);

/// The constant itself: the list inside {"__value__": [...]}, or `value` unchanged. Thread: any.
const Json& UnwrapConstant(const Json& value);
const Json& UnwrapConstant(Json&&) = delete;

/// Nodes in the file's order, found by id. A value. Thread: const any.
class Prompt {
 public:
  /// Errors: INVALID_ARGUMENT when the id is taken; RESOURCE_EXHAUSTED beyond limits::kPromptNodesMax.
  Status Add(PromptNode node);
  const std::vector<PromptNode>& nodes() const { return nodes_; }
  size_t size() const { return nodes_.size(); }
  const PromptNode* Find(std::string_view id) const;
  /// Mutable inputs of node `index`, for binding values.
  Json& inputs(size_t index) { return nodes_[index].inputs; }
  /// Position of a node in nodes(), or nothing.
  std::optional<size_t> Index(std::string_view id) const;

 private:
  std::vector<PromptNode> nodes_;
  std::unordered_map<std::string, size_t> index_;
};

/// Reads the API format. Node types and inputs are not looked at (see validate.h). Errors: INVALID_ARGUMENT naming the
/// node when the form is wrong; RESOURCE_EXHAUSTED for too many nodes. Thread: any.
StatusOr<Prompt> PromptFromJson(const Json& json);
StatusOr<Prompt> ParsePrompt(std::string_view text);

/// The API format again. Thread: any.
Json ToJson(const Prompt& prompt);

/// For each node the indices of the nodes that its links name, in input order with repeats; links to absent nodes are
/// left out. Thread: any.
std::vector<std::vector<size_t>> Sources(const Prompt& prompt);

/// Indices so that each node stands after all its sources; among ready nodes the file's order. Errors: INVALID_ARGUMENT
/// naming the nodes of one cycle, or a chain longer than limits::kGraphDepthMax. Thread: any.
StatusOr<std::vector<size_t>> TopologicalOrder(const Prompt& prompt);

/// The ids of one cycle reached from `starts` (all nodes when empty) along links, in link order; empty when there is
/// none. Thread: any.
std::vector<std::string> FindCycle(const Prompt& prompt, const std::vector<std::string>& starts = {});

/// `ids` and everything upstream of them, as ascending indices; unknown ids are left out. Thread: any.
std::vector<size_t> Ancestors(const Prompt& prompt, const std::vector<std::string>& ids);

/// Whether `name` names something inside its folder by its form alone: relative, "/" or "\" separated, no "." or ".."
/// or empty part, no NUL or control character, no drive or URL colon, valid UTF-8 of at most 1,024 bytes with parts of
/// at most 255. Thread: any.
bool IsSafeRelativeName(std::string_view name);

}  // namespace atelier
