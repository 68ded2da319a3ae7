// Editor files become prompts: the same prompt that the official editor sends for the same file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/graph/dynamic_text.h"
#include "common/graph/widgets.h"
#include "common/json/json.h"

namespace atelier {

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

}  // namespace atelier
