// Runs a fragment of a graph on the node types linked into the program: order, links, bound blobs, defaults, a cache of
// outputs across fragments, cancelling. No threads, clocks or files but those of the host.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/graph/node.h"
#include "common/graph/value.h"
#include "common/json/json.h"

namespace atelier {

/// What a task runs: the wire's Lease without its names.
struct Fragment {
  struct Binding {
    std::string node;
    std::string input;
    std::vector<std::string> blobs;  // hashes; one, or for a gather input one a replica
    bool gather = false;             // several blobs; of an input that is none of these: windows of frames, in order
  };
  struct Wanted {
    std::string node;
    int64_t slot = 0;
    std::string encoding;  // "", or of IMAGE "u8" (canvas form), "packed" (that, compressed) or "rounded"
  };
  Json nodes = Json::object();  // API format: id -> {"class_type", "inputs"}
  std::vector<Binding> bindings;
  std::vector<Wanted> wanted;
  std::vector<std::string> output_nodes;
  std::map<std::string, std::string, std::less<>> inputs;  // name of an input file -> its blob
};

struct FragmentResult {
  std::vector<std::string> blobs;  // the bytes of each wanted value, in order
  std::vector<OutputFile> files;   // in the order in which they were made
  bool once = false;               // the wanted values are those of a window of frames: no other task here needs them
  int64_t nodes_run = 0;
  int64_t nodes_cached = 0;  // needed ones that did not run
  double load_seconds = 0;   // of nodes that read model files
};

/// What an executor needs of its surroundings. Thread: the executor's, except cancelled().
class ExecutorHost {
 public:
  virtual ~ExecutorHost() = default;
  /// The bytes of a blob. Errors: NOT_FOUND, UNAVAILABLE, CANCELLED.
  virtual StatusOr<std::shared_ptr<const std::string>> Blob(const std::string& hash) = 0;
  /// The same of a blob that is not worth keeping. Errors: as Blob.
  virtual StatusOr<std::shared_ptr<const std::string>> BlobOnce(const std::string& hash) { return Blob(hash); }
  /// Absolute path of a model file. Errors: NOT_FOUND.
  virtual StatusOr<std::string> ModelPath(std::string_view folder, std::string_view name) = 0;
  /// A text that changes when the model file changes (its size and time), so that cached outputs made of it are not
  /// used again;
  /// "" when the file is absent.
  virtual std::string ModelIdentity(std::string_view folder, std::string_view name) = 0;
  virtual bool cancelled() const = 0;
  /// A node starts (step and total 0), or did `step` of `total` units; `preview` may be empty.
  virtual void Progress(const std::string& node, int64_t step, int64_t total,
                        const std::function<std::string()>& preview) = 0;
  virtual void Warn(const std::string& node, const std::string& message) = 0;
  /// Seconds on a clock that never goes back.
  virtual double Seconds() const = 0;
};

/// Bytes that a value of one wire type holds; one registration per type, for the cache's bound.
struct ValueSize {
  std::function<int64_t(const Value&)> bytes;
};

struct ExecutorOptions {
  int64_t cache_bytes_max = 1LL << 30;  // data kept between fragments; 0: none
  int64_t cache_nodes_max = 4096;       // nodes whose outputs are kept
};

/// Executes fragments one after the other. Outputs are kept by what they were made of (class, literals, and the same of
/// all ancestors), least recently used first out. Outputs with handles (models) are kept only from one fragment to the
/// next that needs the same ones, so that the cache never holds a model which the model cache wants to let go. Thread:
/// one.
class Executor {
 public:
  explicit Executor(ExecutorOptions options = {});
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  /// Runs the ancestors of wanted values and output nodes. Errors, all with `node "5" (KSampler): ...` in front where a
  /// node is to blame: INVALID_ARGUMENT (cycle, dangling link, missing or unfit input), FAILED_PRECONDITION (a node
  /// type that this program does not have), CANCELLED, RESOURCE_EXHAUSTED (memory), INTERNAL (a node broke its
  /// declaration), the host's and the node's.
  StatusOr<FragmentResult> Run(const Fragment& fragment, ExecutorHost& host);

  /// The node that the last Run failed in, or "".
  const std::string& failed_node() const { return failed_node_; }

  /// Forgets all kept outputs.
  void ClearCache();
  int64_t cache_bytes() const;
  int64_t cache_nodes() const;

 private:
  struct Entry;
  struct Cache;
  class RunState;
  ExecutorOptions options_;
  std::unique_ptr<Cache> cache_;
  std::string failed_node_;
};

/// The blob of a value: literals as JSON alone, all others by the codec of their wire type. Errors: INVALID_ARGUMENT
/// for a type without a codec, and the codec's. Thread: any.
StatusOr<std::string> EncodeBlob(const Value& value, std::string_view encoding);

/// The value of a blob. Errors: DATA_LOSS or INVALID_ARGUMENT for bytes that are no blob of a known type. Thread: any.
StatusOr<Value> DecodeBlob(std::string_view bytes);

}  // namespace atelier
