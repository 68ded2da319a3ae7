#include "common/graph/convert.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "common/base/limits.h"
#include "common/graph/js_number.h"

namespace atelier {
namespace {

constexpr std::string_view kSubgraphIn = "-10";
constexpr std::string_view kSubgraphOut = "-20";

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

bool Wild(std::string_view type) { return type.empty() || type == "*" || type == "0"; }

bool SameFolded(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](unsigned char x, unsigned char y) {
           return std::tolower(x) == std::tolower(y);
         });
}

// Whether the editor would let the two types be joined.
bool Compatible(std::string_view a, std::string_view b) {
  if (Wild(a) || Wild(b) || SameFolded(a, b)) return true;
  for (std::string_view rest_a = a;;) {
    const size_t end_a = rest_a.find(',');
    for (std::string_view rest_b = b;;) {
      const size_t end_b = rest_b.find(',');
      if (SameFolded(rest_a.substr(0, end_a), rest_b.substr(0, end_b))) return true;
      if (end_b == std::string_view::npos) break;
      rest_b.remove_prefix(end_b + 1);
    }
    if (end_a == std::string_view::npos) return false;
    rest_a.remove_prefix(end_a + 1);
  }
}

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

// A graph in its place: the root, or one instance of a subgraph.
struct Context {
  int graph = 0;
  int parent = -1;
  size_t instance = 0;  // node in the parent's graph
  int depth = 0;
  std::string prefix;
  std::unordered_map<size_t, int> children;  // node -> context
};

struct Resolved {
  bool linked = false;
  std::string id;
  int64_t slot = 0;
  WidgetValue constant;
};

uint64_t NextRandom(uint64_t& state) {  // SplitMix64
  uint64_t z = (state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// String(value) of JavaScript.
std::string JsText(const Json& value) {
  switch (value.type()) {
    case Json::value_t::string:
      return value.get<std::string>();
    case Json::value_t::boolean:
      return value.get<bool>() ? "true" : "false";
    case Json::value_t::null:
      return "null";
    case Json::value_t::object:
      return "[object Object]";
    case Json::value_t::array: {
      std::string out;
      for (size_t i = 0; i < value.size(); ++i) {
        if (i > 0) out += ',';
        if (!value[i].is_null()) out += JsText(value[i]);
      }
      return out;
    }
    default:
      return JsNumberText(value.get<double>());
  }
}

// Comments go: /*...*/ and // to the end of the line, whichever starts first.
std::string StripComments(std::string_view text) {
  std::string out;
  size_t no_more_blocks = std::string_view::npos;  // where a search for "*/" failed: later ones fail too
  for (size_t i = 0; i < text.size();) {
    if (text.compare(i, 2, "/*") == 0 && no_more_blocks == std::string_view::npos) {
      const size_t end = text.find("*/", i + 2);
      if (end != std::string_view::npos) {
        i = end + 2;
        continue;
      }
      no_more_blocks = i;
    }
    if (text.compare(i, 2, "//") == 0) {
      while (i < text.size() && text[i] != '\n' && text[i] != '\r' && text.compare(i, 3, "\xe2\x80\xa8") != 0 &&
             text.compare(i, 3, "\xe2\x80\xa9") != 0)
        ++i;
      continue;
    }
    out += text[i++];
  }
  return out;
}

std::string FormatDate(std::string_view format, const ClockTime& now) {
  static constexpr std::array<std::string_view, 12> kTokens = {"yyyy", "yy", "MM", "M", "dd", "d",
                                                               "hh",   "h",  "mm", "m", "ss", "s"};
  std::string out;
  while (!format.empty()) {
    const auto token = std::find_if(kTokens.begin(), kTokens.end(),
                                    [&](std::string_view t) { return format.substr(0, t.size()) == t; });
    if (token == kTokens.end()) {
      out += format.front();
      format.remove_prefix(1);
      continue;
    }
    int value = 0;
    switch (token->front()) {
      case 'y':
        value = now.year;
        break;
      case 'M':
        value = now.month;
        break;
      case 'd':
        value = now.day;
        break;
      case 'h':
        value = now.hour;
        break;
      case 'm':
        value = now.minute;
        break;
      default:
        value = now.second;
    }
    std::string digits = std::to_string(value);
    if (*token == "yy" && digits.size() > 2) digits = digits.substr(digits.size() - 2);
    while (token->size() == 2 && digits.size() < 2) digits.insert(digits.begin(), '0');
    out += digits;
    format.remove_prefix(token->size());
  }
  return out;
}

class Converter {
 public:
  Converter(const Json& root, const WidgetTable& widgets, const ConvertOptions& options)
      : root_(root), widgets_(widgets), options_(options), random_(options.seed) {}

  StatusOr<Converted> Run() {
    RETURN_IF_ERROR(ReadFile());
    RETURN_IF_ERROR(ApplyPrimitives());
    RETURN_IF_ERROR(Expand());
    RETURN_IF_ERROR(Emit());
    return std::move(result_);
  }

 private:
  // --- reading -------------------------------------------------------------------------------------------------------

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
        value = *list[next++];
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

  // --- primitives ----------------------------------------------------------------------------------------------------

  // As the editor sets a number: within its range, on its steps.
  static Json Stepped(const Json& value, const Json& min, const Json& max, const Json& step, std::string_view type) {
    if (!value.is_number() || (type != "INT" && type != "FLOAT")) return value;
    double number = value.get<double>();
    if (min.is_number()) number = std::max(number, min.get<double>());
    if (max.is_number()) number = std::min(number, max.get<double>());
    const double size = step.is_number() ? step.get<double>() : type == "INT" ? 1.0 : 0.0;
    if (size > 0) {
      const double steps = std::floor(number / size + 0.5);
      // Through decimal digits: 33 steps of 0.1 are 3.3, not 3.3000000000000003.
      std::array<char, 64> buffer;
      int decimals = 0;
      for (double s = size; decimals < 10 && std::abs(s - std::round(s)) > 1e-9; s *= 10) ++decimals;
      const auto end =
          std::to_chars(buffer.data(), buffer.data() + buffer.size(), steps * size, std::chars_format::fixed, decimals);
      if (end.ec == std::errc()) std::from_chars(buffer.data(), end.ptr, number);
    }
    return JsNumber(Json(number));
  }

  Status ApplyPrimitives() {
    for (size_t g = 1; g < graphs_.size(); ++g) {
      for (const Node& node : graphs_[g].nodes)
        if (node.is_primitive() && !node.output_links.empty() && !node.output_links[0].empty())
          return InvalidArgument("node ", Shown(node.id), " of subgraph ", Shown(graphs_[g].name),
                                 " is a PrimitiveNode; the editor cannot convert these inside subgraphs");
    }
    Graph& graph = graphs_[0];
    for (size_t i = 0; i < graph.nodes.size(); ++i) {
      const Node& node = graph.nodes[i];
      if (!node.is_primitive() || node.output_links.empty()) continue;
      const Json* values = Member(*node.source, "widgets_values");
      if (values == nullptr || !values->is_array() || values->empty()) continue;
      Json value = values->front();
      const Json* properties = Member(*node.source, "properties");
      const Json* replace = properties == nullptr ? nullptr : Member(*properties, "Run widget replace on values");
      if (replace != nullptr && *replace == true && value.is_string())
        value = ReplacePatterns(value.get<std::string>());
      for (const std::string& key : node.output_links[0]) {
        auto link = graph.links.find(key);
        if (link == graph.links.end()) continue;
        auto target = graph.by_id.find(link->second.target);
        if (target == graph.by_id.end()) continue;
        SetThroughLink(graph.nodes[target->second], key, value);
      }
    }
    return OkStatus();
  }

  void SetThroughLink(Node& target, const std::string& key, const Json& value) {
    for (size_t k = 0; k < target.inputs.size(); ++k) {
      if (target.inputs[k].link != key) continue;
      if (target.graph >= 0) {
        target.promoted[k] = value;
      } else if (WidgetValue* slot = target.FindValue(target.inputs[k].name)) {
        const WidgetSpec* widget =
            target.layout == nullptr ? nullptr : target.layout->FindWidget(target.inputs[k].name);
        *slot = widget == nullptr ? value : Stepped(value, widget->min, widget->max, widget->step, widget->type);
      }
      return;
    }
  }

  // --- places --------------------------------------------------------------------------------------------------------

  Status Expand() {
    contexts_.emplace_back();
    for (size_t c = 0; c < contexts_.size(); ++c) {
      const Graph& graph = graphs_[static_cast<size_t>(contexts_[c].graph)];
      for (size_t i = 0; i < graph.nodes.size(); ++i) {
        if (graph.nodes[i].graph < 0) continue;
        Context child;
        child.graph = graph.nodes[i].graph;
        child.parent = static_cast<int>(c);
        child.instance = i;
        child.depth = contexts_[c].depth + 1;
        child.prefix = Cat(contexts_[c].prefix, graph.nodes[i].id, ":");
        for (int up = static_cast<int>(c); up >= 0; up = contexts_[static_cast<size_t>(up)].parent) {
          if (contexts_[static_cast<size_t>(up)].graph == child.graph)
            return InvalidArgument("subgraph ", Shown(graphs_[static_cast<size_t>(child.graph)].name),
                                   " contains itself (node ", Shown(child.prefix), ")");
        }
        if (child.depth > limits::kSubgraphDepthMax)
          return ResourceExhausted("subgraphs are nested deeper than ", limits::kSubgraphDepthMax, " levels");
        if (static_cast<int64_t>(contexts_.size()) >= limits::kPromptNodesMax)
          return ResourceExhausted("the workflow has more than ", limits::kPromptNodesMax, " instances of subgraphs");
        contexts_[c].children.emplace(i, static_cast<int>(contexts_.size()));
        contexts_.push_back(std::move(child));
      }
    }
    return OkStatus();
  }

  const Graph& GraphOf(int context) const {
    return graphs_[static_cast<size_t>(contexts_[static_cast<size_t>(context)].graph)];
  }

  // --- links ---------------------------------------------------------------------------------------------------------

  // The input that stands in for output `k` of a bypassed node.
  static std::optional<size_t> BypassInput(const Node& node, int64_t k, const std::string& wanted) {
    const auto at = static_cast<size_t>(k);
    const bool has = k >= 0 && at < node.inputs.size();
    if (Wild(wanted)) {
      if (has) return at;
      return node.inputs.empty() ? std::nullopt : std::optional<size_t>(0);
    }
    const std::string output = k >= 0 && at < node.outputs.size() ? node.outputs[at] : "*";
    const auto fits = [&](const Slot& slot) { return Compatible(slot.type, output) && Compatible(slot.type, wanted); };
    if (has && fits(node.inputs[at])) return at;
    for (size_t i = 0; i < node.inputs.size(); ++i)
      if (node.inputs[i].type == wanted) return i;
    for (size_t i = 0; i < node.inputs.size(); ++i)
      if (fits(node.inputs[i])) return i;
    return std::nullopt;
  }

  StatusOr<Resolved> Resolve(int context, const Node& target, const Slot& slot) const {
    const std::string where = Cat("node ", Shown(contexts_[static_cast<size_t>(context)].prefix + target.id),
                                  ", input ", Shown(slot.name), ": ");
    Resolved result;  // holds the nearest promoted widget's value on the way, for when no source is found
    std::string key = *slot.link;
    std::set<std::tuple<int, size_t, int64_t>> seen;
    while (true) {
      const Graph& graph = GraphOf(context);
      const Context& place = contexts_[static_cast<size_t>(context)];
      auto it = graph.links.find(key);
      if (it == graph.links.end())
        return InvalidArgument(where, "link ", Shown(key), " is not in the file's list of links");
      const Link& link = it->second;
      if (place.parent >= 0 && link.origin == kSubgraphIn) {
        const Node& instance = GraphOf(place.parent).nodes[place.instance];
        const auto k = static_cast<size_t>(link.origin_slot);
        if (link.origin_slot < 0 || k >= instance.inputs.size())
          return InvalidArgument(where, "link ", Shown(key), " starts at input ", link.origin_slot, " of subgraph ",
                                 Shown(graph.name), ", which has ", instance.inputs.size());
        if (instance.promoted[k]) result.constant = instance.promoted[k];
        context = place.parent;
        if (!instance.inputs[k].link) return result;
        key = *instance.inputs[k].link;
        continue;
      }
      auto origin = graph.by_id.find(link.origin);
      if (origin == graph.by_id.end())
        return InvalidArgument(where, "link ", Shown(key), " starts at node ", Shown(link.origin),
                               ", which does not exist");
      const Node& node = graph.nodes[origin->second];
      if (!seen.emplace(context, origin->second, link.origin_slot).second)
        return InvalidArgument(where, "its link runs in a circle through node ", Shown(node.id), " (", node.type, ")");
      if (node.is_reroute()) {
        if (node.inputs.empty() || !node.inputs[0].link) return result;
        key = *node.inputs[0].link;
        continue;
      }
      if (node.front_end()) return result;
      if (node.bypassed) {
        const std::optional<size_t> through = BypassInput(node, link.origin_slot, slot.type);
        if (!through || !node.inputs[*through].link) return result;
        key = *node.inputs[*through].link;
        continue;
      }
      if (node.graph >= 0) {
        const Graph& inner = graphs_[static_cast<size_t>(node.graph)];
        auto out = inner.to_output.find(link.origin_slot);
        if (out == inner.to_output.end()) return result;
        key = out->second;
        if (inner.links.at(key).origin == kSubgraphIn)
          return InvalidArgument(where, "subgraph ", Shown(inner.name), " joins an input straight to output ",
                                 link.origin_slot, "; put a node between them");
        context = place.children.at(origin->second);
        continue;
      }
      if (link.origin_slot >= static_cast<int64_t>(node.outputs.size()))
        return InvalidArgument(where, "link ", Shown(key), " starts at output ", link.origin_slot, " of node ",
                               Shown(node.id), " (", node.type, "), which has ", node.outputs.size());
      result.linked = true;
      result.id = place.prefix + node.id;
      result.slot = link.origin_slot;
      return result;
    }
  }

  // --- values --------------------------------------------------------------------------------------------------------

  // %date:...% and %Node.widget%, the node found by its search name, else its title.
  std::string ReplacePatterns(const std::string& text) {
    std::string out;
    for (size_t i = 0; i < text.size();) {
      const size_t end = text[i] == '%' ? text.find('%', i + 1) : std::string::npos;
      if (text[i] != '%' || end == std::string::npos || end == i + 1) {
        out += text[i++];
        continue;
      }
      const std::string pattern = text.substr(i + 1, end - i - 1);
      out += PatternValue(pattern).value_or(text.substr(i, end + 1 - i));
      i = end + 1;
    }
    return out;
  }

  std::optional<std::string> PatternValue(const std::string& pattern) {
    const size_t dot = pattern.find('.');
    if (pattern.rfind("date:", 0) == 0)
      return FormatDate(std::string_view(pattern).substr(5, dot == std::string::npos ? dot : dot - 5), options_.now);
    if (dot == std::string::npos || pattern.find('.', dot + 1) != std::string::npos) return std::nullopt;
    const std::string name = pattern.substr(0, dot);
    Node* found = nullptr;
    for (Node& node : graphs_[0].nodes)
      if (found == nullptr && node.search_name == name) found = &node;
    for (Node& node : graphs_[0].nodes)
      if (found == nullptr && TitleOf(node) == Json(name)) found = &node;
    WidgetValue* value = found == nullptr ? nullptr : found->FindValue(pattern.substr(dot + 1));
    if (value == nullptr) return std::nullopt;
    std::string shown = *value && !(*value)->is_null() ? JsText(**value) : "";
    for (char& c : shown)
      if ((c >= 0 && c < 32) || c == 127 || std::string_view("/?<>\\:*|\"").find(c) != std::string_view::npos) c = '_';
    return shown;
  }

  static Json TitleOf(const Node& node) {
    const Json& title = node.title;
    const bool empty =
        title.is_null() || title == Json("") || title == Json(false) || (title.is_number() && title.get<double>() == 0);
    if (!empty) return title;
    return node.layout != nullptr ? Json(node.layout->title) : Json();
  }

  StatusOr<WidgetValue> Serialized(const Node& node, const std::string& id, const std::string& name,
                                   const WidgetValue& value) {
    if (!value) return value;
    const WidgetSpec* widget = node.layout == nullptr ? nullptr : node.layout->FindWidget(name);
    if (widget != nullptr && widget->serializer == WidgetSpec::Serializer::kText)
      return WidgetValue(Json(ResolveDynamicPrompt(value->is_null() ? "" : JsText(*value), random_)));
    if (widget != nullptr && widget->serializer == WidgetSpec::Serializer::kPrefix) {
      if (!value->is_string())
        return InvalidArgument("node ", Shown(id), ", input ", Shown(name), ": expected text for a file name");
      return WidgetValue(Json(ReplacePatterns(value->get_ref<const std::string&>())));
    }
    return WidgetValue(JsNumbers(*value));
  }

  static Json Wrapped(Json value) {
    if (!value.is_array()) return value;
    Json wrapper = Json::object();
    wrapper["__value__"] = std::move(value);
    return wrapper;
  }

  Status EmitNode(int context, const Node& node) {
    const std::string id = contexts_[static_cast<size_t>(context)].prefix + node.id;
    Json inputs = Json::object();
    for (const auto& [name, value] : node.values) {
      const WidgetSpec* widget = node.layout == nullptr ? nullptr : node.layout->FindWidget(name);
      if (widget != nullptr && !widget->in_prompt) continue;
      ASSIGN_OR_RETURN(WidgetValue sent, Serialized(node, id, name, value));
      if (sent) inputs[name] = Wrapped(*std::move(sent));
    }
    for (const Slot& slot : node.inputs) {
      if (!slot.link) continue;
      ASSIGN_OR_RETURN(Resolved resolved, Resolve(context, node, slot));
      if (resolved.linked) {
        inputs[slot.name] = {resolved.id, resolved.slot};
      } else if (resolved.constant) {
        ASSIGN_OR_RETURN(WidgetValue sent, Serialized(node, id, slot.name, resolved.constant));
        inputs[slot.name] = Wrapped(*std::move(sent));
      }
    }
    Json entry = Json::object();
    entry["inputs"] = std::move(inputs);
    if (node.layout != nullptr) {
      entry["class_type"] = node.type;
    } else {
      result_.warnings.push_back(Cat("node ", Shown(id), ": node type ", Shown(node.type), " is not known"));
    }
    Json title = TitleOf(node);
    entry["_meta"] = Json::object();
    if (!title.is_null()) entry["_meta"]["title"] = JsNumbers(title);
    if (static_cast<int64_t>(entries_.size()) >= limits::kPromptNodesMax)
      return ResourceExhausted("the workflow expands to more than ", limits::kPromptNodesMax, " nodes");
    entries_.emplace_back(id, std::move(entry));
    return OkStatus();
  }

  static std::optional<uint64_t> ArrayIndex(const std::string& key) {
    if (key.empty() || key.size() > 10 || (key.size() > 1 && key[0] == '0')) return std::nullopt;
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), number);
    if (error != std::errc() || end != key.data() + key.size() || number >= 4294967295u) return std::nullopt;
    return number;
  }

  Status Emit() {
    // Depth first, so that a subgraph's nodes stand where its instance stood.
    std::vector<std::pair<int, size_t>> open = {{0, 0}};
    while (!open.empty()) {
      auto& [context, next] = open.back();
      const Graph& graph = GraphOf(context);
      if (next == graph.nodes.size()) {
        open.pop_back();
        continue;
      }
      const size_t i = next++;
      const Node& node = graph.nodes[i];
      if (node.graph >= 0) {
        open.emplace_back(contexts_[static_cast<size_t>(context)].children.at(i), 0);
      } else if (!node.front_end() && !node.muted && !node.bypassed) {
        RETURN_IF_ERROR(EmitNode(context, node));
      }
    }
    std::unordered_set<std::string> present;
    for (const auto& [id, entry] : entries_) present.insert(id);
    for (auto& [id, entry] : entries_) {
      auto& inputs = entry["inputs"].get_ref<Json::object_t&>();
      Json kept = Json::object();
      for (auto& [name, value] : inputs)
        if (!value.is_array() || value.size() != 2 || present.count(value[0].get<std::string>()) > 0)
          kept[name] = std::move(value);
      entry["inputs"] = std::move(kept);
    }
    // JavaScript's key order: array indices ascending, then all others as they came.
    std::stable_sort(entries_.begin(), entries_.end(), [](const auto& a, const auto& b) {
      const auto x = ArrayIndex(a.first), y = ArrayIndex(b.first);
      return x && (!y || *x < *y);
    });
    Json::object_t prompt;
    std::unordered_set<std::string> taken;
    for (auto& [id, entry] : entries_)
      if (taken.insert(id).second) static_cast<Json::object_t::Container&>(prompt).emplace_back(id, std::move(entry));
    result_.prompt = Json(std::move(prompt));
    return OkStatus();
  }

  const Json& root_;
  const WidgetTable& widgets_;
  const ConvertOptions& options_;
  uint64_t random_;
  std::vector<Graph> graphs_;  // 0 is the root
  std::unordered_map<std::string, int> subgraph_;
  std::vector<Context> contexts_;  // 0 is the root
  std::vector<std::pair<std::string, Json>> entries_;
  int64_t total_group_nodes_ = 0;
  Converted result_;
};

// Python writes NaN and Infinity into pictures (a node that always runs again is marked so); they are no JSON.
std::string NullNonFinite(std::string_view text) {
  std::string out;
  bool in_string = false;
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (in_string && c == '\\' && i + 1 < text.size()) {
      out += c;
      out += text[i + 1];
      i += 2;
      continue;
    }
    if (c == '"') in_string = !in_string;
    bool replaced = false;
    if (!in_string && (c == 'N' || c == 'I' || c == '-')) {
      for (const std::string_view word : {"NaN", "Infinity", "-Infinity"}) {
        if (text.compare(i, word.size(), word) != 0) continue;
        out += "null";
        i += word.size();
        replaced = true;
        break;
      }
    }
    if (!replaced) out += text[i++];
  }
  return out;
}

}  // namespace

std::string ResolveDynamicPrompt(std::string_view text, uint64_t& random_state) {
  std::string lines;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r') {
      lines += '\n';
      if (i + 1 < text.size() && text[i + 1] == '\n') ++i;
    } else {
      lines += text[i];
    }
  }
  const std::string plain = StripComments(lines);
  struct Open {
    std::vector<std::string> options;
    std::string current;
  };
  std::vector<Open> stack(1);
  const auto close = [&] {
    Open group = std::move(stack.back());
    stack.pop_back();
    group.options.push_back(std::move(group.current));
    const size_t chosen = group.options.size() == 1 ? 0 : NextRandom(random_state) % group.options.size();
    stack.back().current += group.options[chosen];
  };
  for (size_t i = 0; i < plain.size(); ++i) {
    const char c = plain[i];
    if (c == '\\' && i + 1 < plain.size() && (plain[i + 1] == '{' || plain[i + 1] == '}' || plain[i + 1] == '|')) {
      stack.back().current += plain[++i];
    } else if (c == '{') {
      stack.emplace_back();
    } else if (c == '}' && stack.size() > 1) {
      close();
    } else if (c == '|' && stack.size() > 1) {
      stack.back().options.push_back(std::move(stack.back().current));
      stack.back().current.clear();
    } else {
      stack.back().current += c;
    }
  }
  while (stack.size() > 1) close();
  return std::move(stack.front().current);
}

StatusOr<Converted> ConvertWorkflow(const Json& workflow, const WidgetTable& widgets, const ConvertOptions& options) {
  if (!workflow.is_object()) return InvalidArgument("the workflow is no JSON object");
  return Converter(workflow, widgets, options).Run();
}

StatusOr<WorkflowFormat> DetectFormat(const Json& json) {
  if (!json.is_object())
    return InvalidArgument("the workflow is no JSON object; expected an editor file or an API prompt");
  if (const Json* nodes = Member(json, "nodes");
      nodes != nullptr && (nodes->is_array() || Member(json, "links") != nullptr))
    return WorkflowFormat::kEditor;
  if (const Json* prompt = Member(json, "prompt"); prompt != nullptr && Member(*prompt, "class_type") == nullptr)
    return WorkflowFormat::kWrappedApi;
  if (json.empty()) return InvalidArgument("the workflow has no nodes");
  return WorkflowFormat::kApi;
}

StatusOr<LoadedWorkflow> LoadWorkflow(std::string_view text, const WidgetTable& widgets,
                                      const ConvertOptions& options) {
  ASSIGN_OR_RETURN(Json json, ParseJson(text));
  ASSIGN_OR_RETURN(const WorkflowFormat format, DetectFormat(json));
  LoadedWorkflow loaded;
  switch (format) {
    case WorkflowFormat::kEditor: {
      ASSIGN_OR_RETURN(Converted converted, ConvertWorkflow(json, widgets, options));
      loaded.prompt = std::move(converted.prompt);
      loaded.warnings = std::move(converted.warnings);
      loaded.workflow = std::move(json);
      break;
    }
    case WorkflowFormat::kWrappedApi: {
      loaded.prompt = json["prompt"];
      const Json* extra = Member(json, "extra_data");
      const Json* info = extra == nullptr ? nullptr : Member(*extra, "extra_pnginfo");
      const Json* workflow = info == nullptr ? nullptr : Member(*info, "workflow");
      if (workflow != nullptr) loaded.workflow = *workflow;
      break;
    }
    case WorkflowFormat::kApi:
      loaded.prompt = std::move(json);
      break;
  }
  return loaded;
}

StatusOr<LoadedWorkflow> LoadWorkflow(const std::vector<std::pair<std::string, std::string>>& texts,
                                      const WidgetTable& widgets, const ConvertOptions& options) {
  const std::string* prompt = nullptr;
  const std::string* workflow = nullptr;
  for (const auto& [key, text] : texts) {
    if (key == "prompt") prompt = &text;
    if (key == "workflow") workflow = &text;
  }
  if (prompt == nullptr && workflow == nullptr)
    return InvalidArgument("the picture carries no workflow; expected a text chunk \"prompt\" or \"workflow\"");
  if (prompt == nullptr) return LoadWorkflow(NullNonFinite(*workflow), widgets, options);
  ASSIGN_OR_RETURN(LoadedWorkflow loaded, LoadWorkflow(NullNonFinite(*prompt), widgets, options));
  if (loaded.prompt.is_object()) {
    for (auto& [id, node] : loaded.prompt.get_ref<Json::object_t&>())
      if (node.is_object()) node.erase("is_changed");  // what the reference noted for its own cache
  }
  if (workflow != nullptr) {
    ASSIGN_OR_RETURN(loaded.workflow, ParseJson(NullNonFinite(*workflow)));
  }
  return loaded;
}

}  // namespace atelier
