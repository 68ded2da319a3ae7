#include "common/graph/prompt.h"

#include <algorithm>
#include <queue>
#include <utility>

#include "common/base/limits.h"

namespace atelier {
namespace {

// An id for messages: short.
std::string ShownId(std::string_view id) { return Cat("\"", id.substr(0, 60), id.size() > 60 ? "...\"" : "\""); }

}  // namespace

bool IsLink(const Json& value) {
  return value.is_array() && value.size() == 2 && value[0].is_string() && value[1].is_number_integer();
}

std::optional<NodeLink> AsLink(const Json& value) {
  if (!IsLink(value)) return std::nullopt;
  if (value[1].is_number_unsigned() && value[1].get<uint64_t>() > INT64_MAX) return std::nullopt;
  return NodeLink{value[0].get<std::string>(), value[1].get<int64_t>()};
}

const Json& UnwrapConstant(const Json& value) {
  if (!value.is_object()) return value;
  auto it = value.find("__value__");
  return it == value.end() ? value : *it;
}

Status Prompt::Add(PromptNode node) {
  if (static_cast<int64_t>(nodes_.size()) >= limits::kPromptNodesMax)
    return ResourceExhausted("the prompt has more than ", limits::kPromptNodesMax, " nodes");
  if (!index_.emplace(node.id, nodes_.size()).second)
    return InvalidArgument("node id ", ShownId(node.id), " is used twice");
  nodes_.push_back(std::move(node));
  return OkStatus();
}

std::optional<size_t> Prompt::Index(std::string_view id) const {
  auto it = index_.find(std::string(id));
  if (it == index_.end()) return std::nullopt;
  return it->second;
}

const PromptNode* Prompt::Find(std::string_view id) const {
  const std::optional<size_t> index = Index(id);
  return index ? &nodes_[*index] : nullptr;
}

StatusOr<Prompt> PromptFromJson(const Json& json) {
  if (!json.is_object()) return InvalidArgument("the prompt is no JSON object; expected node ids with their nodes");
  Prompt prompt;
  for (const auto& [id, entry] : json.get_ref<const Json::object_t&>()) {
    if (!entry.is_object()) return InvalidArgument("node ", ShownId(id), " is no JSON object");
    PromptNode node;
    node.id = id;
    auto type = entry.find("class_type");
    if (type == entry.end() || !type->is_string())
      return InvalidArgument("node ", ShownId(id), " has no class_type; expected the name of a node type");
    node.class_type = type->get<std::string>();
    auto inputs = entry.find("inputs");
    if (inputs == entry.end() || !inputs->is_object())
      return InvalidArgument("node ", ShownId(id), " has no inputs; expected an object of names and values");
    node.inputs = *inputs;
    if (auto meta = entry.find("_meta"); meta != entry.end() && meta->is_object()) {
      if (auto title = meta->find("title"); title != meta->end() && title->is_string())
        node.title = title->get<std::string>();
    }
    RETURN_IF_ERROR(prompt.Add(std::move(node)));
  }
  return prompt;
}

StatusOr<Prompt> ParsePrompt(std::string_view text) {
  ASSIGN_OR_RETURN(const Json json, ParseJson(text));
  return PromptFromJson(json);
}

Json ToJson(const Prompt& prompt) {
  Json::object_t out;
  for (const PromptNode& node : prompt.nodes()) {
    Json entry = Json::object();
    entry["inputs"] = node.inputs;
    entry["class_type"] = node.class_type;
    if (!node.title.empty()) entry["_meta"] = {{"title", node.title}};
    // emplace_back of the vector underneath: ids are unique already, and the map's own emplace searches all of them.
    static_cast<Json::object_t::Container&>(out).emplace_back(node.id, std::move(entry));
  }
  return Json(std::move(out));
}

std::vector<std::vector<size_t>> Sources(const Prompt& prompt) {
  std::vector<std::vector<size_t>> sources(prompt.size());
  for (size_t i = 0; i < prompt.size(); ++i) {
    for (const auto& [name, value] : prompt.nodes()[i].inputs.get_ref<const Json::object_t&>()) {
      const std::optional<NodeLink> link = AsLink(value);
      if (!link) continue;
      if (const std::optional<size_t> source = prompt.Index(link->node)) sources[i].push_back(*source);
    }
  }
  return sources;
}

StatusOr<std::vector<size_t>> TopologicalOrder(const Prompt& prompt) {
  const std::vector<std::vector<size_t>> sources = Sources(prompt);
  std::vector<std::vector<size_t>> users(prompt.size());
  std::vector<size_t> waiting(prompt.size());
  for (size_t i = 0; i < sources.size(); ++i) {
    waiting[i] = sources[i].size();
    for (size_t s : sources[i]) users[s].push_back(i);
  }
  std::priority_queue<size_t, std::vector<size_t>, std::greater<>> ready;
  for (size_t i = 0; i < waiting.size(); ++i)
    if (waiting[i] == 0) ready.push(i);
  std::vector<size_t> order;
  std::vector<int> depth(prompt.size(), 1);
  while (!ready.empty()) {
    const size_t i = ready.top();
    ready.pop();
    order.push_back(i);
    if (depth[i] > limits::kGraphDepthMax)
      return InvalidArgument("node ", ShownId(prompt.nodes()[i].id), " ends a chain of more than ",
                             limits::kGraphDepthMax, " links");
    for (size_t user : users[i]) {
      depth[user] = std::max(depth[user], depth[i] + 1);
      if (--waiting[user] == 0) ready.push(user);
    }
  }
  if (order.size() == prompt.size()) return order;
  std::string path;
  int shown = 0;
  const std::vector<std::string> cycle = FindCycle(prompt);
  for (const std::string& id : cycle) {
    if (++shown > 10) {
      path += Cat(" ... (", cycle.size(), " nodes)");
      break;
    }
    path += Cat(shown > 1 ? " <- " : "", ShownId(id));
  }
  return InvalidArgument("the prompt has a cycle: ", path);
}

std::vector<std::string> FindCycle(const Prompt& prompt, const std::vector<std::string>& starts) {
  const std::vector<std::vector<size_t>> sources = Sources(prompt);
  std::vector<size_t> roots;
  if (starts.empty()) {
    for (size_t i = 0; i < prompt.size(); ++i) roots.push_back(i);
  } else {
    for (const std::string& id : starts)
      if (const std::optional<size_t> index = prompt.Index(id)) roots.push_back(*index);
  }
  enum class Mark : char { kNew, kOpen, kDone };
  std::vector<Mark> marks(prompt.size(), Mark::kNew);
  std::vector<std::pair<size_t, size_t>> path;  // node and the number of its sources walked so far
  for (size_t root : roots) {
    if (marks[root] != Mark::kNew) continue;
    marks[root] = Mark::kOpen;
    path.emplace_back(root, 0);
    while (!path.empty()) {
      auto& [node, next] = path.back();
      if (next == sources[node].size()) {
        marks[node] = Mark::kDone;
        path.pop_back();
        continue;
      }
      const size_t source = sources[node][next++];
      if (marks[source] == Mark::kOpen) {
        std::vector<std::string> cycle;
        auto it = std::find_if(path.begin(), path.end(), [&](const auto& step) { return step.first == source; });
        for (; it != path.end(); ++it) cycle.push_back(prompt.nodes()[it->first].id);
        return cycle;
      }
      if (marks[source] == Mark::kNew) {
        marks[source] = Mark::kOpen;
        path.emplace_back(source, 0);
      }
    }
  }
  return {};
}

std::vector<size_t> Ancestors(const Prompt& prompt, const std::vector<std::string>& ids) {
  const std::vector<std::vector<size_t>> sources = Sources(prompt);
  std::vector<bool> seen(prompt.size(), false);
  std::vector<size_t> open;
  const auto visit = [&](size_t index) {
    if (seen[index]) return;
    seen[index] = true;
    open.push_back(index);
  };
  for (const std::string& id : ids)
    if (const std::optional<size_t> index = prompt.Index(id)) visit(*index);
  while (!open.empty()) {
    const size_t index = open.back();
    open.pop_back();
    for (size_t source : sources[index]) visit(source);
  }
  std::vector<size_t> result;
  for (size_t i = 0; i < seen.size(); ++i)
    if (seen[i]) result.push_back(i);
  return result;
}

bool IsSafeRelativeName(std::string_view name) {
  constexpr size_t kNameBytesMax = 1024;
  constexpr size_t kPartBytesMax = 255;
  if (name.empty() || name.size() > kNameBytesMax) return false;
  for (const char c : name)
    if ((c >= 0 && c < 32) || c == 127 || c == ':') return false;
  for (size_t i = 0; i < name.size();) {
    const auto lead = static_cast<unsigned char>(name[i++]);
    if (lead < 0x80) continue;
    const int more = lead >= 0xf5 ? -1 : lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc2 ? 1 : -1;
    if (more < 0) return false;
    for (int k = 0; k < more; ++k)
      if (i >= name.size() || (static_cast<unsigned char>(name[i++]) & 0xc0) != 0x80) return false;
  }
  while (true) {
    const size_t end = name.find_first_of("/\\");
    const std::string_view part = name.substr(0, end);
    if (part.empty() || part == "." || part == ".." || part.size() > kPartBytesMax) return false;
    if (end == std::string_view::npos) return true;
    name.remove_prefix(end + 1);
  }
}

}  // namespace atelier
