#include "common/graph/lists.h"

#include <map>
#include <utility>
#include <vector>

namespace atelier {
namespace {

constexpr char kOutputLists[] = "output_lists";

}  // namespace

void DeclareLists(NodeSpec& spec) {
  InputSpec input;
  input.name = kOutputLists;
  input.type = "COMBO";
  input.required = false;
  input.hidden = true;
  input.default_value = true;
  spec.inputs.push_back(std::move(input));
}

bool GivesLists(const NodeSpec& spec) {
  const InputSpec* input = spec.FindInput(kOutputLists);
  return input != nullptr && input->hidden && input->default_value == Json(true);
}

std::set<std::string> NodesWithLists(const Json& prompt, const Catalog& catalog) {
  std::map<std::string, std::vector<std::string>>
      once_each;  // node -> those that would run once for each of its values
  std::vector<std::string> work;
  for (const auto& [id, node] : prompt.items()) {
    const auto type = node.find("class_type");
    const NodeSpec* spec = type != node.end() && type->is_string() ? catalog.Find(type->get<std::string>()) : nullptr;
    if (spec == nullptr) continue;
    if (GivesLists(*spec)) work.push_back(id);
    const auto inputs = node.find("inputs");
    if (inputs == node.end() || !inputs->is_object()) continue;
    for (const auto& [name, value] : inputs->items()) {
      const InputSpec* input = spec->FindInput(name);
      if (input == nullptr || input->gather || !value.is_array() || value.size() != 2 || !value[0].is_string())
        continue;
      once_each[value[0].get<std::string>()].push_back(id);
    }
  }
  std::set<std::string> lists;
  while (!work.empty()) {
    const std::string id = std::move(work.back());
    work.pop_back();
    if (!lists.insert(id).second) continue;
    const auto& behind = once_each[id];
    work.insert(work.end(), behind.begin(), behind.end());
  }
  return lists;
}

}  // namespace atelier
