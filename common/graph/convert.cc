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
#include "common/graph/editor_file.h"
#include "common/graph/js_number.h"

namespace atelier {
namespace {

using editor::Graph;
using editor::kSubgraphIn;
using editor::Link;
using editor::Member;
using editor::Node;
using editor::Shown;
using editor::Slot;
using editor::WidgetValue;

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
class Converter {
 public:
  Converter(const Json& root, const WidgetTable& widgets, const ConvertOptions& options)
      : root_(root), widgets_(widgets), options_(options), random_(options.seed) {}

  StatusOr<Converted> Run() {
    ASSIGN_OR_RETURN(graphs_, editor::ReadEditorFile(root_, widgets_));
    RETURN_IF_ERROR(ApplyPrimitives());
    RETURN_IF_ERROR(Expand());
    RETURN_IF_ERROR(Emit());
    return std::move(result_);
  }

 private:  // --- primitives
           // ----------------------------------------------------------------------------------------------------
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
  std::vector<Graph> graphs_;      // 0 is the root
  std::vector<Context> contexts_;  // 0 is the root
  std::vector<std::pair<std::string, Json>> entries_;
  Converted result_;
};

}  // namespace

StatusOr<Converted> ConvertWorkflow(const Json& workflow, const WidgetTable& widgets, const ConvertOptions& options) {
  if (!workflow.is_object()) return InvalidArgument("the workflow is no JSON object");
  return Converter(workflow, widgets, options).Run();
}

}  // namespace atelier
