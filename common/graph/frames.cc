#include "common/graph/frames.h"

#include <algorithm>
#include <array>

namespace atelier {
namespace {

constexpr char kInput[] = "frame_split";
constexpr std::array<std::string_view, 4> kRoles = {"source", "each", "pass", "sink"};

std::string TextAt(const Json& json, const char* key) {
  const auto it = json.find(key);
  return it != json.end() && it->is_string() ? it->get<std::string>() : std::string();
}

}  // namespace

void DeclareFrames(NodeSpec& spec, const FrameSplit& split) {
  InputSpec input;
  input.name = kInput;
  input.type = "COMBO";
  input.required = false;
  input.hidden = true;
  Json& json = input.default_value;
  json = {{"role", split.role}};
  if (!split.input.empty()) json["input"] = split.input;
  if (!split.encoding.empty()) json["encoding"] = split.encoding;
  for (const auto& [name, values] : split.floats_if) json["floats_if"][name] = values;
  if (!split.replays_if.empty()) json["replays_if"] = split.replays_if;
  spec.inputs.push_back(std::move(input));
}

std::optional<FrameSplit> FramesOf(const NodeSpec& spec) {
  const InputSpec* declared = spec.FindInput(kInput);
  if (declared == nullptr || !declared->hidden || !declared->default_value.is_object()) return std::nullopt;
  const Json& json = declared->default_value;
  FrameSplit split{.role = TextAt(json, "role"),
                   .input = TextAt(json, "input"),
                   .encoding = TextAt(json, "encoding"),
                   .replays_if = TextAt(json, "replays_if")};
  const bool reads = split.role == "each" || split.role == "pass" || split.role == "sink";
  if (std::find(kRoles.begin(), kRoles.end(), split.role) == kRoles.end()) return std::nullopt;
  if (reads && spec.FindInput(split.input) == nullptr) return std::nullopt;
  const auto floats = json.find("floats_if");
  if (floats == json.end()) return split;
  if (!floats->is_object()) return std::nullopt;
  for (const auto& [name, values] : floats->items()) {
    auto& [input, texts] = split.floats_if.emplace_back(name, std::vector<std::string>());
    if (!values.is_array()) return std::nullopt;
    for (const Json& value : values)
      if (value.is_string()) texts.push_back(value.get<std::string>());
  }
  return split;
}

bool TakesWindows(const NodeSpec& spec, std::string_view input) {
  const std::optional<FrameSplit> split = FramesOf(spec);
  return split && (split->role == "sink" || split->role == "pass") && split->input == input;
}

}  // namespace atelier
