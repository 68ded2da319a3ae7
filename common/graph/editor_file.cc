#include "common/graph/editor_file.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "common/base/limits.h"
#include "common/graph/js_number.h"

namespace atelier::editor {
namespace {

// A slot's type; old files also have 0 and -1 for "any".
std::string SlotType(const Json& object) {
  std::string type = Text(object, "type");
  return type.empty() ? "*" : type;
}

// Node ids and link ids as text; number and string forms of a link id differ, as they do in the editor's map.
std::optional<std::string> NodeId(const Json* id) {
  if (id == nullptr) return std::nullopt;
  if (id->is_string()) return id->get<std::string>();
  if (id->is_number()) return JsNumberText(id->get<double>());
  return std::nullopt;
}
std::optional<std::string> LinkKey(const Json* id) {
  if (id == nullptr || id->is_null()) return std::nullopt;
  if (id->is_number()) return JsNumberText(id->get<double>());
  return "?" + id->dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 100);
}

int64_t SlotNumber(const Json* value) {
  if (value == nullptr || !value->is_number()) return -1;
  const double number = value->get<double>();
  return number >= -1e6 && number <= 1e6 ? static_cast<int64_t>(number) : -1;
}

class Reader {
 public:
  Reader(const Json& root, const WidgetTable& widgets) : root_(root), widgets_(widgets) {}

  StatusOr<std::vector<Graph>> Read() {
    RETURN_IF_ERROR(ReadFile());
    return std::move(graphs_);
  }

 private:
  Status ReadFile() {
    const Json* version = Member(root_, "version");
    const bool array_links = version != nullptr && version->is_number() && version->get<double>() < 1;
    graphs_.emplace_back();
    // Definitions first, as instances refer to them; their graphs are read once, whatever the number of instances.
    std::vector<const Json*> open = {&root_};
    std::vector<const Json*> definitions;
    while (!open.empty()) {
      const Json* holder = open.back();
      open.pop_back();
      const Json* listed = Member(*holder, "definitions");
      const Json* subgraphs = listed == nullptr ? nullptr : Member(*listed, "subgraphs");
      if (subgraphs == nullptr || !subgraphs->is_array()) continue;
      for (const Json& definition : *subgraphs) {
        if (!definition.is_object()) return InvalidArgument("definitions.subgraphs holds an entry that is no object");
        const std::string id = Text(definition, "id");
        if (!subgraph_.emplace(id, static_cast<int>(graphs_.size())).second) continue;
        graphs_.emplace_back();
        graphs_.back().name = Text(definition, "name");
        definitions.push_back(&definition);
        open.push_back(&definition);
      }
    }
    for (size_t i = 0; i < definitions.size(); ++i) RETURN_IF_ERROR(ReadSubgraphEnds(*definitions[i], graphs_[i + 1]));
    for (size_t i = 0; i < definitions.size(); ++i) RETURN_IF_ERROR(ReadGraph(*definitions[i], false, i + 1));
    RETURN_IF_ERROR(ReadGraph(root_, array_links, 0));
    for (Graph& graph : graphs_) graph.promotes.assign(graph.inputs.size(), -1);
    for (size_t g = 0; g < graphs_.size(); ++g)
      for (Node& node : graphs_[g].nodes)
        if (node.graph >= 0) ReadPromoted(node);
    return OkStatus();
  }

  Status ReadSubgraphEnds(const Json& json, Graph& graph) {
    if (const Json* inputs = Member(json, "inputs"); inputs != nullptr && inputs->is_array())
      for (const Json& input : *inputs) graph.inputs.push_back({Text(input, "name"), SlotType(input), std::nullopt});
    if (const Json* outputs = Member(json, "outputs"); outputs != nullptr && outputs->is_array())
      for (const Json& output : *outputs) graph.outputs.push_back(SlotType(output));
    return OkStatus();
  }

  Status ReadGraph(const Json& json, bool array_links, size_t at) {
    const Json* nodes = Member(json, "nodes");
    if (nodes == nullptr || !nodes->is_array())
      return InvalidArgument(at == 0 ? std::string("the workflow") : Cat("subgraph ", Shown(graphs_[at].name)),
                             " has no list of nodes");
    if (static_cast<int64_t>(nodes->size()) > limits::kPromptNodesMax)
      return ResourceExhausted("the workflow has ", nodes->size(), " nodes; at most ", limits::kPromptNodesMax,
                               " are accepted");
    for (const Json& entry : *nodes) {
      if (!entry.is_object()) return InvalidArgument("the list of nodes holds an entry that is no object");
      ASSIGN_OR_RETURN(Node node, ReadNode(entry));
      AddNode(at, std::move(node));
    }
    if (const Json* links = Member(json, "links"); links != nullptr && links->is_array()) {
      for (const Json& entry : *links) {
        Link link;
        std::optional<std::string> key;
        if (array_links) {
          if (entry.is_object()) continue;  // of the other schema: lost, as in the editor
          if (!entry.is_array() || entry.size() < 4)
            return InvalidArgument("the list of links holds an entry that is no link");
          key = LinkKey(&entry[0]);
          link.origin = NodeId(&entry[1]).value_or("");
          link.origin_slot = SlotNumber(&entry[2]);
          link.target = NodeId(&entry[3]).value_or("");
          link.target_slot = entry.size() > 4 ? SlotNumber(&entry[4]) : -1;
        } else {
          if (!entry.is_object()) continue;
          key = LinkKey(Member(entry, "id"));
          link.origin = NodeId(Member(entry, "origin_id")).value_or("");
          link.origin_slot = SlotNumber(Member(entry, "origin_slot"));
          link.target = NodeId(Member(entry, "target_id")).value_or("");
          link.target_slot = SlotNumber(Member(entry, "target_slot"));
        }
        if (!key) continue;
        if (at != 0 && link.target == kSubgraphOut) graphs_[at].to_output.emplace(link.target_slot, *key);
        graphs_[at].links[*key] = std::move(link);
      }
    }
    return OkStatus();
  }

  void AddNode(size_t at, Node node) {
    Graph& graph = graphs_[at];
    auto [it, fresh] = graph.by_id.emplace(node.id, graph.nodes.size());
    if (fresh) {
      graph.nodes.push_back(std::move(node));
    } else {
      graph.nodes[it->second] = std::move(node);  // of equal ids only the later node shows up
    }
  }

  StatusOr<Node> ReadNode(const Json& json, const std::string* given_id = nullptr) {
    Node node;
    node.source = &json;
    const std::optional<std::string> id = given_id != nullptr ? *given_id : NodeId(Member(json, "id"));
    if (!id)
      return InvalidArgument("a node of type ", Shown(Text(json, "type")), " has no id; expected a number or text");
    node.id = *id;
    node.type = Text(json, "type");
    if (node.type == "T2IAdapterLoader") node.type = "ControlNetLoader";
    if (node.type == "ConditioningAverage ") node.type = "ConditioningAverage";
    if (node.type == "SDV_img2vid_Conditioning") node.type = "SVD_img2vid_Conditioning";
    if (const Json* title = Member(json, "title")) node.title = *title;
    if (const Json* properties = Member(json, "properties")) node.search_name = Text(*properties, "Node name for S&R");
    if (const Json* mode = Member(json, "mode"); mode != nullptr && mode->is_number()) {
      node.muted = mode->get<double>() == 2;
      node.bypassed = mode->get<double>() == 4;
    }
    if (auto it = subgraph_.find(node.type); it != subgraph_.end() && !node.type.empty()) {
      node.graph = it->second;
    } else if (const Json* group = FindGroup(node.type)) {
      ASSIGN_OR_RETURN(node.graph, ReadGroup(*group, json));
    } else {
      node.layout = widgets_.Find(node.type);
    }
    ReadSlots(json, node);
    if (node.graph < 0) ReadValues(Member(json, "widgets_values"), node);
    return node;
  }

  // Slots in the definition's order, each with the saved link of the same name; then the saved ones that it does not
  // know.
  void ReadSlots(const Json& json, Node& node) {
    std::vector<Slot> saved;
    if (const Json* inputs = Member(json, "inputs"); inputs != nullptr && inputs->is_array()) {
      for (const Json& input : *inputs)
        if (input.is_object()) saved.push_back({Text(input, "name"), SlotType(input), LinkKey(Member(input, "link"))});
    }
    std::vector<bool> used(saved.size(), false);
    const auto take = [&](const std::string& name, const std::string& type) {
      Slot slot{name, type, std::nullopt};
      for (size_t i = 0; i < saved.size(); ++i) {
        if (used[i] || saved[i].name != name) continue;
        used[i] = true;
        slot.link = saved[i].link;
        break;
      }
      node.inputs.push_back(std::move(slot));
    };
    if (node.graph >= 0) {
      const Graph& graph = graphs_[static_cast<size_t>(node.graph)];
      for (size_t k = 0; k < graph.inputs.size(); ++k) {
        if (graph.group) {
          node.inputs.push_back(
              {graph.inputs[k].name, graph.inputs[k].type, k < saved.size() ? saved[k].link : std::nullopt});
        } else {
          take(graph.inputs[k].name, graph.inputs[k].type);
        }
      }
      for (size_t k = 0; k < node.inputs.size() && !graph.group; ++k) {  // renamed inputs keep their place
        if (node.inputs[k].link || k >= saved.size() || used[k]) continue;
        used[k] = true;
        node.inputs[k].link = saved[k].link;
      }
      node.outputs = graph.outputs;
    } else {
      if (node.layout != nullptr && !node.front_end()) {
        for (const auto& [name, type] : node.layout->inputs) take(name, type);
        for (const WidgetSpec& widget : node.layout->widgets)
          if (!widget.type.empty()) take(widget.name, widget.type);
        node.outputs = node.layout->outputs;
      }
      for (size_t i = 0; i < saved.size(); ++i)
        if (!used[i]) node.inputs.push_back(saved[i]);
    }
    if (const Json* outputs = Member(json, "outputs"); outputs != nullptr && outputs->is_array()) {
      for (size_t k = 0; k < outputs->size(); ++k) {
        const Json& output = (*outputs)[k];
        if (k >= node.outputs.size()) node.outputs.push_back(SlotType(output));
        node.output_links.emplace_back();
        if (const Json* links = Member(output, "links"); links != nullptr && links->is_array())
          for (const Json& link : *links)
            if (std::optional<std::string> key = LinkKey(&link)) node.output_links.back().push_back(*std::move(key));
      }
    }
  }

  void ReadValues(const Json* saved, Node& node) {
    if (node.layout == nullptr) {  // unknown type: each value becomes the same nameless widget, the last one stays
      if (saved != nullptr && saved->is_array() && !saved->empty()) {
        const Json& last = saved->back();
        const bool plain = last.is_string() || last.is_number() || last.is_boolean();
        node.values.emplace_back("UNKNOWN", plain ? last : Json(DumpJsonJs(last)));
      }
      return;
    }
    const NodeLayout& layout = *node.layout;
    std::vector<const Json*> list;
    if (saved != nullptr && saved->is_array())
      for (const Json& value : *saved) list.push_back(&value);
    const auto places = static_cast<size_t>(
        std::count_if(layout.widgets.begin(), layout.widgets.end(), [](const WidgetSpec& w) { return w.in_values; }));
    if (!layout.forced.empty() && list.size() == places + layout.forced.size()) {
      for (auto it = layout.forced.rbegin(); it != layout.forced.rend(); ++it)
        if (*it < list.size()) list.erase(list.begin() + static_cast<std::ptrdiff_t>(*it));
    }
    size_t next = 0;
    for (const WidgetSpec& widget : layout.widgets) {
      WidgetValue value;
      if (!widget.default_value.is_null()) value = widget.default_value;
      if (layout.by_name && saved != nullptr && saved->is_object()) {
        if (const Json* named = Member(*saved, widget.name.c_str())) value = *named;
      } else if (widget.in_values && next < list.size()) {
        const Json& held = *list[next++];
        if (!widget.newer || held.is_string() == (widget.type == "COMBO" || widget.type == "STRING")) value = held;
      }
      if (widget.name == "sampler_name" && value && value->is_string() &&
          value->get_ref<const std::string&>().rfind("sample_", 0) == 0)
        value = value->get<std::string>().substr(7);
      const WidgetValue chosen = value;
      node.values.emplace_back(widget.name, std::move(value));
      auto choices = layout.by_choice.find(widget.name);
      if (choices == layout.by_choice.end() || !chosen || !chosen->is_string()) continue;
      auto followers = choices->second.find(chosen->get<std::string>());
      if (followers == choices->second.end()) continue;
      for (const WidgetSpec& follower : followers->second) {
        const Json* named = saved == nullptr ? nullptr : Member(*saved, follower.name.c_str());
        WidgetValue set;
        if (named != nullptr) {
          set = *named;
        } else if (!follower.default_value.is_null()) {
          set = follower.default_value;
        }
        node.values.emplace_back(follower.name, std::move(set));
      }
    }
    if (!layout.by_name || saved == nullptr) return;
    DropForcedSize(*saved, node);
    // Another of its old names.
    if (WidgetValue* output = node.FindValue("save_output");
        output != nullptr && Member(*saved, "save_output") == nullptr)
      if (const Json* image = Member(*saved, "save_image")) *output = *image;
  }

  // Files of older VideoHelperSuite versions choose the size in one more widget; sides that it does not ask for count
  // as 0.
  static void DropForcedSize(const Json& saved, Node& node) {
    const std::string size = Text(saved, "force_size");
    WidgetValue* width = node.FindValue("custom_width");
    WidgetValue* height = node.FindValue("custom_height");
    if (size.empty() || size == "Custom" || width == nullptr || height == nullptr) return;
    const auto number = [](std::string_view text) {
      int value = 0;
      std::from_chars(text.data(), text.data() + text.size(), value);
      return value;
    };
    if (size == "Disabled") {
      *width = 0;
      *height = 0;
    } else if (size == "Custom Width") {
      *height = 0;
    } else if (size == "Custom Height") {
      *width = 0;
    } else if (const size_t cross = size.find('x'); cross != std::string::npos) {
      *width = number(std::string_view(size).substr(0, cross));
      *height = number(std::string_view(size).substr(cross + 1));
    }
  }

  const Json* FindGroup(const std::string& type) const {
    if (type.rfind("workflow>", 0) != 0 && type.rfind("workflow/", 0) != 0) return nullptr;
    const Json* extra = Member(root_, "extra");
    const Json* groups = extra == nullptr ? nullptr : Member(*extra, "groupNodes");
    const Json* group = groups == nullptr ? nullptr : Member(*groups, type.substr(9).c_str());
    return group != nullptr && group->is_object() ? group : nullptr;
  }

  // A legacy group node as a subgraph of its own: inner nodes are named by their place, widgets are those of the inner
  // nodes in a row, sockets are what is left open inside.
  StatusOr<int> ReadGroup(const Json& group, const Json& instance) {
    const Json* nodes = Member(group, "nodes");
    if (nodes == nullptr || !nodes->is_array())
      return InvalidArgument("group node ", Shown(Text(instance, "type")), " has no list of nodes");
    total_group_nodes_ += static_cast<int64_t>(nodes->size());
    if (total_group_nodes_ > limits::kPromptNodesMax)
      return ResourceExhausted("the group nodes hold more than ", limits::kPromptNodesMax, " nodes");
    Graph graph;
    graph.group = true;
    graph.name = Text(instance, "type");
    for (size_t i = 0; i < nodes->size(); ++i) {
      const std::string id = std::to_string(i);
      const std::string type = Text((*nodes)[i], "type");
      if (FindGroup(type) != nullptr)
        return InvalidArgument("group node ", Shown(graph.name), " holds another group node, ", Shown(type));
      ASSIGN_OR_RETURN(Node node, ReadNode((*nodes)[i], &id));
      for (Slot& slot : node.inputs) slot.link.reset();
      graph.by_id[id] = graph.nodes.size();
      graph.nodes.push_back(std::move(node));
    }
    std::set<std::pair<size_t, int64_t>> used_outputs;
    int64_t made = 0;
    if (const Json* links = Member(group, "links"); links != nullptr && links->is_array()) {
      for (const Json& entry : *links) {
        if (!entry.is_array() || entry.size() < 4) continue;
        const int64_t from = SlotNumber(&entry[0]), to = SlotNumber(&entry[2]), to_slot = SlotNumber(&entry[3]);
        const auto count = static_cast<int64_t>(graph.nodes.size());
        if (from < 0 || from >= count || to < 0 || to >= count || to_slot < 0) continue;
        Node& target = graph.nodes[static_cast<size_t>(to)];
        const Json* saved = Member(*target.source, "inputs");
        if (saved == nullptr || !saved->is_array() || static_cast<size_t>(to_slot) >= saved->size()) continue;
        const std::string name = Text((*saved)[static_cast<size_t>(to_slot)], "name");
        for (Slot& slot : target.inputs) {
          if (slot.name != name) continue;
          slot.link = Cat("group:", made++);
          graph.links[*slot.link] = {std::to_string(from), SlotNumber(&entry[1]), target.id, to_slot};
          used_outputs.emplace(static_cast<size_t>(from), SlotNumber(&entry[1]));
          break;
        }
      }
    }
    std::set<std::pair<size_t, int64_t>> external;
    if (const Json* listed = Member(group, "external"); listed != nullptr && listed->is_array())
      for (const Json& entry : *listed)
        if (entry.is_array() && entry.size() >= 2 && SlotNumber(&entry[0]) >= 0)
          external.emplace(static_cast<size_t>(SlotNumber(&entry[0])), SlotNumber(&entry[1]));
    const Json* values = Member(instance, "widgets_values");
    size_t next = 0;
    for (size_t i = 0; i < graph.nodes.size(); ++i) {
      Node& node = graph.nodes[i];
      for (Slot& slot : node.inputs) {
        if (slot.link || node.FindValue(slot.name) != nullptr) continue;
        slot.link = Cat("group:", made++);
        graph.links[*slot.link] = {std::string(kSubgraphIn), static_cast<int64_t>(graph.inputs.size()), node.id, 0};
        graph.inputs.push_back({slot.name, slot.type, std::nullopt});
      }
      for (size_t k = 0; k < node.outputs.size(); ++k) {
        const std::pair<size_t, int64_t> output(i, static_cast<int64_t>(k));
        if (used_outputs.count(output) > 0 && external.count(output) == 0) continue;
        const std::string key = Cat("group:", made++);
        const auto at = static_cast<int64_t>(graph.outputs.size());
        graph.links[key] = {node.id, static_cast<int64_t>(k), std::string(kSubgraphOut), at};
        graph.to_output[at] = key;
        graph.outputs.push_back(node.outputs[k]);
      }
      if (node.layout == nullptr || values == nullptr || !values->is_array()) continue;
      for (const WidgetSpec& widget : node.layout->widgets) {
        if (!widget.in_values) continue;
        const bool linked = std::any_of(node.inputs.begin(), node.inputs.end(),
                                        [&](const Slot& s) { return s.name == widget.name && s.link; });
        if (linked || next >= values->size()) continue;
        if (WidgetValue* value = node.FindValue(widget.name)) *value = (*values)[next++];
      }
    }
    graphs_.push_back(std::move(graph));
    return static_cast<int>(graphs_.size()) - 1;
  }

  // Whether input `k` of a subgraph shows a widget of an inner node.
  bool Promotes(int at, size_t k, int depth = 0) {
    Graph& graph = graphs_[static_cast<size_t>(at)];
    if (graph.promotes[k] >= 0 || depth > limits::kSubgraphDepthMax) return graph.promotes[k] > 0;
    bool found = false;
    for (const Node& node : graph.nodes) {
      for (size_t j = 0; j < node.inputs.size() && !found; ++j) {
        if (!node.inputs[j].link) continue;
        auto link = graph.links.find(*node.inputs[j].link);
        if (link == graph.links.end() || link->second.origin != kSubgraphIn ||
            link->second.origin_slot != static_cast<int64_t>(k))
          continue;
        if (node.graph >= 0) {
          found = j < graphs_[static_cast<size_t>(node.graph)].inputs.size() && Promotes(node.graph, j, depth + 1);
        } else if (node.layout != nullptr) {
          const WidgetSpec* widget = node.layout->FindWidget(node.inputs[j].name);
          found = widget != nullptr && !widget->type.empty();
        }
      }
    }
    graph.promotes[k] = found ? 1 : 0;
    return found;
  }

  void ReadPromoted(Node& node) {
    node.promoted.resize(node.inputs.size());
    const Json* values = Member(*node.source, "widgets_values");
    if (values == nullptr || !values->is_array() || graphs_[static_cast<size_t>(node.graph)].group) return;
    size_t next = 0;
    for (size_t k = 0; k < node.inputs.size() && next < values->size(); ++k) {
      if (!Promotes(node.graph, k)) continue;
      const Json& value = (*values)[next++];
      if (!value.is_null()) node.promoted[k] = value;
    }
  }

  const Json& root_;
  const WidgetTable& widgets_;
  std::vector<Graph> graphs_;  // 0 is the root
  std::unordered_map<std::string, int> subgraph_;
  int64_t total_group_nodes_ = 0;
};

}  // namespace

const Json* Member(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  auto it = object.find(key);
  return it == object.end() ? nullptr : &*it;
}

std::string Shown(std::string_view text) { return Cat("\"", text.substr(0, 60), text.size() > 60 ? "...\"" : "\""); }

std::string Text(const Json& object, const char* key) {
  const Json* value = Member(object, key);
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

StatusOr<std::vector<Graph>> ReadEditorFile(const Json& root, const WidgetTable& widgets) {
  return Reader(root, widgets).Read();
}

}  // namespace atelier::editor
