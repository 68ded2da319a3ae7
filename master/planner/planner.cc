#include "master/planner/planner.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <map>
#include <optional>
#include <set>

#include "common/base/hash.h"
#include "common/base/limits.h"
#include "common/graph/frames.h"
#include "common/graph/input_folder.h"
#include "common/graph/lists.h"
#include "common/graph/picture_part.h"
#include "common/graph/prompt.h"
#include "master/planner/frame_streams.h"

namespace atelier {
namespace {

constexpr int kShared = -1;  // the replica number of what all replicas have in common

struct Link {
  std::string input;
  std::string source;
  size_t slot = 0;
};

/// One node of the prompt with what the cuts depend on.
struct Node {
  const NodeSpec* spec = nullptr;
  const Json* inputs = nullptr;
  std::vector<Link> links;
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

/// A node, run for one replica or for all.
struct Instance {
  std::string node;
  int replica = kShared;
  auto operator<=>(const Instance&) const = default;
};

using GroupKey = std::pair<int, int>;  // level, replica

/// The nodes of a prompt that run in each of a stage's tasks, before the tile.
struct TileChain {
  std::set<std::string> prompts;    // those that the tile sees as prompts and in no other way
  std::set<std::string> for_parts;  // those that run there as they hold what is cut to the tile
};

/// What a tile gets its part of: inputs of `type` of nodes that say `holds`; `node` hands the part on from `input`.
struct PartKind {
  bool NodeSpec::*holds;
  const char* type;
  const char* node;
  const char* input;
};
constexpr PartKind kPartKinds[] = {{&NodeSpec::keeps_handles, "IMAGE", kPicturePartType, "image"},
                                   {&NodeSpec::cut_for_tiles, "MASK", kMaskPartType, "mask"},
                                   {&NodeSpec::cut_for_tiles, "LATENT", kLatentPartType, "latent"}};

struct Group {
  TaskSpec task;
  std::vector<Binding> pictures;  // of a tile's chain
  std::set<std::string> included;
  std::map<std::pair<std::string, size_t>, std::map<std::string, size_t>>
      wanted_index;  // (node, slot) -> encoding -> index
};

bool IsTrue(const Json& value) { return value.is_boolean() && value.get<bool>(); }

class Planner {
 public:
  Planner(const Json& prompt, const Catalog& catalog, const PlanOptions& options)
      : prompt_(prompt), catalog_(catalog), options_(options) {}

  StatusOr<Plan> Make(const std::vector<std::string>& outputs) {
    if (options_.compat != "reference" && options_.compat != "documented")
      return InvalidArgument("compat: \"", options_.compat, "\" is neither \"reference\" nor \"documented\"");
    if (options_.replicas < 1 || options_.replicas > limits::kReplicasMax)
      return InvalidArgument("replicas: ", options_.replicas, " is outside 1..", limits::kReplicasMax);
    if (options_.tiles != "exact" && options_.tiles != "independent" && options_.tiles != "by-image")
      return InvalidArgument("tiles: \"", options_.tiles, "\" is none of \"exact\", \"independent\", \"by-image\"");
    if (options_.frames != "auto" && options_.frames != "windows" && options_.frames != "whole")
      return InvalidArgument("frames: \"", options_.frames, "\" is none of \"auto\", \"windows\", \"whole\"");
    FrameStreams found = FindFrameStreams(prompt_, catalog_, {options_.replicas, options_.tiles, options_.frames});
    prompt_ = std::move(found.prompt);
    streams_ = std::move(found.streams);
    by_picture_ = std::move(found.by_picture);
    lists_ = NodesWithLists(prompt_, catalog_);
    RETURN_IF_ERROR(SplitBases());
    std::vector<std::string> roots;  // what tells how many windows there are is linked to nothing
    for (const FrameStream& stream : streams_)
      if (stream.stored && !stream.extent.empty()) roots.push_back(stream.extent);
    roots.insert(roots.end(), outputs.begin(), outputs.end());
    RETURN_IF_ERROR(ReadNodes(roots));
    JoinStreams();
    Classify();
    for (const std::string& output : outputs) Include(Home({output, Replica(output)}), {output, Replica(output)});
    Drain();
    return Finish(outputs);
  }

 private:
  // Gives each tiled node whose canvas is made first a node of its own for that, which takes over the inputs it knows:
  // of the type of the tile node with "Canvas" behind, whose outputs are the canvas and the width and height before.
  Status SplitBases() {
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
      base_of_[id] = base_id;
    }
    return OkStatus();
  }

  // The tile node's name for its crops.
  std::string CropInput(const TileSplit& split) const {
    const NodeSpec* tile = catalog_.Find(split.tile_node);
    if (tile == nullptr || tile->FindInput(split.image_input) != nullptr) return split.image_input;
    for (const InputSpec& input : tile->inputs)
      if (input.type == "IMAGE") return input.name;
    return split.image_input;
  }

  // Reads the ancestors of the outputs and puts them in topological order, without recursion.
  Status ReadNodes(const std::vector<std::string>& outputs) {
    std::vector<std::pair<std::string, size_t>> stack;
    std::map<std::string, int> mark;  // 1: on the stack, 2: done
    for (const std::string& output : outputs) {
      if (mark[output] == 2) continue;
      RETURN_IF_ERROR(ReadNode(output));
      stack.emplace_back(output, 0);
      mark[output] = 1;
      while (!stack.empty()) {
        auto& [id, next] = stack.back();
        const Node& node = nodes_.at(id);
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
  bool Ordinary(const std::string& id) const { return by_picture_.contains(id) || lists_.contains(id); }

  Status ReadNode(const std::string& id) {
    auto found = prompt_.find(id);
    if (found == prompt_.end() || !found->is_object() || !found->contains("class_type"))
      return InvalidArgument("node \"", id, "\" is linked to but not in the prompt");
    const std::string type = (*found)["class_type"].is_string() ? (*found)["class_type"].get<std::string>() : "";
    Node node;
    node.spec = catalog_.Find(type);
    if (node.spec == nullptr)
      return InvalidArgument("node \"", id, "\": no worker offers the type \"", type, "\"; see `atelier nodes`");
    if (node.spec->tiles && Ordinary(id)) {
      const Json own = found->value("inputs", Json::object()).value("order", Json());
      if (!by_picture_.contains(id) && (own == "independent" || (own != "exact" && options_.tiles == "independent")))
        return InvalidArgument("node \"", id,
                               "\": a list comes in, which the order \"independent\" cannot take apart; ",
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

  void JoinStreams() {
    for (size_t s = 0; s < streams_.size(); ++s) {
      if (!streams_[s].stored || !nodes_.contains(streams_[s].taker)) continue;
      for (const std::string& id : streams_[s].members) nodes_.at(id).stream = static_cast<int>(s);
    }
  }

  void Classify() {
    bool gathered = false;
    for (const std::string& id : order_) {
      Node& node = nodes_.at(id);
      bool varies = node.spec->per_replica;
      node.cheap_closed = node.spec->cheap && !node.spec->gathers && !node.spec->tiles;
      for (const Link& link : node.links) {
        const Node& source = nodes_.at(link.source);
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
  void RaiseStreamed() {
    for (const FrameStream& stream : streams_) {
      if (!nodes_.contains(stream.taker)) continue;
      std::vector<std::string> takers{stream.taker};
      for (const std::string& id : order_) {
        const auto frames = FramesOf(*nodes_.at(takers.back()).spec);
        if (!frames || frames->role != "pass") break;
        for (const Link& link : nodes_.at(id).links)
          if (link.source == takers.back() && TakesWindows(*nodes_.at(id).spec, link.input)) takers.push_back(id);
      }
      const int level = nodes_.at(takers.back()).level;
      for (const std::string& id : takers) nodes_.at(id).level = level;
      if (stream.stored) continue;
      for (const std::string& id : stream.members) nodes_.at(id).level = level;
    }
  }

  // Whether a tile's task makes the node's prompts itself, so that it gets its part of what they hold (ChainOf).
  bool HoldsParts(const Node& node) const {
    if (node.spec->tiles || node.gathers || node.stream >= 0) return false;
    const bool costs = !node.spec->cheap && !node.spec->cut_for_tiles && node.holding.empty();
    return std::any_of(node.links.begin(), node.links.end(), [&](const Link& link) {
      const std::string& type = node.spec->FindInput(link.input)->type;
      return (node.spec->cut_for_tiles && (type == "MASK" || type == "LATENT")) ||
             (!costs && type == "CONDITIONING" && nodes_.at(link.source).for_parts);
    });
  }

  // A value that holds a handle (a prompt with a control net) stays one on its way through nodes of its type.
  void FindHolding(Node& node) const {
    std::set<std::string> types;  // of the inputs that hold handles
    for (const Link& link : node.links) {
      const Node& source = nodes_.at(link.source);
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

  int Replica(const std::string& node) const { return nodes_.at(node).varies ? 0 : kShared; }

  GroupKey Home(const Instance& instance) const {
    const Node& node = nodes_.at(instance.node);
    return node.stream >= 0 ? StreamKey(node.stream) : GroupKey{node.level, instance.replica};
  }
  // Windows lie in groups of their own that no task is made of, as the handle chains of tiles do.
  static GroupKey StreamKey(int stream) { return {std::numeric_limits<int>::min() + stream, kShared}; }

  static std::string GroupId(const GroupKey& key) {
    std::string id = key.second == kShared ? "shared" : Cat("replica-", key.second);
    return key.first == 0 ? id : Cat(id, "-", key.first);
  }
  static std::string StageId(const Instance& instance) {
    return instance.replica == kShared ? Cat("tiles-", instance.node)
                                       : Cat("tiles-", instance.node, "-", instance.replica);
  }

  bool IsHandle(const Link& link, const Node& consumer) const {
    if (nodes_.at(link.source).holding.contains(link.slot)) return true;
    return !CrossesAsData(catalog_, prompt_, link.source, link.slot, consumer.spec->FindInput(link.input)->type);
  }

  // Puts an instance into a group's fragment, once, and queues what it needs.
  void Include(const GroupKey& key, const Instance& instance) {
    if (nodes_.at(instance.node).spec->tiles) {
      IncludeStage(instance);
      return;
    }
    Group& group = groups_[key];
    if (!group.included.insert(instance.node).second) return;
    work_.emplace_back(key, instance);
  }

  void Drain() {
    while (!work_.empty()) {
      auto [key, instance] = work_.front();
      work_.pop_front();
      Group& group = groups_[key];
      const Node& node = nodes_.at(instance.node);
      Json inputs = Json::object();
      for (const auto& [name, value] : node.inputs->items()) {
        const InputSpec* input = node.spec->FindInput(name);
        // The parts of a set of files are bound in the prompt already.
        if (input == nullptr || (input->hidden && input->folder.empty())) continue;
        if (!IsLink(value)) inputs[name] = value;
      }
      if (by_picture_.contains(instance.node)) inputs["by_picture"] = true;
      if (node.spec->per_replica) inputs["replica_index"] = std::max(instance.replica, 0);
      for (const Link& link : node.links) {
        const bool gather = node.gathers && node.spec->FindInput(link.input)->gather;
        if (gather) {
          Binding binding{instance.node, link.input, {}, true};
          for (int r = 0; r < node.gather_replicas; ++r)
            binding.sources.push_back(Want(SourceOf(link, r), link.slot, ""));
          group.task.bindings.push_back(std::move(binding));
          continue;
        }
        const Instance source = SourceOf(link, instance.replica);
        if (node.stream >= 0 && node.spec->type == kFrameWindowType && link.input == "image") {
          streams_found_[node.stream].batch = Want(source, link.slot, "");
          continue;
        }
        if (const int stream = nodes_.at(source.node).stream; stream >= 0 && stream != node.stream) {
          group.task.bindings.push_back({instance.node, link.input, {WantStream(stream, source, link.slot)}, true});
          group.task.needs.node_types.insert(kFrameWindowType);
          continue;
        }
        const auto chain = chains_.find(key);
        const bool inside = !nodes_.at(source.node).spec->tiles &&
                            (IsHandle(link, node) || nodes_.at(source.node).cheap_closed || Home(source) == key ||
                             (chain != chains_.end() && InChain(chain->second, link, node)));
        if (inside) {
          inputs[link.input] = Json::array({link.source, link.slot});
          Include(key, source);
        } else if (const PartKind* kind = chain == chains_.end() ? nullptr : PartOf(chain->second, link, instance.node);
                   kind != nullptr) {
          std::string part = Cat(instance.node, ".", link.input);
          while (prompt_.contains(part)) part += "'";
          inputs[link.input] = Json::array({part, 0});
          group.task.nodes[part] = {{"class_type", kind->node}, {"inputs", Json::object()}};
          group.task.needs.node_types.insert(kind->node);
          group.pictures.push_back({part, kind->input, {Want(source, link.slot, "plain")}, false});
        } else {
          group.task.bindings.push_back({instance.node, link.input, {Want(source, link.slot, "")}, false});
        }
      }
      BindParts(group.task, instance.node, node);
      AddNode(group.task, instance.node, node, std::move(inputs));
    }
  }

  // A hidden gather input gets, one by one, what a gathering node joined for a visible input of the same type: so that
  // clips of unequal length can be told apart again.
  void BindParts(TaskSpec& task, const std::string& id, const Node& node) {
    for (const InputSpec& parts : node.spec->inputs) {
      if (!parts.hidden || !parts.gather) continue;
      for (const Link& link : node.links) {
        const Node& joined = nodes_.at(link.source);
        if (!joined.gathers || node.spec->FindInput(link.input)->type != parts.type) continue;
        for (const Link& from : joined.links) {
          const InputSpec& input = *joined.spec->FindInput(from.input);
          if (!input.gather || input.type != parts.type) continue;
          Binding binding{id, parts.name, {}, true};
          for (int r = 0; r < joined.gather_replicas; ++r)
            binding.sources.push_back(Want(SourceOf(from, r), from.slot, ""));
          task.bindings.push_back(std::move(binding));
        }
      }
    }
  }

  Instance SourceOf(const Link& link, int replica) const {
    return {link.source, nodes_.at(link.source).varies ? std::max(replica, 0) : kShared};
  }

  static void AddNode(TaskSpec& task, const std::string& id, const Node& node, Json inputs) {
    task.needs.node_types.insert(node.spec->type);
    for (const InputSpec& input : node.spec->inputs) {
      auto value = inputs.find(input.name);
      if (input.folder.empty() || value == inputs.end() || !value->is_string()) continue;
      if (input.FindSet(value->get_ref<const std::string&>()) != nullptr) continue;  // its parts are inputs, too
      if (input.folder == "input")
        task.input_files.insert(value->get<std::string>());
      else if (input.folder == kPictureFolders)
        task.input_files.insert(value->get<std::string>() + "/");
      else
        task.needs.models.emplace(input.folder, value->get<std::string>());
    }
    task.nodes[id] = {{"class_type", node.spec->type}, {"inputs", std::move(inputs)}};
  }

  // Asks the home group of an instance for one of its outputs as a blob.
  Source Want(const Instance& instance, size_t slot, const std::string& encoding) {
    const Node& node = nodes_.at(instance.node);
    if (node.spec->tiles) {
      IncludeStage(instance);
      return {StageId(instance), 0};
    }
    const GroupKey key = Home(instance);
    Include(key, instance);
    Group& group = groups_[key];
    auto& by_encoding = group.wanted_index[{instance.node, slot}];
    auto [it, added] = by_encoding.emplace(encoding, group.task.wanted.size());
    if (added) group.task.wanted.push_back({instance.node, slot, encoding});
    return {GroupId(key), it->second};
  }

  Source WantStream(int index, const Instance& last, size_t slot) {
    const FrameStream& stream = streams_[static_cast<size_t>(index)];
    Group& group = groups_[StreamKey(index)];
    if (group.task.wanted.empty()) {
      StreamSpec& spec = streams_found_[index];
      group.task.wanted.push_back({last.node, slot, stream.encoding});
      if (!stream.extent.empty()) spec.extent = Want({stream.extent, Replica(stream.extent)}, 0, "");
      Include(StreamKey(index), last);
    }
    return {stream.id, 0};
  }

  void IncludeStage(const Instance& instance) {
    const std::string id = StageId(instance);
    if (!stage_ids_.insert(id).second) return;
    const Node& node = nodes_.at(instance.node);
    const TileSplit& split = *node.spec->tiles;
    StageSpec stage;
    stage.id = id;
    stage.label = Cat("tiles of node ", instance.node);
    stage.node = instance.node;
    stage.split = split;
    stage.crop_input = CropInput(split);
    Json inputs = Json::object();
    for (const InputSpec& input : node.spec->inputs) {
      auto value = node.inputs->find(input.name);
      if (value != node.inputs->end() && !IsLink(*value) && !input.hidden)
        inputs[input.name] = *value;
      else if (value == node.inputs->end() && !input.default_value.is_null() && !input.hidden)
        inputs[input.name] = input.default_value;
    }
    // The handle chain of a tile lies in a group of its own that no task is made of.
    const GroupKey key{-static_cast<int>(stage_ids_.size()), instance.replica};
    const TileChain& chain = chains_[key] = ChainOf(node);
    std::vector<Binding> image;
    for (const Link& link : node.links) {
      const Instance source = SourceOf(link, instance.replica);
      if (!nodes_.at(source.node).spec->tiles && (IsHandle(link, node) || InChain(chain, link, node))) {
        inputs[link.input] = Json::array({link.source, link.slot});
        Include(key, source);
        continue;
      }
      const bool is_image = link.input == split.image_input;
      Binding binding{instance.node, link.input, {Want(source, link.slot, is_image ? "u8" : "")}, false};
      (is_image ? image : stage.bindings).push_back(std::move(binding));
      if (!is_image || !base_of_.contains(instance.node)) continue;
      stage.measures.push_back({instance.node, "init_width", {Want(source, 1, "")}, false});
      stage.measures.push_back({instance.node, "init_height", {Want(source, 2, "")}, false});
    }
    stage.bindings.insert(stage.bindings.begin(), image.begin(), image.end());
    stage.tile.nodes[instance.node] = {{"class_type", split.tile_node}, {"inputs", std::move(inputs)}};
    stage.tile.needs.node_types.insert(split.tile_node);
    stage.tile.wanted.push_back({instance.node, 0, "packed"});
    stages_.emplace_back(key, std::move(stage));
  }

  // What runs in a tile's task before the tiled node. A node that the tile sees as a prompt and in no other way gets
  // its part of a picture (keeps_handles), mask or latent (cut_for_tiles); what a guider holds is not cut.
  TileChain ChainOf(const Node& tiled) const {
    TileChain chain;
    const bool parts = catalog_.Find(kMaskPartType) != nullptr;
    std::set<std::string> others;
    std::vector<std::pair<const Node*, bool>> left{{&tiled, true}};
    while (!left.empty()) {
      const auto [node, cut] = left.back();
      left.pop_back();
      for (const Link& link : node->links) {
        const Node& source = nodes_.at(link.source);
        if (source.spec->tiles) continue;
        const bool conditioning = node->spec->FindInput(link.input)->type == "CONDITIONING";
        const bool prompt = cut && conditioning, for_part = parts && conditioning && source.for_parts;
        if (!for_part && !IsHandle(link, *node)) continue;
        if (prompt && for_part) chain.for_parts.insert(link.source);
        if ((prompt ? chain.prompts : others).insert(link.source).second) left.emplace_back(&source, prompt);
      }
    }
    for (const std::string& id : others) chain.prompts.erase(id);
    return chain;
  }

  bool InChain(const TileChain& chain, const Link& link, const Node& consumer) const {
    return chain.for_parts.contains(link.source) && consumer.spec->FindInput(link.input)->type == "CONDITIONING";
  }

  const PartKind* PartOf(const TileChain& chain, const Link& link, const std::string& consumer) const {
    const NodeSpec& spec = *nodes_.at(consumer).spec;
    if (!chain.prompts.contains(consumer)) return nullptr;
    for (const PartKind& kind : kPartKinds)
      if (spec.*kind.holds && spec.FindInput(link.input)->type == kind.type && catalog_.Find(kind.node) != nullptr)
        return &kind;
    return nullptr;
  }

  // Hash of the node types and of their literals but texts, files and seeds: tasks of one kind cost the same.
  std::string KindOf(const TaskSpec& task) const {
    std::vector<std::string> lines;
    for (const auto& [id, node] : task.nodes.items()) {
      const std::string type = node.at("class_type").get<std::string>();
      const NodeSpec* spec = catalog_.Find(type);
      std::string line = type;
      for (const auto& [name, value] : node.at("inputs").items()) {
        const InputSpec* input = spec == nullptr ? nullptr : spec->FindInput(name);
        const bool free = input == nullptr || input->hidden || input->type == "STRING" || !input->folder.empty() ||
                          input->control_after_generate;
        if (!free && value.is_primitive()) line += Cat(" ", name, "=", value.dump());
      }
      lines.push_back(std::move(line));
    }
    std::sort(lines.begin(), lines.end());
    Sha256 hash;
    for (const std::string& line : lines) hash.Update(line + "\n");
    return hash.HexDigest().substr(0, 16);
  }

  Plan Finish(const std::vector<std::string>& outputs) {
    Plan plan;
    plan.replicas = options_.replicas;
    plan.tiles = options_.tiles;
    plan.compat = options_.compat;
    for (const std::string& output : outputs)
      groups_[Home({output, Replica(output)})].task.output_nodes.push_back(output);
    for (auto& [key, stage] : stages_) {
      auto chain = groups_.find(key);
      if (chain != groups_.end()) {
        TaskSpec& from = chain->second.task;
        for (auto& [id, node] : from.nodes.items()) stage.tile.nodes[id] = node;
        stage.tile.bindings = std::move(from.bindings);
        stage.pictures = std::move(chain->second.pictures);
        stage.tile.input_files.merge(from.input_files);
        stage.tile.needs.node_types.merge(from.needs.node_types);
        stage.tile.needs.models.merge(from.needs.models);
        groups_.erase(chain);
      }
      stage.tile.kind = KindOf(stage.tile);
      plan.stages.push_back(std::move(stage));
    }
    for (auto& [index, spec] : streams_found_) {
      const FrameStream& stream = streams_[static_cast<size_t>(index)];
      spec.id = stream.id;
      spec.label = Cat(stream.extent.empty() ? "pictures" : "frames", " for node ", stream.taker);
      spec.node = stream.members.front();
      if (!stream.extent.empty()) spec.window_frames = options_.window_frames;
      spec.window = std::move(groups_.at(StreamKey(index)).task);
      spec.window.kind = KindOf(spec.window);
      groups_.erase(StreamKey(index));
      plan.streams.push_back(std::move(spec));
    }
    for (auto& [key, group] : groups_) {
      group.task.kind = KindOf(group.task);
      group.task.id = GroupId(key);
      if (key.second != kShared)
        group.task.label = Cat("replica ", key.second);
      else
        group.task.label = groups_.size() == 1 && plan.stages.empty() && plan.streams.empty() ? "whole prompt"
                           : key.first == 0                                                   ? "shared part"
                                                                                              : "assembly";
      plan.tasks.push_back(std::move(group.task));
    }
    return plan;
  }

  Json prompt_;  // with the bases of tiled nodes as nodes of their own
  std::map<std::string, std::string> base_of_;
  const Catalog& catalog_;
  const PlanOptions& options_;
  std::map<std::string, Node> nodes_;
  std::vector<std::string> order_;
  std::map<GroupKey, Group> groups_;
  std::vector<std::pair<GroupKey, StageSpec>> stages_;
  std::vector<FrameStream> streams_;
  std::map<int, StreamSpec> streams_found_;  // by index in streams_; those that are stored and needed
  std::set<std::string> by_picture_, lists_;
  std::map<std::string, NodeSpec> plain_;  // types of nodes that are run a picture at a time
  std::set<std::string> stage_ids_;
  std::map<GroupKey, TileChain> chains_;  // of each stage
  std::deque<std::pair<GroupKey, Instance>> work_;
};

Json ToJson(const TaskSpec& task) {
  Json json{{"id", task.id}, {"nodes", task.nodes}, {"outputs", task.output_nodes}};
  for (const Binding& b : task.bindings) {
    Json sources = Json::array();
    for (const Source& s : b.sources) sources.push_back(Json::array({s.task, s.output}));
    json["bindings"].push_back(Json::array({b.node, b.input, sources, b.gather}));
  }
  for (const Wanted& w : task.wanted) json["wanted"].push_back(Json::array({w.node, w.slot, w.encoding}));
  return json;
}

}  // namespace

bool CrossesAsData(const Catalog& catalog, const Json& prompt, const std::string& source, size_t slot,
                   const std::string& consumer_type) {
  const NodeSpec* spec = catalog.Find(prompt.at(source).at("class_type").get<std::string>());
  const std::string& type = spec != nullptr && slot < spec->outputs.size() ? spec->outputs[slot].type : consumer_type;
  return IsDataType(type == "*" ? consumer_type : type);
}

std::string Plan::Digest() const {
  Json json{{"replicas", replicas}, {"tiles", tiles}, {"compat", compat}};
  for (const TaskSpec& task : tasks) json["tasks"].push_back(ToJson(task));
  for (const StageSpec& stage : stages) {
    Json one = ToJson(stage.tile);
    one["stage"] = stage.id;
    for (const Binding& b : stage.bindings)
      one["from"].push_back(Json::array({b.input, b.sources[0].task, b.sources[0].output}));
    for (const Binding& b : stage.pictures)
      one["pictures"].push_back(Json::array({b.node, b.input, b.sources[0].task, b.sources[0].output}));
    for (const Binding& b : stage.measures)
      one["measures"].push_back(Json::array({b.input, b.sources[0].task, b.sources[0].output}));
    json["stages"].push_back(std::move(one));
  }
  for (const StreamSpec& stream : streams) {
    Json one = ToJson(stream.window);
    one["stream"] = stream.id;
    one["window"] = stream.window_frames;
    for (const auto& from : {stream.extent, stream.batch})
      one["from"].push_back(from ? Json::array({from->task, from->output}) : Json());
    json["streams"].push_back(std::move(one));
  }
  return Sha256Hex(DumpJson(json));
}

StatusOr<Plan> MakePlan(const Json& prompt, const std::vector<std::string>& outputs, const Catalog& catalog,
                        const PlanOptions& options) {
  return Planner(prompt, catalog, options).Make(outputs);
}

std::string ExplainPlan(const Plan& plan) {
  std::string text = Cat(plan.tasks.size(), " tasks, ", plan.stages.size(), " tiled stages, ", plan.streams.size(),
                         " streams of frames, ", plan.replicas, " replicas, tiles ", plan.tiles, "\n");
  auto describe = [&text](const TaskSpec& task, const std::vector<Binding>& more) {
    for (const auto& [id, node] : task.nodes.items())
      text += Cat("    ", id, " ", node["class_type"].get<std::string>(), "\n");
    std::set<std::string> after;
    for (const auto* list : {&task.bindings, &more})
      for (const Binding& binding : *list)
        for (const Source& source : binding.sources) after.insert(source.task);
    for (const std::string& id : after) text += Cat("    after ", id, "\n");
  };
  for (const TaskSpec& task : plan.tasks) {
    text += Cat("  task ", task.id, " (", task.label, ")\n");
    describe(task, {});
  }
  for (const StageSpec& stage : plan.stages) {
    text += Cat("  stage ", stage.id, " (", stage.label, ", one task a step)\n");
    std::vector<Binding> more = stage.bindings;
    more.insert(more.end(), stage.pictures.begin(), stage.pictures.end());
    describe(stage.tile, more);
  }
  for (const StreamSpec& stream : plan.streams) {
    text += Cat("  stream ", stream.id, " (", stream.label, ", one task a window)\n");
    const std::optional<Source>& from = stream.extent ? stream.extent : stream.batch;
    describe(stream.window, {{stream.node, "", {*from}, false}});
  }
  return text;
}

}  // namespace atelier
