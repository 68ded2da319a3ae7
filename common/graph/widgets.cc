#include "common/graph/widgets.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <utility>

namespace atelier {
namespace {

// The member, or null.
const Json* FieldOf(const Json& object, const char* key) {
  auto it = object.find(key);
  return it == object.end() ? nullptr : &*it;
}

StatusOr<WidgetSpec> WidgetFromJson(const Json& json) {
  const Json* name = json.is_object() ? FieldOf(json, "n") : nullptr;
  if (name == nullptr || !name->is_string()) return InvalidArgument("a widget has no name \"n\"");
  WidgetSpec widget;
  widget.name = name->get<std::string>();
  if (const Json* type = FieldOf(json, "t"); type != nullptr && type->is_string())
    widget.type = type->get<std::string>();
  if (const Json* value = FieldOf(json, "d")) widget.default_value = *value;
  if (const Json* range = FieldOf(json, "r"); range != nullptr && range->is_array() && range->size() == 3) {
    widget.min = (*range)[0];
    widget.max = (*range)[1];
    widget.step = (*range)[2];
  }
  widget.in_prompt = FieldOf(json, "p") == nullptr;
  widget.in_values = FieldOf(json, "v") == nullptr;
  if (const Json* serializer = FieldOf(json, "s")) {
    if (*serializer == "text") widget.serializer = WidgetSpec::Serializer::kText;
    if (*serializer == "prefix") widget.serializer = WidgetSpec::Serializer::kPrefix;
  }
  return widget;
}

StatusOr<NodeLayout> LayoutFromJson(const Json& json) {
  if (!json.is_object()) return InvalidArgument("expected an object");
  NodeLayout layout;
  if (const Json* title = FieldOf(json, "title"); title != nullptr && title->is_string())
    layout.title = title->get<std::string>();
  if (const Json* widgets = FieldOf(json, "widgets")) {
    for (const Json& entry : *widgets) {
      ASSIGN_OR_RETURN(WidgetSpec widget, WidgetFromJson(entry));
      layout.widgets.push_back(std::move(widget));
    }
  }
  if (const Json* inputs = FieldOf(json, "inputs")) {
    for (const Json& entry : *inputs) {
      if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_string())
        return InvalidArgument("an entry of \"inputs\" is no pair of name and type");
      layout.inputs.emplace_back(entry[0].get<std::string>(), entry[1].get<std::string>());
    }
  }
  if (const Json* outputs = FieldOf(json, "outputs")) {
    for (const Json& entry : *outputs) {
      if (!entry.is_string()) return InvalidArgument("an entry of \"outputs\" is no type");
      layout.outputs.push_back(entry.get<std::string>());
    }
  }
  if (const Json* forced = FieldOf(json, "forced")) {
    for (const Json& entry : *forced) {
      if (!entry.is_number_unsigned()) return InvalidArgument("an entry of \"forced\" is no place");
      layout.forced.push_back(entry.get<size_t>());
    }
  }
  if (const Json* by_choice = FieldOf(json, "by_choice"); by_choice != nullptr && by_choice->is_object()) {
    for (const auto& [widget, choices] : by_choice->get_ref<const Json::object_t&>()) {
      if (!choices.is_object()) return InvalidArgument("an entry of \"by_choice\" is no object of choices");
      for (const auto& [choice, followers] : choices.get_ref<const Json::object_t&>()) {
        for (const Json& entry : followers) {
          ASSIGN_OR_RETURN(WidgetSpec follower, WidgetFromJson(entry));
          layout.by_choice[widget][choice].push_back(std::move(follower));
        }
      }
    }
  }
  layout.by_name = FieldOf(json, "by_name") != nullptr;
  layout.front_end = FieldOf(json, "front_end") != nullptr;
  return layout;
}

bool HasControl(const InputSpec& input) {
  return input.control_after_generate || (input.type == "INT" && (input.name == "seed" || input.name == "noise_seed"));
}

// Names of the widgets that set inputs, in order.
std::vector<std::string> InputNames(const NodeLayout& layout) {
  std::vector<std::string> names;
  for (const WidgetSpec& widget : layout.widgets)
    if (!widget.type.empty()) names.push_back(widget.name);
  return names;
}

}  // namespace

const WidgetSpec* NodeLayout::FindWidget(std::string_view name) const {
  for (const WidgetSpec& widget : widgets)
    if (widget.name == name) return &widget;
  return nullptr;
}

NodeLayout LayoutOf(const NodeSpec& spec) {
  NodeLayout layout;
  layout.title = spec.display_name.empty() ? spec.type : spec.display_name;
  size_t place = 0;
  for (const InputSpec& input : spec.inputs) {
    if (input.hidden) continue;
    if (!input.is_literal()) {
      layout.inputs.emplace_back(input.name, input.type);
      continue;
    }
    if (input.force_input) {
      layout.inputs.emplace_back(input.name, input.type);
      layout.forced.push_back(place++);
      continue;
    }
    ++place;
    WidgetSpec widget;
    widget.name = input.name;
    widget.type = input.type;
    widget.default_value = input.default_value;
    widget.min = input.min;
    widget.max = input.max;
    widget.step = input.step;
    if (widget.default_value.is_null()) {
      if (input.type == "COMBO" && !input.choices.empty()) widget.default_value = input.choices.front();
      if (input.type == "STRING") widget.default_value = std::string();
      if (input.type == "BOOLEAN") widget.default_value = false;
      if (input.type == "INT" || input.type == "FLOAT") widget.default_value = 0;
    }
    if (input.dynamic_prompts && input.multiline) widget.serializer = WidgetSpec::Serializer::kText;
    if (input.name == "filename_prefix" && spec.output_node) widget.serializer = WidgetSpec::Serializer::kPrefix;
    layout.widgets.push_back(std::move(widget));
    WidgetSpec more;  // of the editor alone
    more.in_prompt = false;
    if (HasControl(input)) {
      ++place;
      more.name = "control_after_generate";
      more.default_value = "randomize";
      layout.widgets.push_back(std::move(more));
    } else if (input.image_upload) {
      more.name = "upload";
      more.default_value = "image";
      layout.widgets.push_back(std::move(more));
    }
  }
  for (const OutputSpec& output : spec.outputs) layout.outputs.push_back(output.type);
  return layout;
}

StatusOr<WidgetTable> WidgetTable::FromJson(const Json& json) {
  if (!json.is_object()) return InvalidArgument("the widget table is no JSON object of node types");
  WidgetTable table;
  for (const auto& [type, entry] : json.get_ref<const Json::object_t&>()) {
    StatusOr<NodeLayout> layout = LayoutFromJson(entry);
    if (!layout.ok()) return Annotate(layout.status(), Cat("widget table: node type \"", type, "\""));
    table.layouts_.emplace(type, *std::move(layout));
  }
  return table;
}

StatusOr<WidgetTable> WidgetTable::Load(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return NotFound("widget table \"", path, "\" cannot be opened; expected config/widgets.json");
  std::ostringstream text;
  text << file.rdbuf();
  StatusOr<Json> json = ParseJson(text.str());
  if (!json.ok()) return Annotate(json.status(), Cat("widget table \"", path, "\""));
  return FromJson(*json);
}

void WidgetTable::Merge(const Catalog& catalog) {
  for (const std::string& type : catalog.Types()) {
    const NodeSpec& spec = *catalog.Find(type);
    if (spec.internal) continue;
    NodeLayout declared = LayoutOf(spec);
    auto it = layouts_.find(type);
    if (it == layouts_.end()) {
      layouts_.emplace(type, std::move(declared));
      continue;
    }
    NodeLayout& known = it->second;
    // A declaration that lacks widgets of the reference would shift the values of users' files; one that has more is
    // newer.
    const std::vector<std::string> old_names = InputNames(known), new_names = InputNames(declared);
    const bool extends = std::any_of(new_names.begin(), new_names.end(), [&](const std::string& name) {
      return std::find(old_names.begin(), old_names.end(), name) == old_names.end();
    });
    if (extends) {
      declared.title = known.title;
      for (WidgetSpec& widget : declared.widgets) widget.newer = known.FindWidget(widget.name) == nullptr;
      known = std::move(declared);
      continue;
    }
    for (WidgetSpec& widget : known.widgets) {
      const InputSpec* input = widget.type.empty() ? nullptr : spec.FindInput(widget.name);
      if (input == nullptr) continue;
      if (!input->default_value.is_null()) widget.default_value = input->default_value;
      if (!input->min.is_null()) widget.min = input->min;
      if (!input->max.is_null()) widget.max = input->max;
      if (!input->step.is_null()) widget.step = input->step;
    }
  }
}

const NodeLayout* WidgetTable::Find(std::string_view type) const {
  auto it = layouts_.find(type);
  return it == layouts_.end() ? nullptr : &it->second;
}

}  // namespace atelier
