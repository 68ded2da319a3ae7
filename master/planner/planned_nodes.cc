#include "master/planner/planned_nodes.h"

#include <algorithm>
#include <utility>

#include "common/graph/frames.h"
#include "common/graph/lists.h"
#include "common/graph/prompt.h"

namespace atelier {
namespace {

bool IsTrue(const Json& value) { return value.is_boolean() && value.get<bool>(); }

}  // namespace

PlannedNodes::PlannedNodes(Json prompt, const Catalog& catalog, FrameOptions options)
    : prompt_(std::move(prompt)), catalog_(catalog), options_(std::move(options)) {}

Status PlannedNodes::Read(const std::vector<std::string>& outputs) {
  FrameStreams found = FindFrameStreams(prompt_, catalog_, options_);
  prompt_ = std::move(found.prompt);
  streams_ = std::move(found.streams);
  by_picture_ = std::move(found.by_picture);
  lists_ = NodesWithLists(prompt_, catalog_);
  RETURN_IF_ERROR(SplitBases());
  std::vector<std::string> roots;  // what tells how many windows there are is linked to nothing
  for (const FrameStream& stream : streams_)
    if (stream.stored && !stream.extent.empty()) roots.push_back(stream.extent);
  roots.insert(roots.end(), outputs.begin(), outputs.end());
  RETURN_IF_ERROR(ReadAbove(roots));
  JoinStreams();
  Classify();
  return OkStatus();
}

// Gives each tiled node whose canvas is made first a node of its own for that, which takes over the inputs it knows:
// of the type of the tile node with "Canvas" behind, whose outputs are the canvas and the width and height before.
Status PlannedNodes::SplitBases() {
  std::vector<std::string> ids;
  for (const auto& [id, node] : prompt_.items()) ids.push_back(id);
  for (const std::string& id : ids) {
    Json& node = prompt_[id];
    if (!node.is_object() || !node.contains("class_type") || !node["class_type"].is_string()) continue;
    const NodeSpec* spec = catalog_.Find(node["class_type"].get<std::string>());
    if (spec == nullptr || !spec->tiles || spec->tiles->canvas_multiple <= 1 || Ordinary(id)) continue;
    const std::string type = Cat(spec->tiles->tile_node, "Canvas");
    const NodeSpec* base = catalog_.Find(type);
    if (base == nullptr)
      return InvalidArgument("node \"", id, "\": no worker offers the type \"", type, "\"; see `atelier nodes`");
    std::string base_id = Cat(id, ".base");
    while (prompt_.contains(base_id)) base_id += "'";
    const Json all = node.value("inputs", Json::object());
    Json inputs = Json::object(), rest = Json::object();
    for (const auto& [name, value] : all.items()) (base->FindInput(name) != nullptr ? inputs : rest)[name] = value;
    rest[spec->tiles->image_input] = Json::array({base_id, 0});
    node["inputs"] = std::move(rest);
    prompt_[base_id] = {{"class_type", base->type}, {"inputs", std::move(inputs)}};
    based_.insert(id);
  }
  return OkStatus();
}

// Reads the ancestors of the outputs and puts them in topological order, without recursion.
Status PlannedNodes::ReadAbove(const std::vector<std::string>& outputs) {
  std::vector<std::pair<std::string, size_t>> stack;
  std::map<std::string, int> mark;  // 1: on the stack, 2: done
  for (const std::string& output : outputs) {
    if (mark[output] == 2) continue;
    RETURN_IF_ERROR(ReadNode(output));
    stack.emplace_back(output, 0);
    mark[output] = 1;
    while (!stack.empty()) {
      auto& [id, next] = stack.back();
      const PlannedNode& node = nodes_.at(id);
      if (next == node.links.size()) {
        mark[id] = 2;
        order_.push_back(id);
        stack.pop_back();
        continue;
      }
      const std::string source = node.links[next++].source;
      if (mark[source] == 1) return InvalidArgument("node \"", source, "\" depends on itself: remove the cycle");
      if (mark[source] == 2) continue;
      RETURN_IF_ERROR(ReadNode(source));
      mark[source] = 1;
      stack.emplace_back(source, 0);
    }
  }
  return OkStatus();
}

// Whether a tiled node is run as a whole: a task a picture, or where lists come in once for each element.
bool PlannedNodes::Ordinary(const std::string& id) const { return by_picture_.contains(id) || lists_.contains(id); }

Status PlannedNodes::ReadNode(const std::string& id) {
  auto found = prompt_.find(id);
  if (found == prompt_.end() || !found->is_object() || !found->contains("class_type"))
    return InvalidArgument("node \"", id, "\" is linked to but not in the prompt");
  const std::string type = (*found)["class_type"].is_string() ? (*found)["class_type"].get<std::string>() : "";
  PlannedNode node;
  node.spec = catalog_.Find(type);
  if (node.spec == nullptr)
    return InvalidArgument("node \"", id, "\": no worker offers the type \"", type, "\"; see `atelier nodes`");
  if (node.spec->tiles && Ordinary(id)) {
    const Json own = found->value("inputs", Json::object()).value("order", Json());
    if (!by_picture_.contains(id) && (own == "independent" || (own != "exact" && options_.tiles == "independent")))
      return InvalidArgument("node \"", id, "\": a list comes in, which the order \"independent\" cannot take apart; ",
                             "set tiles to \"exact\" or \"by-image\", or make one batch of the list first");
    NodeSpec& plain = plain_.emplace(type, *node.spec).first->second;
    plain.tiles.reset();
    node.spec = &plain;
  }
  static const Json kNone = Json::object();
  auto inputs = found->find("inputs");
  node.inputs = inputs != found->end() && inputs->is_object() ? &*inputs : &kNone;
  for (const auto& [name, value] : node.inputs->items()) {
    if (!IsLink(value) || node.spec->FindInput(name) == nullptr) continue;
    node.links.push_back({name, value[0].get<std::string>(), value[1].get<size_t>()});
  }
  nodes_.emplace(id, std::move(node));
  return OkStatus();
}

void PlannedNodes::JoinStreams() {
  for (size_t s = 0; s < streams_.size(); ++s) {
    if (!streams_[s].stored || !nodes_.contains(streams_[s].taker)) continue;
    for (const std::string& id : streams_[s].members) nodes_.at(id).stream = static_cast<int>(s);
  }
}

void PlannedNodes::Classify() {
  bool gathered = false;
  for (const std::string& id : order_) {
    PlannedNode& node = nodes_.at(id);
    bool varies = node.spec->per_replica;
    node.cheap_closed = node.spec->cheap && !node.spec->gathers && !node.spec->tiles;
    for (const PlannedLink& link : node.links) {
      const PlannedNode& source = nodes_.at(link.source);
      varies |= source.varies;
      node.below_tiles |= source.below_tiles || source.spec->tiles.has_value();
      node.cheap_closed &= source.cheap_closed;
      const bool cut = source.spec->tiles || (source.stream >= 0 && source.stream != node.stream);
      node.level = std::max(node.level, source.level + (cut ? 1 : 0));
      if (source.stream < 0 || source.stream == node.stream) continue;
      const FrameStream& stream = streams_[static_cast<size_t>(source.stream)];  // what tells its extent comes before
      if (nodes_.contains(stream.extent)) node.level = std::max(node.level, nodes_.at(stream.extent).level + 1);
    }
    FindHolding(node);
    auto flag = node.inputs->find(node.spec->single_replica_if);
    node.gather_replicas = flag != node.inputs->end() && IsTrue(*flag) ? 1 : options_.replicas;
    node.gathers = node.spec->gathers && !node.below_tiles && node.gather_replicas > 1;
    gathered |= node.gathers;
    if (!node.gathers) node.varies = varies;
    if (node.gathers || node.spec->tiles) node.level += 1;
    node.for_parts = HoldsParts(node);
  }
  RaiseStreamed();
  if (gathered) return;
  for (auto& [id, node] : nodes_) node.varies = false;  // only replica 0 runs: nothing to tell apart
}

// Who hands windows on runs in the task of the sink that reads them; so does what makes them as they are read.
void PlannedNodes::RaiseStreamed() {
  for (const FrameStream& stream : streams_) {
    if (!nodes_.contains(stream.taker)) continue;
    std::vector<std::string> takers{stream.taker};
    for (const std::string& id : order_) {
      const auto frames = FramesOf(*nodes_.at(takers.back()).spec);
      if (!frames || frames->role != "pass") break;
      for (const PlannedLink& link : nodes_.at(id).links)
        if (link.source == takers.back() && TakesWindows(*nodes_.at(id).spec, link.input)) takers.push_back(id);
    }
    const int level = nodes_.at(takers.back()).level;
    for (const std::string& id : takers) nodes_.at(id).level = level;
    if (stream.stored) continue;
    for (const std::string& id : stream.members) nodes_.at(id).level = level;
  }
}

// Whether a tile's task makes the node's prompts itself, so that it gets its part of what they hold (ChainOf).
bool PlannedNodes::HoldsParts(const PlannedNode& node) const {
  if (node.spec->tiles || node.gathers || node.stream >= 0) return false;
  const bool costs = !node.spec->cheap && !node.spec->cut_for_tiles && node.holding.empty();
  return std::any_of(node.links.begin(), node.links.end(), [&](const PlannedLink& link) {
    const std::string& type = node.spec->FindInput(link.input)->type;
    return (node.spec->cut_for_tiles && (type == "MASK" || type == "LATENT")) ||
           (!costs && type == "CONDITIONING" && nodes_.at(link.source).for_parts);
  });
}

// A value that holds a handle (a prompt with a control net) stays one on its way through nodes of its type.
void PlannedNodes::FindHolding(PlannedNode& node) const {
  std::set<std::string> types;  // of the inputs that hold handles
  for (const PlannedLink& link : node.links) {
    const PlannedNode& source = nodes_.at(link.source);
    if (!source.holding.contains(link.slot)) continue;
    const std::string& wanted = node.spec->FindInput(link.input)->type;
    types.insert(wanted == "*" ? source.spec->outputs[link.slot].type : wanted);
  }
  for (size_t i = 0; i < node.spec->outputs.size(); ++i) {
    const std::string& type = node.spec->outputs[i].type;
    const bool passes = types.contains(type) || (type == "*" && !types.empty());
    if (IsDataType(type) && (node.spec->keeps_handles || passes)) node.holding.insert(i);
  }
}

bool PlannedNodes::IsHandle(const PlannedLink& link, const PlannedNode& consumer) const {
  const PlannedNode& source = nodes_.at(link.source);
  if (source.holding.contains(link.slot)) return true;
  const std::string& wanted = consumer.spec->FindInput(link.input)->type;
  const std::string& type = link.slot < source.spec->outputs.size() ? source.spec->outputs[link.slot].type : wanted;
  return !IsDataType(type == "*" ? wanted : type);
}

}  // namespace atelier
