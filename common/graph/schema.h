// What a node type declares about itself, as plain data. Validation, conversion of editor files, /object_info,
// documentation, cache keys and the planner's cuts are all derived from this and from nothing else.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/json/json.h"

namespace atelier {

/// A choice of a COMBO that stands for several files of another folder and is there when all of them are: "taesd" for
/// an encoder and a decoder. Which files these are, validation writes into hidden inputs of the node. One without parts
/// is always there.
struct FileSet {
  std::string name;
  std::string folder;                        // of its files
  std::map<std::string, std::string> parts;  // hidden input -> the file's name up to its ending ("taesd_encoder")
};

/// One input of a node type. Literal types: INT, FLOAT, STRING, BOOLEAN, COMBO; all others arrive by links.
struct InputSpec {
  std::string name;
  std::string type;  // wire name, e.g. "INT", "COMBO", "IMAGE"; "*" takes anything
  bool required = true;
  bool hidden = false;               // not a socket or widget; bound by the planner
  Json default_value;                // null: none
  Json min, max, step;               // null: none; numbers otherwise (INT may reach 2^64-1)
  std::vector<std::string> choices;  // COMBO, in the reference's order
  std::string folder;                // COMBO over the files of a models folder ("checkpoints", ...) or of "input"
  std::vector<FileSet> sets;         // with `folder`: choices after its files
  bool multiline = false;
  bool dynamic_prompts = false;         // {a|b} and comments are resolved when an editor file is converted
  bool force_input = false;             // a literal type that has no widget
  bool control_after_generate = false;  // one more saved widget value follows this one's
  bool image_upload = false;            // likewise (the upload button)
  bool gather = false;                  // takes the values of all replicas, in replica order
  std::string tooltip;

  const FileSet* FindSet(std::string_view choice) const {
    for (const FileSet& set : sets)
      if (set.name == choice) return &set;
    return nullptr;
  }
  bool is_literal() const {
    return type == "INT" || type == "FLOAT" || type == "STRING" || type == "BOOLEAN" || type == "COMBO";
  }
};

struct OutputSpec {
  std::string name;
  std::string type;
};

/// How a tiled node splits: each tile is one run of `tile_node` on a crop of the canvas `image_input`.
struct TileSplit {
  std::string tile_node;    // node type; takes the same inputs by name, and crop/process geometry as hidden inputs
  std::string image_input;  // the input whose 8-bit form is the canvas
  std::string padding_input = "padding";
  int64_t canvas_multiple = 1;  // the canvas is brought to multiples of so many pixels first (half to even)
};

/// A declared node type.
struct NodeSpec {
  std::string type;
  std::string display_name;
  std::string category;
  std::string description;
  std::vector<InputSpec> inputs;  // required first, then optional, in the reference's order; hidden last
  std::vector<OutputSpec> outputs;
  bool output_node = false;
  bool internal = false;  // made by the planner only; not listed for users, refused in prompts
  // Directives that the planner reads:
  bool cheap = false;             // recomputed where it is needed rather than shipped as a blob
  bool keeps_handles = false;     // its outputs of data types hold handles that it takes: they cross as these do
  bool cut_for_tiles = false;     // gives its prompts with its masks and latents, of which a tile gets its part
  bool per_replica = false;       // its value depends on the hidden input "replica_index"
  bool gathers = false;           // ends the replicated part: its gather inputs take one value a replica
  std::string single_replica_if;  // BOOLEAN input that, when true, asks for one replica
  std::optional<TileSplit> tiles;

  const InputSpec* FindInput(std::string_view name) const {
    for (const InputSpec& input : inputs)
      if (input.name == name) return &input;
    return nullptr;
  }
};

/// JSON form of a spec, as config/catalog.json and the wire carry it. Thread: any.
Json ToJson(const NodeSpec& spec);

/// The spec of a JSON form. Errors: INVALID_ARGUMENT naming the field. Thread: any.
StatusOr<NodeSpec> NodeSpecFromJson(const Json& json);

/// Wire types whose values may cross between tasks as blobs; all others are handles, and a fragment that needs one
/// carries the loader chain that makes it. Source: design.md section 4.
bool IsDataType(std::string_view type);

/// All node types known, by name. A value. Thread: const any.
class Catalog {
 public:
  /// Later specs of the same type replace earlier ones.
  void Add(NodeSpec spec);
  const NodeSpec* Find(std::string_view type) const;
  std::vector<std::string> Types() const;  // sorted
  size_t size() const { return specs_.size(); }
  /// Hash over all specs: equal digests mean equal catalogues.
  std::string Digest() const;
  Json ToJson() const;
  static StatusOr<Catalog> FromJson(const Json& json);
  static StatusOr<Catalog> Load(const std::string& path);

 private:
  std::map<std::string, NodeSpec, std::less<>> specs_;
};

/// The files that the cluster offers: folder ("checkpoints", "input", ...) to sorted names relative to it, "/"
/// separated.
struct Inventory {
  std::map<std::string, std::vector<std::string>> files;
};

}  // namespace atelier
