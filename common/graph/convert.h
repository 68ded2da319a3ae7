// Editor files become prompts: the same prompt that the official editor sends for the same file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/graph/widgets.h"
#include "common/json/json.h"

namespace atelier {

/// Local time for %date:...% in file names, handed in so that conversion reads no clock.
struct ClockTime {
  int year = 1970, month = 1, day = 1;  // month and day from 1
  int hour = 0, minute = 0, second = 0;
};

struct ConvertOptions {
  ClockTime now;
  uint64_t seed = 0;  // chooses among {a|b}
};

struct Converted {
  Json prompt;                        // API format: node id -> {inputs, class_type, _meta}
  std::vector<std::string> warnings;  // e.g. node types that the table does not know: their entries have no class_type
};

/// The prompt of an editor file, both schema versions, with reroutes, primitives, muted and bypassed nodes, subgraphs
/// and legacy group nodes. Numbers are JavaScript's (integers beyond 2^53 lose digits). Errors: INVALID_ARGUMENT naming
/// node and slot for dangling links, cycles, recursion and wrong form; RESOURCE_EXHAUSTED beyond
/// limits::kPromptNodesMax and kSubgraphDepthMax. Source: spec engine.md 1.2, 1.3; golden/workflows/README.md. Thread:
/// any.
StatusOr<Converted> ConvertWorkflow(const Json& workflow, const WidgetTable& widgets,
                                    const ConvertOptions& options = {});

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

/// As JavaScript's JSON.stringify(value, null, indent): 1.0 is 1, 1e20 is 100000000000000000000. indent 0: one line.
/// Thread: any.
std::string DumpJsonJs(const Json& value, int indent = 0);

/// {a|b} chosen with `seed`, comments stripped, CRLF to LF, escapes resolved. Source: spec engine.md 1.3. Thread: any.
std::string ResolveDynamicPrompt(std::string_view text, uint64_t& random_state);

}  // namespace atelier
