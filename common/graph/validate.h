// Whether a prompt can run: every problem at once, in the reference's vocabulary.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/base/limits.h"
#include "common/base/status.h"
#include "common/graph/prompt.h"
#include "common/graph/schema.h"
#include "common/json/json.h"

namespace atelier {

/// One problem. `type` is one of the reference's names ("value_smaller_than_min", ...). Source: spec engine.md 2.1.
struct ValidationError {
  std::string type;
  std::string message;
  std::string details;
  Json extra_info = Json::object();
};

struct NodeErrors {
  std::vector<ValidationError> errors;
  std::vector<std::string> dependent_outputs;
  std::string class_type;
};

struct ValidateOptions {
  std::optional<std::vector<std::string>> targets;     // run only these output nodes; nothing: all
  int64_t tensor_bytes_max = limits::kTensorBytesMax;  // declared sizes beyond it are refused
};

struct ValidationReport {
  std::optional<ValidationError> error;                         // set: nothing can run
  std::vector<std::pair<std::string, NodeErrors>> node_errors;  // also filled when only some outputs are bad
  std::vector<std::string> cycle;  // ids of one cycle that some output depends on; the reference names it nowhere
  std::vector<std::string> valid_outputs;  // ids, in the prompt's order
  Json prompt;   // the prompt with its constants converted, as the reference embeds it into pictures
  Prompt graph;  // what runs: the valid outputs and all that they need; slots counted from the end made positive

  bool ok() const { return !error.has_value(); }
  /// {"error": ..., "node_errors": ...}, the body of the reference's answer 400; of an accepted prompt only
  /// "node_errors".
  Json ToJson() const;
  /// One sentence a problem, with node, type, input and value; for people.
  std::vector<std::string> Sentences() const;
};

/// Checks `prompt` (API format, as parsed) against the node types and the files at hand. One valid output is enough for
/// ok(). Names of files must stay inside their folder by form, whatever exists. Never fails: what is no prompt at all
/// is an error in the report. Linear in the prompt's size, no recursion. Source: spec engine.md 2.1. Thread: any.
ValidationReport Validate(const Json& prompt, const Catalog& catalog, const Inventory& inventory,
                          const ValidateOptions& options = {});

/// Checks the body of a POST /prompt: "prompt" and "partial_execution_targets". Thread: any.
ValidationReport ValidateRequest(const Json& body, const Catalog& catalog, const Inventory& inventory,
                                 ValidateOptions options = {});

/// [type or choices, options], the form of an input in errors and in /object_info. Thread: any.
Json InputConfig(const InputSpec& input, const Inventory& inventory);

/// A node type as /object_info shows it. Source: spec engine.md 2.2, 3.1. Thread: any.
Json ToObjectInfo(const NodeSpec& spec, const Inventory& inventory);

/// The catalogue that an /object_info answer describes. Choices of the newer form are not checked by the reference and
/// are left out; an empty list of choices becomes a folder without files. Errors: INVALID_ARGUMENT naming the node
/// type. Thread: any.
StatusOr<Catalog> CatalogFromObjectInfo(const Json& object_info);

}  // namespace atelier
