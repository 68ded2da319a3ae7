// Workflows in any form that they arrive in.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/graph/convert.h"
#include "common/json/json.h"

namespace atelier {

/// Forms in which a workflow arrives.
enum class WorkflowFormat { kApi, kWrappedApi, kEditor };

/// Tells the form of a parsed text: an object of nodes; {"prompt": {...}}, the body of POST /prompt; an editor file
/// with "nodes". Errors: INVALID_ARGUMENT when it is none. Thread: any.
StatusOr<WorkflowFormat> DetectFormat(const Json& json);

/// A workflow ready to be validated.
struct LoadedWorkflow {
  Json prompt;    // API format
  Json workflow;  // the editor file for the pictures' `workflow` chunk; null when there is none
  std::vector<std::string> warnings;
};

/// From a JSON text of any form. Errors: as ParseJson, DetectFormat and ConvertWorkflow. Thread: any.
StatusOr<LoadedWorkflow> LoadWorkflow(std::string_view text, const WidgetTable& widgets,
                                      const ConvertOptions& options = {});

/// From the text chunks of a picture (keyword, text): "prompt" is taken as it is, else "workflow" is converted. Errors:
/// INVALID_ARGUMENT when it carries neither, else as LoadWorkflow. Source: spec engine.md 11.2. Thread: any.
StatusOr<LoadedWorkflow> LoadWorkflow(const std::vector<std::pair<std::string, std::string>>& texts,
                                      const WidgetTable& widgets, const ConvertOptions& options = {});

}  // namespace atelier
