// The plan of a job, as plain data. docs/architecture.md, "Plan".
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/graph/schema.h"
#include "common/json/json.h"
#include "master/store/records.h"

namespace atelier {

using Blob = BlobRef;

/// The `output`-th result of a task, or (output 0) of a stage or a stream.
struct Source {
  std::string task;
  size_t output = 0;
  bool operator==(const Source&) const = default;
};

/// Binds one input of one node of a fragment to results of earlier tasks: one, or for a gather input one a replica; of
/// a stream all its windows.
struct Binding {
  std::string node;
  std::string input;
  std::vector<Source> sources;
  bool gather = false;
};

/// A value that a task has to hand over as a blob. encoding: "", or of an IMAGE "u8" (canvas form) or "packed"
/// (that, compressed; common/tensorio/packed_blob.h), "rounded" (the same of trunc(255 v + 0.5)) or "plain" ("", never
/// compressed: the master cuts it).
struct Wanted {
  std::string node;
  size_t slot = 0;
  std::string encoding;
};

/// What a task asks of a worker.
struct Requirements {
  std::set<std::string> node_types;
  std::set<std::pair<std::string, std::string>> models;  // folder, name
  uint64_t model_bytes = 0;  // of the largest of these files, which has to fit at once; 0: not known. Not in the digest
};

/// A fragment of the graph with its cut inputs and wanted outputs.
struct TaskSpec {
  std::string id;     // unique in the job
  std::string label;  // for people: "replica 2"
  std::string kind;   // what its cost depends on, as far as the prompt tells; no part of the digest
  Json nodes = Json::object();
  std::vector<Binding> bindings;
  std::vector<Wanted> wanted;
  std::vector<std::string> output_nodes;
  std::set<std::string> input_files;  // names in the input folder
  Requirements needs;
};

/// A tiled node: the master cuts crops of the canvas, each step is a task, the pasted canvas is the result.
struct StageSpec {
  std::string id;
  std::string label;
  std::string node;  // the tiled node's id
  TileSplit split;
  std::string crop_input;  // the tile node's name for the crops
  TaskSpec tile;           // what every tile has in common: handle chain, literal inputs, bindings but for the crop
  std::vector<Binding> bindings;  // the tiled node's own linked data inputs, the image first
  std::vector<Binding> measures;  // what the master alone reads: "init_width" and "init_height" of a base
  std::vector<Binding> pictures;  // of the whole canvas, of which nodes in the chain get their parts (picture_part.h)
};

/// Frames of a video, or pictures of a batch, that go through in windows: each window is a task, and whoever takes them
/// gets all their blobs, in order. docs/frames.md.
struct StreamSpec {
  std::string id;
  std::string label;
  std::string node;              // the window node, which is told the window
  TaskSpec window;               // what every window has in common
  std::optional<Source> extent;  // text "FRAMES WINDOW": how many there are, and how many a window has
  int64_t window_frames = 0;     // in the place of that; 0: as it says
  std::optional<Source> batch;   // or the pictures, which the master takes apart
};

struct Plan {
  int replicas = 1;
  std::string tiles;   // "exact", "independent" or "by-image"
  std::string compat;  // "reference" or "documented"
  std::vector<TaskSpec> tasks;
  std::vector<StageSpec> stages;
  std::vector<StreamSpec> streams;
  /// Hash over everything above but `kind`: a restart continues a job only under the same plan.
  std::string Digest() const;
};

}  // namespace atelier
