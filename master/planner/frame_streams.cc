#include "master/planner/frame_streams.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

#include "common/graph/frames.h"
#include "common/graph/lists.h"
#include "common/graph/prompt.h"

namespace atelier {
namespace {

using Port = std::pair<std::string, size_t>;

// Whether a value of this type has something of its own for each picture of a batch.
bool IsBatch(std::string_view type) {
  static constexpr std::array<std::string_view, 5> kTypes = {"IMAGE", "MASK", "LATENT", "VIDEO", "*"};
  return std::any_of(kTypes.begin(), kTypes.end(), [&](std::string_view t) { return type.find(t) != type.npos; });
}

class Finder {
 public:
  Finder(const Json& prompt, const Catalog& catalog, const FrameOptions& options)
      : catalog_(catalog), options_(options) {
    out_.prompt = prompt;
    lists_ = NodesWithLists(prompt, catalog);
  }

  FrameStreams Find() {
    for (const auto& [id, node] : out_.prompt.items()) {
      if (!node.is_object() || !node.contains("class_type") || !node["class_type"].is_string()) continue;
      const NodeSpec* spec = catalog_.Find(node["class_type"].get<std::string>());
      if (spec == nullptr) continue;
      specs_[id] = spec;
      gathers_ |= spec->gathers;
      for (const auto& [name, value] : Inputs(id).items())
        if (IsLink(value) && spec->FindInput(name) != nullptr) ++uses_[PortOf(value)];
    }
    for (const auto& [id, spec] : specs_)
      if (spec->tiles && ByPicture(id, *spec)) out_.by_picture.insert(id);
    if (options_.frames == "whole" || catalog_.Find(kFrameWindowType) == nullptr) return std::move(out_);
    const auto specs = specs_;  // it grows
    for (const auto& [id, spec] : specs)
      if (FramesAt(id) && FramesAt(id)->role == "sink") ToSink(id, *spec);
    for (const std::string& id : out_.by_picture)
      if (!taken_.contains(id)) ToBatch(id);
    return std::move(out_);
  }

 private:
  struct Chain {
    std::vector<std::string> nodes;  // of role "each", the first one on top
    Port source;
    bool from_file = false;
  };

  const Json& Inputs(const std::string& id) const {
    static const Json kNone = Json::object();
    const Json& node = out_.prompt.at(id);
    const auto inputs = node.find("inputs");
    return inputs != node.end() && inputs->is_object() ? *inputs : kNone;
  }
  static Port PortOf(const Json& link) { return {link[0].get<std::string>(), link[1].get<size_t>()}; }

  std::optional<Port> LinkAt(const std::string& id, const std::string& input) const {
    const auto value = Inputs(id).find(input);
    if (value == Inputs(id).end() || !IsLink(*value)) return std::nullopt;
    const Port port = PortOf(*value);
    return specs_.contains(port.first) ? std::optional(port) : std::nullopt;
  }

  bool ByPicture(const std::string& id, const NodeSpec& spec) const {
    if (spec.FindInput("by_picture") == nullptr) return false;
    const auto own = Inputs(id).find("order");
    if (own != Inputs(id).end() && own->is_string()) {
      const auto& order = own->get_ref<const std::string&>();
      if (order == "by-image") return true;
      if (order == "exact" || order == "independent") return false;
    }
    return options_.tiles == "by-image";
  }

  // The input that a node takes frame by frame; "" when it is not such a node, or something else of the batch comes in,
  // or a list of batches, of which each is a run of its own.
  std::string FrameInput(const std::string& id) const {
    const NodeSpec& spec = *specs_.at(id);
    std::string input;
    if (out_.by_picture.contains(id))
      input = spec.tiles->image_input;
    else if (FramesAt(id) && FramesAt(id)->role == "each")
      input = FramesAt(id)->input;
    if (input.empty()) return "";
    for (const auto& [name, value] : Inputs(id).items()) {
      const InputSpec* other = spec.FindInput(name);
      if (other == nullptr || !IsLink(value)) continue;
      if ((name != input && IsBatch(other->type)) || lists_.contains(PortOf(value).first)) return "";
    }
    return input;
  }

  // Whether only output 0 is used, and once.
  bool FeedsOne(const std::string& id) const {
    for (size_t slot = 1; slot < specs_.at(id)->outputs.size(); ++slot)
      if (uses_.contains({id, slot})) return false;
    const auto used = uses_.find({id, 0});
    return used != uses_.end() && used->second == 1;
  }

  // Whether a file's frames come out of here, from inputs that are cheap to have again.
  bool IsFile(const Port& port) const {
    const NodeSpec& spec = *specs_.at(port.first);
    const std::optional<FrameSplit>& frames = FramesAt(port.first);
    if (!frames || frames->role != "source" || port.second != 0 || uses_.at(port) != 1) return false;
    if (catalog_.Find(spec.type + "Open") == nullptr || catalog_.Find(spec.type + "Rest") == nullptr) return false;
    return CheapAbove(port.first, 0);
  }
  bool CheapAbove(const std::string& id, int depth) const {
    constexpr int kDepthMax = 16;
    if (depth > kDepthMax) return false;
    for (const auto& [name, value] : Inputs(id).items()) {
      if (!IsLink(value) || specs_.at(id)->FindInput(name) == nullptr) continue;
      const auto source = specs_.find(PortOf(value).first);
      if (source == specs_.end() || !source->second->cheap || source->second->per_replica || source->second->gathers ||
          !IsDataType(specs_.at(id)->FindInput(name)->type) || !CheapAbove(source->first, depth + 1))
        return false;
    }
    return true;
  }

  bool Varies(const std::string& id, std::map<std::string, bool>& known) const {
    if (options_.replicas == 1 || !gathers_) return false;
    std::vector<std::string> stack{id};
    while (!stack.empty()) {
      const std::string next = stack.back();
      stack.pop_back();
      if (!known.emplace(next, true).second || !specs_.contains(next)) continue;
      if (specs_.at(next)->per_replica) return true;
      if (specs_.at(next)->gathers) continue;
      for (const auto& [name, value] : Inputs(next).items())
        if (IsLink(value)) stack.push_back(PortOf(value).first);
    }
    return false;
  }

  // Upwards from the link `at`, as far as frames are treated one by one.
  std::optional<Chain> ChainAbove(Port at) const {
    Chain chain;
    bool by_picture = false;
    while (true) {
      const std::string input = at.second == 0 ? FrameInput(at.first) : "";
      const auto above =
          input.empty() || !FeedsOne(at.first) || taken_.contains(at.first) ? std::nullopt : LinkAt(at.first, input);
      if (!above) break;
      by_picture |= out_.by_picture.contains(at.first);
      chain.nodes.insert(chain.nodes.begin(), at.first);
      at = *above;
    }
    chain.source = at;
    chain.from_file = IsFile(at);
    if (!chain.from_file && !by_picture) return std::nullopt;
    std::map<std::string, bool> seen;
    for (const std::string& id : chain.nodes)
      if (Varies(id, seen)) return std::nullopt;
    if (Varies(at.first, seen)) return std::nullopt;
    return chain;
  }

  bool UsesModels(const Chain& chain) const {
    for (const std::string& id : chain.nodes)
      for (const auto& [name, value] : Inputs(id).items()) {
        const InputSpec* input = specs_.at(id)->FindInput(name);
        if (input != nullptr && IsLink(value) && !IsDataType(input->type)) return true;
      }
    return false;
  }

  // The value of a literal input, or its default; null when it is linked.
  Json LiteralAt(const std::string& id, const NodeSpec& spec, const std::string& name) const {
    const auto value = Inputs(id).find(name);
    if (value != Inputs(id).end()) return IsLink(*value) ? Json() : *value;
    const InputSpec* input = spec.FindInput(name);
    return input == nullptr ? Json() : input->default_value;
  }

  std::string Encoding(const std::string& sink, const NodeSpec& spec) const {
    const FrameSplit& frames = *FramesAt(sink);
    for (const auto& [input, values] : frames.floats_if) {
      const bool linked = Inputs(sink).contains(input) && IsLink(Inputs(sink).at(input));
      const Json value = LiteralAt(sink, spec, input);
      if (linked || (value.is_string() && std::count(values.begin(), values.end(), value.get<std::string>()) > 0))
        return "";
    }
    return frames.encoding == "u8" ? "packed" : frames.encoding;
  }

  void ToSink(const std::string& sink, const NodeSpec& spec) {
    const FrameSplit frames = *FramesAt(sink);
    std::string taker = sink;
    auto at = LinkAt(sink, frames.input);
    while (at && at->second == 0 && FramesAt(at->first) && FramesAt(at->first)->role == "pass" && FeedsOne(at->first)) {
      taker = at->first;
      at = LinkAt(taker, FramesAt(taker)->input);
    }
    if (!at) return;
    const auto chain = ChainAbove(*at);
    if (!chain || (chain->nodes.empty() && !chain->from_file)) return;
    std::map<std::string, bool> seen;
    if (Varies(sink, seen)) return;
    FrameStream stream;
    stream.taker = taker;
    const std::string& again = frames.replays_if;
    const bool replays = Inputs(sink).contains(again) && IsLink(Inputs(sink).at(again));
    stream.stored = !chain->from_file || options_.frames == "windows" || UsesModels(*chain) || replays ||
                    LiteralAt(sink, spec, again) == Json(true);
    stream.encoding = Encoding(sink, spec);
    Rewrite(*chain, std::move(stream));
  }

  // A tiled node whose pictures nobody takes one by one: they are put together again behind it.
  void ToBatch(const std::string& id) {
    static constexpr char kBatchType[] = "FrameBatch";
    const NodeSpec* batch = catalog_.Find(kBatchType);
    const std::string input = FrameInput(id);
    const auto above = input.empty() ? std::nullopt : LinkAt(id, input);
    if (batch == nullptr || !above) return;
    std::map<std::string, bool> seen;
    if (Varies(id, seen)) return;
    Chain chain;
    if (const auto more = ChainAbove(*above))
      chain = *more;
    else
      chain.source = *above;
    chain.nodes.push_back(id);
    const auto frames = FramesOf(*batch);
    if (!frames) return;
    const std::string joined = Unused(id + ".batch");
    for (auto& [other, node] : out_.prompt.items())
      if (node.is_object() && node.contains("inputs"))
        for (auto& [name, value] : node["inputs"].items())
          if (IsLink(value) && PortOf(value) == Port{id, 0}) value = Json::array({joined, 0});
    Add(joined, kBatchType, {{frames->input, Json::array({id, 0})}});
    FrameStream stream;
    stream.taker = joined;
    stream.stored = true;
    Rewrite(chain, std::move(stream));
  }

  std::string Unused(std::string id) const {
    while (out_.prompt.contains(id)) id += "'";
    return id;
  }
  void Add(const std::string& id, const std::string& type, Json inputs) {
    out_.prompt[id] = {{"class_type", type}, {"inputs", std::move(inputs)}};
    specs_[id] = catalog_.Find(type);
  }

  void Rewrite(const Chain& chain, FrameStream stream) {
    const auto& [source, slot] = chain.source;
    std::string window;
    if (chain.from_file) {
      const std::string type = specs_.at(source)->type;
      const Json inputs = Inputs(source);
      const std::string open = Unused(source + ".open"), rest = Unused(source + ".rest");
      Add(open, type + "Open", inputs);
      Add(rest, type + "Rest", inputs);
      for (auto& [other, node] : out_.prompt.items())
        if (node.is_object() && node.contains("inputs"))
          for (auto& [name, value] : node["inputs"].items())
            if (IsLink(value) && value[0] == source && value[1] != 0) value[0] = rest;
      window = source;  // takes the place of what gave all frames
      Add(window, kFrameWindowType, {{"source", Json::array({open, 0})}});
      stream.extent = rest;
    } else {
      window = Unused(chain.nodes.front() + ".window");
      const std::string& first = chain.nodes.front();
      const std::string input = FrameInput(first);
      Add(window, kFrameWindowType, {{"image", Json::array({source, slot})}});
      out_.prompt[first]["inputs"][input] = Json::array({window, 0});
    }
    stream.id = "frames-" + stream.taker;
    stream.members.push_back(window);
    stream.members.insert(stream.members.end(), chain.nodes.begin(), chain.nodes.end());
    taken_.insert(stream.members.begin(), stream.members.end());
    out_.streams.push_back(std::move(stream));
  }

  const std::optional<FrameSplit>& FramesAt(const std::string& id) const {
    const NodeSpec& spec = *specs_.at(id);
    const auto known = splits_.find(&spec);
    return known != splits_.end() ? known->second : splits_.emplace(&spec, FramesOf(spec)).first->second;
  }

  const Catalog& catalog_;
  const FrameOptions& options_;
  FrameStreams out_;
  mutable std::map<const NodeSpec*, std::optional<FrameSplit>> splits_;  // by type, once read
  std::map<std::string, const NodeSpec*> specs_;
  std::map<Port, int> uses_;
  std::set<std::string> taken_, lists_;
  bool gathers_ = false;
};

}  // namespace

FrameStreams FindFrameStreams(const Json& prompt, const Catalog& catalog, const FrameOptions& options) {
  return Finder(prompt, catalog, options).Find();
}

}  // namespace atelier
