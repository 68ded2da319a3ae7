#include "common/graph/load_workflow.h"

#include "common/graph/editor_file.h"

namespace atelier {
namespace {

using editor::Member;

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
