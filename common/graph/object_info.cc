#include <algorithm>
#include <string>
#include <utility>

#include "common/graph/file_sets.h"
#include "common/graph/lists.h"
#include "common/graph/python_value.h"
#include "common/graph/validate.h"

namespace atelier {
namespace {

constexpr char kNoFiles[] = "(none)";  // a folder that no inventory has

StatusOr<InputSpec> InputFromInfo(const std::string& name, const Json& info, bool required) {
  if (!info.is_array() || info.empty()) return InvalidArgument("input \"", name, "\" is no list of type and options");
  InputSpec input;
  input.name = name;
  input.required = required;
  const Json options = info.size() > 1 && info[1].is_object() ? info[1] : Json::object();
  const auto flag = [&](const char* key) { return options.contains(key) && options[key] == true; };
  if (info[0].is_array()) {
    input.type = "COMBO";
    for (const Json& choice : info[0]) input.choices.push_back(PythonStr(choice));
    if (input.choices.empty()) input.folder = kNoFiles;
  } else if (info[0].is_string()) {
    input.type = info[0].get<std::string>();
  } else {
    return InvalidArgument("input \"", name, "\" has neither a type nor a list of choices");
  }
  if (flag("image_upload") || flag("audio_upload") || flag("video_upload")) {
    input.type = "COMBO";
    input.choices.clear();
    input.folder = "input";
  }
  if (options.contains("default")) input.default_value = options["default"];
  if (options.contains("min")) input.min = options["min"];
  if (options.contains("max")) input.max = options["max"];
  if (options.contains("step")) input.step = options["step"];
  input.multiline = flag("multiline");
  input.dynamic_prompts = flag("dynamicPrompts");
  input.force_input = flag("forceInput");
  input.control_after_generate = flag("control_after_generate");
  input.image_upload = flag("image_upload");
  return input;
}

std::string TextOf(const Json& object, const char* key, const std::string& otherwise) {
  auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : otherwise;
}

Json MemberOr(const Json& object, const char* key, const Json& otherwise) {
  auto it = object.find(key);
  return it != object.end() && it->type() == otherwise.type() ? *it : otherwise;
}

}  // namespace

Json InputConfig(const InputSpec& input, const Inventory& inventory) {
  Json options = Json::object();
  if (!input.default_value.is_null()) options["default"] = input.default_value;
  if (!input.min.is_null()) options["min"] = input.min;
  if (!input.max.is_null()) options["max"] = input.max;
  if (!input.step.is_null()) options["step"] = input.step;
  if (input.multiline) options["multiline"] = true;
  if (input.dynamic_prompts) options["dynamicPrompts"] = true;
  if (input.force_input) options["forceInput"] = true;
  if (input.control_after_generate) options["control_after_generate"] = true;
  if (input.image_upload) options["image_upload"] = true;
  if (!input.tooltip.empty()) options["tooltip"] = input.tooltip;
  Json type = input.type;
  if (!input.folder.empty()) {
    type = ChoicesOf(input, inventory);
  } else if (input.type == "COMBO" && !input.choices.empty()) {
    type = input.choices;
  }
  Json config = Json::array();
  config.push_back(std::move(type));
  config.push_back(std::move(options));
  return config;
}

Json ToObjectInfo(const NodeSpec& spec, const Inventory& inventory) {
  Json required = Json::object(), optional = Json::object();
  Json required_order = Json::array(), optional_order = Json::array();
  for (const InputSpec& input : spec.inputs) {
    if (input.hidden) continue;
    (input.required ? required : optional)[input.name] = InputConfig(input, inventory);
    (input.required ? required_order : optional_order).push_back(input.name);
  }
  Json info = Json::object();
  info["input"] = {{"required", required}};
  info["input_order"] = {{"required", required_order}};
  if (!optional.empty()) {
    info["input"]["optional"] = optional;
    info["input_order"]["optional"] = optional_order;
  }
  info["output"] = Json::array();
  info["output_is_list"] = Json::array();
  info["output_name"] = Json::array();
  for (const OutputSpec& output : spec.outputs) {
    info["output"].push_back(output.type);
    info["output_is_list"].push_back(GivesLists(spec));
    info["output_name"].push_back(output.name);
  }
  info["name"] = spec.type;
  info["display_name"] = spec.display_name;
  info["description"] = spec.description;
  info["python_module"] = "nodes";
  info["category"] = spec.category;
  info["output_node"] = spec.output_node;
  return info;
}

StatusOr<Catalog> CatalogFromObjectInfo(const Json& object_info) {
  if (!object_info.is_object()) return InvalidArgument("object info is no JSON object of node types");
  Catalog catalog;
  for (const auto& [type, info] : object_info.get_ref<const Json::object_t&>()) {
    NodeSpec spec;
    spec.type = type;
    if (!info.is_object()) return InvalidArgument("node type \"", type, "\" is no JSON object");
    spec.display_name = TextOf(info, "display_name", type);
    spec.category = TextOf(info, "category", "");
    spec.output_node = MemberOr(info, "output_node", false).get<bool>();
    const Json inputs = MemberOr(info, "input", Json::object());
    for (const char* part : {"required", "optional"}) {
      const Json listed = MemberOr(inputs, part, Json::object());
      for (const auto& [name, entry] : listed.get_ref<const Json::object_t&>()) {
        StatusOr<InputSpec> input = InputFromInfo(name, entry, std::string_view(part) == "required");
        if (!input.ok()) return Annotate(input.status(), Cat("node type \"", type, "\""));
        spec.inputs.push_back(*std::move(input));
      }
    }
    const Json outputs = MemberOr(info, "output", Json::array());
    const Json names = MemberOr(info, "output_name", Json::array());
    for (size_t i = 0; i < outputs.size(); ++i) {
      OutputSpec output;
      output.type = outputs[i].is_string() ? outputs[i].get<std::string>() : std::string("COMBO");
      output.name = i < names.size() && names[i].is_string() ? names[i].get<std::string>() : output.type;
      spec.outputs.push_back(std::move(output));
    }
    const Json lists = MemberOr(info, "output_is_list", Json::array());
    if (std::find(lists.begin(), lists.end(), Json(true)) != lists.end()) DeclareLists(spec);
    catalog.Add(std::move(spec));
  }
  return catalog;
}

}  // namespace atelier
