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
#include "common/graph/picture_part.h"
#include "common/graph/prompt.h"
#include "master/planner/planned_nodes.h"
#include "master/planner/tile_chain.h"

namespace atelier {
namespace {

constexpr int kShared = -1;  // the replica number of what all replicas have in common

/// A node, run for one replica or for all.
struct Instance {
  std::string node;
  int replica = kShared;
  auto operator<=>(const Instance&) const = default;
};

using GroupKey = std::pair<int, int>;  // level, replica

struct Group {
  TaskSpec task;
  std::vector<Binding> pictures;  // of a tile's chain
  std::set<std::string> included;
  std::map<std::pair<std::string, size_t>, std::map<std::string, size_t>>
      wanted_index;  // (node, slot) -> encoding -> index
};

class Planner {
 public:
  Planner(const Json& prompt, const Catalog& catalog, const PlanOptions& options)
      : catalog_(catalog),
        options_(options),
        nodes_(prompt, catalog, {options.replicas, options.tiles, options.frames}) {}

  StatusOr<Plan> Make(const std::vector<std::string>& outputs) {
    if (options_.compat != "reference" && options_.compat != "documented")
      return InvalidArgument("compat: \"", options_.compat, "\" is neither \"reference\" nor \"documented\"");
    if (options_.replicas < 1 || options_.replicas > limits::kReplicasMax)
      return InvalidArgument("replicas: ", options_.replicas, " is outside 1..", limits::kReplicasMax);
    if (options_.tiles != "exact" && options_.tiles != "independent" && options_.tiles != "by-image")
      return InvalidArgument("tiles: \"", options_.tiles, "\" is none of \"exact\", \"independent\", \"by-image\"");
    if (options_.frames != "auto" && options_.frames != "windows" && options_.frames != "whole")
      return InvalidArgument("frames: \"", options_.frames, "\" is none of \"auto\", \"windows\", \"whole\"");
    RETURN_IF_ERROR(nodes_.Read(outputs));
    for (const std::string& output : outputs) Include(Home({output, Replica(output)}), {output, Replica(output)});
    Drain();
    return Finish(outputs);
  }

 private:
  // The tile node's name for its crops.
  std::string CropInput(const TileSplit& split) const {
    const NodeSpec* tile = catalog_.Find(split.tile_node);
    if (tile == nullptr || tile->FindInput(split.image_input) != nullptr) return split.image_input;
    for (const InputSpec& input : tile->inputs)
      if (input.type == "IMAGE") return input.name;
    return split.image_input;
  }

  int Replica(const std::string& node) const { return nodes_.at(node).varies ? 0 : kShared; }

  GroupKey Home(const Instance& instance) const {
    const PlannedNode& node = nodes_.at(instance.node);
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
      const PlannedNode& node = nodes_.at(instance.node);
      Json inputs = Json::object();
      for (const auto& [name, value] : node.inputs->items()) {
        const InputSpec* input = node.spec->FindInput(name);
        // The parts of a set of files are bound in the prompt already.
        if (input == nullptr || (input->hidden && input->folder.empty())) continue;
        if (!IsLink(value)) inputs[name] = value;
      }
      if (nodes_.IsByPicture(instance.node)) inputs["by_picture"] = true;
      if (node.spec->per_replica) inputs["replica_index"] = std::max(instance.replica, 0);
      for (const PlannedLink& link : node.links) {
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
                            (nodes_.IsHandle(link, node) || nodes_.at(source.node).cheap_closed ||
                             Home(source) == key || (chain != chains_.end() && InChain(chain->second, link, node)));
        if (inside) {
          inputs[link.input] = Json::array({link.source, link.slot});
          Include(key, source);
        } else if (const PartKind* kind =
                       chain == chains_.end() ? nullptr : PartOf(nodes_, chain->second, link, instance.node);
                   kind != nullptr) {
          std::string part = Cat(instance.node, ".", link.input);
          while (nodes_.IsTaken(part)) part += "'";
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
  void BindParts(TaskSpec& task, const std::string& id, const PlannedNode& node) {
    for (const InputSpec& parts : node.spec->inputs) {
      if (!parts.hidden || !parts.gather) continue;
      for (const PlannedLink& link : node.links) {
        const PlannedNode& joined = nodes_.at(link.source);
        if (!joined.gathers || node.spec->FindInput(link.input)->type != parts.type) continue;
        for (const PlannedLink& from : joined.links) {
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

  Instance SourceOf(const PlannedLink& link, int replica) const {
    return {link.source, nodes_.at(link.source).varies ? std::max(replica, 0) : kShared};
  }

  static void AddNode(TaskSpec& task, const std::string& id, const PlannedNode& node, Json inputs) {
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
    const PlannedNode& node = nodes_.at(instance.node);
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
    const FrameStream& stream = nodes_.streams()[static_cast<size_t>(index)];
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
    const PlannedNode& node = nodes_.at(instance.node);
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
    const TileChain& chain = chains_[key] = ChainOf(nodes_, node);
    std::vector<Binding> image;
    for (const PlannedLink& link : node.links) {
      const Instance source = SourceOf(link, instance.replica);
      if (!nodes_.at(source.node).spec->tiles && (nodes_.IsHandle(link, node) || InChain(chain, link, node))) {
        inputs[link.input] = Json::array({link.source, link.slot});
        Include(key, source);
        continue;
      }
      const bool is_image = link.input == split.image_input;
      Binding binding{instance.node, link.input, {Want(source, link.slot, is_image ? "u8" : "")}, false};
      (is_image ? image : stage.bindings).push_back(std::move(binding));
      if (!is_image || !nodes_.HasBase(instance.node)) continue;
      stage.measures.push_back({instance.node, "init_width", {Want(source, 1, "")}, false});
      stage.measures.push_back({instance.node, "init_height", {Want(source, 2, "")}, false});
    }
    stage.bindings.insert(stage.bindings.begin(), image.begin(), image.end());
    stage.tile.nodes[instance.node] = {{"class_type", split.tile_node}, {"inputs", std::move(inputs)}};
    stage.tile.needs.node_types.insert(split.tile_node);
    stage.tile.wanted.push_back({instance.node, 0, "packed"});
    stages_.emplace_back(key, std::move(stage));
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
      const FrameStream& stream = nodes_.streams()[static_cast<size_t>(index)];
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

  const Catalog& catalog_;
  const PlanOptions& options_;
  PlannedNodes nodes_;
  std::map<GroupKey, Group> groups_;
  std::vector<std::pair<GroupKey, StageSpec>> stages_;
  std::map<int, StreamSpec> streams_found_;  // by index in nodes_.streams(); those that are stored and needed
  std::set<std::string> stage_ids_;
  std::map<GroupKey, TileChain> chains_;  // of each stage
  std::deque<std::pair<GroupKey, Instance>> work_;
};

}  // namespace

StatusOr<Plan> MakePlan(const Json& prompt, const std::vector<std::string>& outputs, const Catalog& catalog,
                        const PlanOptions& options) {
  return Planner(prompt, catalog, options).Make(outputs);
}

}  // namespace atelier
