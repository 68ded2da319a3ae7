// The nodes of a prompt that a plan is made of, in topological order, each with what the cuts depend on: where it
// stands under tiles and streams of frames, what varies from replica to replica, what cannot cross to another task.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/graph/schema.h"
#include "master/planner/frame_streams.h"

namespace atelier {

struct PlannedLink {
  std::string input;
  std::string source;
  size_t slot = 0;
};

struct PlannedNode {
  const NodeSpec* spec = nullptr;
  const Json* inputs = nullptr;
  std::vector<PlannedLink> links;
  bool varies = false;        // one instance a replica
  bool gathers = false;       // ends the replicated part here (and is no pass-through)
  bool below_tiles = false;   // a tiled node stands upstream
  bool cheap_closed = false;  // cheap, as all above it
  std::set<size_t> holding;   // outputs of data types that hold handles
  bool for_parts = false;     // its prompts hold masks or latents, put there by it or above it and nothing costly
  int gather_replicas = 1;
  int stream = -1;  // index of the stored stream that it is a member of
  int level = 0;    // cuts on the longest way from a source
};

class PlannedNodes {
 public:
  /// `catalog` outlives it.
  PlannedNodes(Json prompt, const Catalog& catalog, FrameOptions options);
  PlannedNodes(const PlannedNodes&) = delete;
  PlannedNodes& operator=(const PlannedNodes&) = delete;

  /// Finds streams of frames, gives tiled nodes whose canvas is made first a node for that, and reads what `outputs`
  /// need. Once, before anything else. Errors: INVALID_ARGUMENT for a cycle, an unknown type, a node that is not there,
  /// or lists that come to a tiled node of independent order.
  Status Read(const std::vector<std::string>& outputs);

  const Catalog& catalog() const { return catalog_; }
  const PlannedNode& at(const std::string& id) const { return nodes_.at(id); }
  const std::vector<FrameStream>& streams() const { return streams_; }
  /// Whether the prompt has a node of this id, needed or not.
  bool IsTaken(const std::string& id) const { return prompt_.contains(id); }
  /// Whether a tiled node is run a picture of a batch at a time.
  bool IsByPicture(const std::string& id) const { return by_picture_.contains(id); }
  /// Whether the canvas of a tiled node is made by a node of its own.
  bool HasBase(const std::string& id) const { return based_.contains(id); }
  /// Whether what the link carries is a handle, or holds one, and so stays in the task that made it.
  bool IsHandle(const PlannedLink& link, const PlannedNode& consumer) const;

 private:
  Status SplitBases();
  Status ReadAbove(const std::vector<std::string>& outputs);
  Status ReadNode(const std::string& id);
  bool Ordinary(const std::string& id) const;
  void JoinStreams();
  void Classify();
  void RaiseStreamed();
  bool HoldsParts(const PlannedNode& node) const;
  void FindHolding(PlannedNode& node) const;

  Json prompt_;  // with the bases of tiled nodes as nodes of their own
  const Catalog& catalog_;
  FrameOptions options_;
  std::map<std::string, PlannedNode> nodes_;
  std::vector<std::string> order_;
  std::vector<FrameStream> streams_;
  std::set<std::string> by_picture_, lists_, based_;
  std::map<std::string, NodeSpec> plain_;  // types of nodes that are run a picture at a time
};

}  // namespace atelier
