#include "common/executor/executor.h"

#include <algorithm>
#include <exception>
#include <new>
#include <optional>
#include <set>
#include <utility>

#include "common/base/hash.h"
#include "common/base/limits.h"
#include "common/base/registry.h"
#include "common/graph/frames.h"
#include "common/graph/input_folder.h"
#include "common/graph/prompt.h"

namespace atelier {
namespace {

constexpr int64_t kFolderBytesMax = int64_t{4} << 30;  // of the files of one input folder

constexpr int64_t kUnknownValueBytes = 16 << 20;  // assumed of a data value whose type registers no ValueSize

bool IsHandleType(const std::string& type) { return type != "LITERAL" && !IsDataType(type); }

// A list of values on one link: what stands behind runs once for each, unless its input takes whole lists.
using List = std::vector<Value>;

int64_t BytesOf(const Value& value) {
  if (!value.present()) return 0;
  if (const List* list = value.Get<List>()) {
    int64_t bytes = 0;
    for (const Value& item : *list) bytes += BytesOf(item);
    return bytes;
  }
  if (value.is_literal()) {
    const Json& json = value.literal();
    return json.is_string()       ? static_cast<int64_t>(json.get_ref<const std::string&>().size())
           : json.is_structured() ? static_cast<int64_t>(DumpJson(json).size())
                                  : 8;
  }
  if (IsHandleType(value.type())) return 0;
  const ValueSize* size = Registry<ValueSize>::Get().Find(value.type());
  return size == nullptr ? kUnknownValueBytes : size->bytes(value);
}

bool HasHandle(const std::vector<Value>& values) {
  return std::any_of(values.begin(), values.end(),
                     [](const Value& v) { return v.present() && !v.is_literal() && IsHandleType(v.type()); });
}

}  // namespace

struct Executor::Entry {
  std::string signature;
  std::vector<Value> values;
  int64_t bytes = 0;
  bool handle = false;
};

// Least recently used at the back.
struct Executor::Cache {
  std::list<Entry> entries;
  std::map<std::string, std::list<Entry>::iterator, std::less<>> by_signature;
  int64_t bytes = 0;

  const Entry* Find(const std::string& signature) {
    const auto it = by_signature.find(signature);
    if (it == by_signature.end()) return nullptr;
    entries.splice(entries.begin(), entries, it->second);
    return &*it->second;
  }
  void Erase(std::list<Entry>::iterator entry) {
    bytes -= entry->bytes;
    by_signature.erase(entry->signature);
    entries.erase(entry);
  }
  void Add(Entry entry, const ExecutorOptions& options) {
    if (entry.bytes > options.cache_bytes_max || options.cache_bytes_max == 0) return;
    if (const auto it = by_signature.find(entry.signature); it != by_signature.end()) Erase(it->second);
    bytes += entry.bytes;
    entries.push_front(std::move(entry));
    by_signature[entries.front().signature] = entries.begin();
    while (bytes > options.cache_bytes_max || static_cast<int64_t>(entries.size()) > options.cache_nodes_max)
      Erase(std::prev(entries.end()));
  }
};

// One Run: the needed nodes as an array in topological order.
class Executor::RunState : public NodeContext {
 public:
  RunState(Executor& executor, const Fragment& fragment, ExecutorHost& host)
      : executor_(executor), fragment_(fragment), host_(host) {}

  StatusOr<FragmentResult> Run() {
    RETURN_IF_ERROR(Order());
    Sign();
    DropUnusedHandles();
    MarkNeeded();
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (!nodes_[i].needed || nodes_[i].streamed) continue;
      current_ = i;
      Status done = Execute(nodes_[i]);
      if (!done.ok()) return Blame(nodes_[i], done);
      ReleaseSources(nodes_[i]);
    }
    for (const Fragment::Wanted& wanted : fragment_.wanted) {
      Node& node = nodes_[index_.find(wanted.node)->second];
      if (wanted.slot < 0 || wanted.slot >= static_cast<int64_t>(node.values.size()))
        return Blame(node, InvalidArgument("output ", wanted.slot, " is wanted, but it has ", node.values.size()));
      StatusOr<std::string> blob = EncodeBlob(node.values[static_cast<size_t>(wanted.slot)], wanted.encoding);
      if (!blob.ok()) return Blame(node, Annotate(blob.status(), Cat("output ", wanted.slot)));
      result_.blobs.push_back(std::move(blob).value());
      result_.once |= node.passing;
    }
    return std::move(result_);
  }

  // NodeContext, on behalf of nodes_[current_].
  const std::string& node_id() const override { return nodes_[current_].id; }
  bool cancelled() const override { return host_.cancelled(); }
  Status Step(int64_t step, int64_t total, const std::function<std::string()>& preview) override {
    if (host_.cancelled()) return Cancelled("the task was cancelled");
    host_.Progress(node_id(), step, total, preview);
    return OkStatus();
  }
  StatusOr<std::string> ModelPath(std::string_view folder, std::string_view name) override {
    return host_.ModelPath(folder, name);
  }
  StatusOr<std::string> InputFile(std::string_view name) override {
    if (name.ends_with('/')) return InputFolder(name);
    const auto it = fragment_.inputs.find(name);
    if (it == fragment_.inputs.end()) return NotFound("input file \"", name, "\" was not sent with the task");
    ASSIGN_OR_RETURN(const auto bytes, host_.Blob(it->second));
    return std::string(*bytes);
  }
  void Emit(OutputFile file) override {
    file.node_id = node_id();
    result_.files.push_back(std::move(file));
  }
  void Warn(const std::string& message) override { host_.Warn(node_id(), message); }

 private:
  struct Source {
    const InputSpec* input = nullptr;
    const Json* literal = nullptr;               // into the fragment or the declaration
    const Fragment::Binding* binding = nullptr;  // wins over the others
    std::string node;                            // of a link
    int64_t slot = 0;
    size_t index = 0;  // of the linked node
  };
  struct Node {
    std::string id;
    std::string type_name;
    const NodeType* type = nullptr;
    std::vector<Source> sources;
    std::string signature;
    bool needed = false;
    bool streamed = false;  // runs once a window, when whoever takes the windows asks
    bool passing = false;   // its outputs are frames of one window, or hold windows: not kept
    const Entry* cached = nullptr;
    std::vector<Value> values;
    int64_t uses = 0;  // needed consumers that have not run, and wanted values
  };

  StatusOr<std::string> InputFolder(std::string_view folder) {
    std::vector<std::pair<std::string, std::string>> files;
    Status status = OkStatus();
    int64_t total = 0;
    VisitFolder(fragment_.inputs, folder, [&](const auto& file) {
      if (!status.ok() || file.first.find('/', folder.size()) != std::string::npos) return;
      const auto bytes = host_.Blob(file.second);
      if (bytes.ok()) total += static_cast<int64_t>((*bytes)->size());
      if (!bytes.ok())
        status = bytes.status();
      else if (total > kFolderBytesMax)
        status = ResourceExhausted("the pictures of the input folder \"", folder, "\" take more than ",
                                   kFolderBytesMax >> 30, " GiB; take some out");
      else
        files.emplace_back(file.first, **bytes);
    });
    RETURN_IF_ERROR(status);
    if (files.empty()) return NotFound("of the input folder \"", folder, "\" nothing was sent with the task");
    return JoinFiles(files);
  }

  Status Blame(const Node& node, const Status& status) {
    executor_.failed_node_ = node.id;
    return Annotate(status, Cat("node \"", node.id, "\" (", node.type_name, ")"));
  }

  // Reads the declaration and the inputs of one node of the fragment.
  Status Load(const std::string& id, Node& node) {
    node.id = id;
    const auto entry = json_.find(id);
    if (entry == json_.end()) return InvalidArgument("node \"", id, "\" is not in the fragment");
    const Json* it = entry->second;
    const auto type = it->is_object() ? it->find("class_type") : it->end();
    if (!it->is_object() || type == it->end() || !type->is_string())
      return Blame(node, InvalidArgument("it has no class_type"));
    node.type_name = type->get<std::string>();
    node.type = Registry<NodeType>::Get().Find(node.type_name);
    if (node.type == nullptr) return Blame(node, FailedPrecondition("this worker does not have the node type"));
    static const Json kNoInputs = Json::object();
    const auto found = it->find("inputs");
    const Json& inputs = found != it->end() && found->is_object() ? *found : kNoInputs;
    for (const InputSpec& spec : node.type->spec().inputs) {
      Source source;
      source.input = &spec;
      const auto bound = bindings_.find({id, spec.name});
      const auto given = inputs.find(spec.name);
      if (bound != bindings_.end()) {
        source.binding = bound->second;
        const bool windows = source.binding->gather && TakesWindows(node.type->spec(), spec.name);
        if (!spec.gather && !windows && source.binding->blobs.size() != 1)
          return Blame(node, InvalidArgument("input \"", spec.name, "\" takes one value, ",
                                             source.binding->blobs.size(), " are bound"));
      } else if (given != inputs.end() && IsLink(*given)) {
        source.node = (*given)[0].get<std::string>();
        source.slot = (*given)[1].get<int64_t>();
      } else if (given != inputs.end() && !given->is_null()) {
        source.literal = &*given;
      } else if (!spec.default_value.is_null()) {
        source.literal = &spec.default_value;
      } else if (spec.required) {
        return Blame(node, InvalidArgument("input \"", spec.name, "\" of type ", spec.type, " is missing"));
      } else {
        continue;
      }
      node.sources.push_back(std::move(source));
    }
    return OkStatus();
  }

  // Depth first without recursion: nodes_ gets each ancestor of a root after its own ancestors.
  Status Order() {
    if (!fragment_.nodes.is_object()) return InvalidArgument("the fragment is no JSON object of nodes");
    for (const auto& item : fragment_.nodes.items()) json_[item.key()] = &item.value();
    for (const Fragment::Binding& binding : fragment_.bindings) bindings_[{binding.node, binding.input}] = &binding;
    std::vector<std::string> roots;
    for (const Fragment::Wanted& wanted : fragment_.wanted) roots.push_back(wanted.node);
    roots.insert(roots.end(), fragment_.output_nodes.begin(), fragment_.output_nodes.end());
    struct Frame {
      Node node;
      size_t next = 0;
    };
    std::set<std::string, std::less<>> open_nodes;
    for (const std::string& root : roots) {
      if (index_.count(root) != 0) continue;
      std::vector<Frame> stack(1);
      RETURN_IF_ERROR(Load(root, stack.back().node));
      open_nodes.insert(root);
      while (!stack.empty()) {
        Frame& top = stack.back();
        if (top.next == top.node.sources.size()) {
          open_nodes.erase(top.node.id);
          index_[top.node.id] = nodes_.size();
          nodes_.push_back(std::move(top.node));
          stack.pop_back();
          continue;
        }
        Source& source = top.node.sources[top.next];
        if (source.node.empty()) {
          ++top.next;
          continue;
        }
        if (const auto it = index_.find(source.node); it != index_.end()) {
          source.index = it->second;
          const Node& from = nodes_[it->second];
          const size_t outputs = from.type->spec().outputs.size();
          if (source.slot < 0 || source.slot >= static_cast<int64_t>(outputs))
            return Blame(top.node,
                         InvalidArgument("input \"", source.input->name, "\" is linked to output ", source.slot,
                                         " of node \"", from.id, "\" (", from.type_name, "), which has ", outputs));
          ++top.next;
          continue;
        }
        if (open_nodes.count(source.node) != 0)
          return Blame(top.node, InvalidArgument("input \"", source.input->name, "\" closes a cycle through node \"",
                                                 source.node, "\""));
        if (static_cast<int>(stack.size()) >= limits::kGraphDepthMax)
          return Blame(top.node, InvalidArgument("the chain of links is longer than ", limits::kGraphDepthMax));
        if (json_.count(source.node) == 0)
          return Blame(top.node, InvalidArgument("input \"", source.input->name, "\" is linked to node \"", source.node,
                                                 "\", which is not in the fragment"));
        Frame next;
        RETURN_IF_ERROR(Load(source.node, next.node));
        open_nodes.insert(source.node);
        stack.push_back(std::move(next));
      }
    }
    return OkStatus();
  }

  // Finds what runs once a window: a window node that was not told which, and all that is made of its frames up to
  // where windows are taken.
  void FindStreamed(Node& node) {
    const NodeSpec& spec = node.type->spec();
    const bool window = IsFrameWindow(spec);
    node.passing = window;
    bool open = window;
    for (const Source& source : node.sources) {
      if (window && source.input->name == "count") open = false;
      if (source.binding != nullptr) {
        open &= !(window && source.input->type == "IMAGE");
        node.passing |= source.binding->gather && TakesWindows(spec, source.input->name);
      } else if (source.literal == nullptr) {
        const Node& from = nodes_[source.index];
        node.passing |= from.passing;
        node.streamed |= from.streamed && !TakesWindows(spec, source.input->name);
      }
    }
    node.streamed |= open;
  }

  // Names each node's outputs by all that they are made of.
  void Sign() {
    for (Node& node : nodes_) {
      FindStreamed(node);
      Sha256 digest;
      const auto add = [&digest](std::string_view text) {
        digest.Update(Cat(text.size(), ":"));
        digest.Update(text);
      };
      add(node.type_name);
      for (const Source& source : node.sources) {
        add(source.input->name);
        if (source.binding != nullptr) {
          add(source.binding->gather ? "gather" : "blob");
          for (const std::string& hash : source.binding->blobs) add(hash);
        } else if (source.literal != nullptr) {
          add("literal");
          add(DumpJson(*source.literal));
          if (source.input->folder.empty() || !source.literal->is_string()) continue;
          const auto& name = source.literal->get_ref<const std::string&>();
          if (source.input->folder == kPictureFolders) {
            VisitFolder(fragment_.inputs, name + "/", [&](const auto& file) {
              add(file.first);
              add(file.second);
            });
          } else if (source.input->folder == "input") {
            const auto file = fragment_.inputs.find(name);
            add(file == fragment_.inputs.end() ? std::string() : file->second);
          } else {
            add(host_.ModelIdentity(source.input->folder, name));
          }
        } else {
          add("link");
          add(nodes_[source.index].signature);
          add(Cat(source.slot));
        }
      }
      node.signature = digest.HexDigest();
    }
  }

  void DropUnusedHandles() {
    std::set<std::string_view> present;
    for (const Node& node : nodes_) present.insert(node.signature);
    Cache& cache = *executor_.cache_;
    for (auto it = cache.entries.begin(); it != cache.entries.end();) {
      const auto entry = it++;
      if (entry->handle && present.count(entry->signature) == 0) cache.Erase(entry);
    }
  }

  // From the roots down; a node whose outputs are kept needs none of its ancestors.
  void MarkNeeded() {
    for (const Fragment::Wanted& wanted : fragment_.wanted) {
      Node& node = nodes_[index_.find(wanted.node)->second];
      node.needed = true;
      ++node.uses;
    }
    for (const std::string& id : fragment_.output_nodes) nodes_[index_.find(id)->second].needed = true;
    for (size_t i = nodes_.size(); i-- > 0;) {
      Node& node = nodes_[i];
      if (!node.needed) continue;
      if (!node.type->spec().output_node && !node.passing) node.cached = executor_.cache_->Find(node.signature);
      if (node.cached != nullptr) {
        node.values = node.cached->values;  // kept here even if the cache lets go of them during the run
        continue;
      }
      for (const Source& source : node.sources) {
        if (source.binding != nullptr || source.literal != nullptr) continue;
        nodes_[source.index].needed = true;
        ++nodes_[source.index].uses;
      }
    }
    for (const Node& node : nodes_)
      if (!node.needed || node.cached != nullptr) ++result_.nodes_cached;
  }

  StatusOr<InputValues> Inputs(const Node& node) {
    InputValues inputs;
    for (const Source& source : node.sources) {
      std::vector<Value>& values = inputs[source.input->name];
      if (source.binding != nullptr && source.binding->gather && TakesWindows(node.type->spec(), source.input->name)) {
        values.push_back(Value::Of<FrameWindows>(source.input->type, BoundWindows(*source.binding)));
      } else if (source.binding != nullptr) {
        for (const std::string& hash : source.binding->blobs) {
          ASSIGN_OR_RETURN(const auto bytes, host_.Blob(hash));
          StatusOr<Value> value = DecodeBlob(*bytes);
          if (!value.ok()) return Annotate(value.status(), Cat("input \"", source.input->name, "\""));
          values.push_back(std::move(value).value());
        }
      } else if (source.literal != nullptr) {
        values.push_back(Value::Literal(*source.literal));
      } else if (!node.streamed && nodes_[source.index].streamed) {
        values.push_back(Value::Of<FrameWindows>(source.input->type, StreamedWindows(source.index, source.slot)));
      } else {
        values.push_back(nodes_[source.index].values[static_cast<size_t>(source.slot)]);
      }
    }
    return inputs;
  }

  // Windows that are blobs.
  FrameWindows BoundWindows(const Fragment::Binding& binding) {
    FrameWindows windows;
    windows.count = static_cast<int64_t>(binding.blobs.size());
    windows.window = [this, &binding](int64_t index) -> StatusOr<Value> {
      if (index < 0 || index >= static_cast<int64_t>(binding.blobs.size())) return Value();
      if (host_.cancelled()) return Cancelled("the task was cancelled");
      ASSIGN_OR_RETURN(const auto bytes, host_.BlobOnce(binding.blobs[static_cast<size_t>(index)]));
      StatusOr<Value> value = DecodeBlob(*bytes);
      return value.ok() ? value : Annotate(value.status(), Cat("window ", index));
    };
    return windows;
  }

  // Windows that are made when they are asked for, so that whoever takes them slowly holds up whoever makes them.
  FrameWindows StreamedWindows(size_t last, int64_t slot) {
    std::vector<size_t> chain;  // the streamed ancestors of nodes_[last] and itself, in order
    std::set<size_t> wanted{last};
    for (size_t i = last + 1; i-- > 0;) {
      if (!wanted.contains(i)) continue;
      chain.insert(chain.begin(), i);
      for (const Source& source : nodes_[i].sources)
        if (source.binding == nullptr && source.literal == nullptr && nodes_[source.index].streamed)
          wanted.insert(source.index);
    }
    FrameWindows windows;
    windows.window = [this, chain, slot, starts = std::vector<int64_t>{0}](int64_t index) mutable -> StatusOr<Value> {
      if (index < 0 || index >= static_cast<int64_t>(starts.size()))
        return Internal("window ", index, " was asked for before the one ahead of it");
      const size_t taker = current_;
      window_start_ = starts[static_cast<size_t>(index)];
      const auto run = [&]() -> StatusOr<Value> {
        for (const size_t i : chain) {
          current_ = i;
          const Status done = Execute(nodes_[i]);
          if (!done.ok()) return Annotate(done, Cat("node \"", nodes_[i].id, "\" (", nodes_[i].type_name, ")"));
          if (!IsFrameWindow(nodes_[i].type->spec())) continue;
          if (!nodes_[i].values.at(1).is_literal())
            return InvalidArgument("a list of videos cannot be taken in windows; set scheduling.frames to whole");
          const int64_t count = nodes_[i].values.at(1).literal().get<int64_t>();
          if (count == 0) return Value();
          if (index + 1 == static_cast<int64_t>(starts.size())) starts.push_back(window_start_ + count);
        }
        return nodes_[chain.back()].values.at(static_cast<size_t>(slot));
      };
      StatusOr<Value> value = run();
      for (const size_t i : chain) nodes_[i].values.clear();
      current_ = taker;
      return value;
    };
    return windows;
  }

  // One run of a node on inputs without lists.
  StatusOr<std::vector<Value>> RunOnce(const Node& node, const InputValues& inputs) {
    const size_t outputs = node.type->spec().outputs.size();
    StatusOr<std::vector<Value>> values = Internal("the node did not run");
    // Libraries below nodes (libtorch) throw; here is where that ends.
    try {
      values = node.type->run(inputs, *this);
    } catch (const std::bad_alloc&) {
      return ResourceExhausted("out of memory");
    } catch (const std::exception& error) {
      const std::string text = error.what();
      const std::string first_line = text.substr(0, text.find('\n'));
      if (text.find("out of memory") != std::string::npos || text.find("can't allocate memory") != std::string::npos)
        return ResourceExhausted(first_line);
      return Internal(first_line);
    }
    if (values.ok() && values->size() != outputs)
      return Internal("it returned ", values->size(), " values, its declaration has ", outputs);
    return values;
  }

  // A node runs once for each element of the longest list among its inputs, shorter ones repeat their last; inputs that
  // take many values get whole lists. The outputs are lists then. Source: spec engine.md 2 "Lists".
  StatusOr<std::vector<Value>> RunLists(const Node& node, InputValues inputs) {
    size_t runs = 0;
    for (const Source& source : node.sources) {
      std::vector<Value>& values = inputs[source.input->name];
      if (source.input->gather) {
        std::vector<Value> flat;
        for (Value& value : values) {
          if (const List* list = value.Get<List>())
            flat.insert(flat.end(), list->begin(), list->end());
          else
            flat.push_back(std::move(value));
        }
        values = std::move(flat);
        continue;
      }
      const List* list = values.empty() ? nullptr : values[0].Get<List>();
      if (list == nullptr) continue;
      if (list->empty()) return InvalidArgument("input \"", source.input->name, "\" is an empty list");
      runs = std::max(runs, list->size());
    }
    if (runs == 0) return RunOnce(node, inputs);
    std::vector<List> collected(node.type->spec().outputs.size());
    for (size_t run = 0; run < runs; ++run) {
      if (host_.cancelled()) return Cancelled("the task was cancelled");
      InputValues one = inputs;
      for (auto& [name, values] : one) {
        if (values.size() != 1) continue;
        const List* list = values[0].Get<List>();
        if (list == nullptr) continue;
        const Value item = (*list)[std::min(run, list->size() - 1)];
        values[0] = item;
      }
      ASSIGN_OR_RETURN(std::vector<Value> results, RunOnce(node, one));
      for (size_t i = 0; i < results.size(); ++i) {
        if (const List* list = results[i].Get<List>())
          collected[i].insert(collected[i].end(), list->begin(), list->end());
        else
          collected[i].push_back(std::move(results[i]));
      }
    }
    std::vector<Value> values;
    for (size_t i = 0; i < collected.size(); ++i)
      values.push_back(Value::Of<List>(node.type->spec().outputs[i].type, std::move(collected[i])));
    return values;
  }

  Status Execute(Node& node) {
    if (host_.cancelled()) return Cancelled("the task was cancelled");
    if (node.cached != nullptr) return OkStatus();
    const NodeSpec& spec = node.type->spec();
    ASSIGN_OR_RETURN(InputValues inputs, Inputs(node));
    if (node.streamed && IsFrameWindow(spec)) inputs["start"] = {Value::Literal(Json(window_start_))};
    if (host_.cancelled()) return Cancelled("the task was cancelled");
    host_.Progress(node.id, 0, 0, nullptr);
    const double start = host_.Seconds();
    StatusOr<std::vector<Value>> values = RunLists(node, std::move(inputs));
    if (!values.ok()) return values.status();
    ++result_.nodes_run;
    const bool loads = std::any_of(spec.inputs.begin(), spec.inputs.end(), [](const InputSpec& input) {
      return !input.folder.empty() && input.folder != "input" && input.folder != kPictureFolders;
    });
    if (loads) result_.load_seconds += host_.Seconds() - start;
    node.values = std::move(values).value();
    if (!spec.output_node && !node.passing && !node.values.empty()) {
      Entry entry;
      entry.signature = node.signature;
      entry.values = node.values;
      for (const Value& value : node.values) entry.bytes += BytesOf(value);
      entry.handle = HasHandle(node.values);
      executor_.cache_->Add(std::move(entry), executor_.options_);
    }
    if (node.uses == 0 && !node.streamed) node.values.clear();
    return OkStatus();
  }

  void ReleaseSources(const Node& node) {
    if (node.cached != nullptr) return;
    for (const Source& source : node.sources) {
      if (source.binding != nullptr || source.literal != nullptr) continue;
      Node& from = nodes_[source.index];
      if (--from.uses == 0) from.values.clear();
    }
  }

  Executor& executor_;
  const Fragment& fragment_;
  ExecutorHost& host_;
  FragmentResult result_;
  std::map<std::pair<std::string, std::string>, const Fragment::Binding*> bindings_;
  std::map<std::string, const Json*, std::less<>> json_;  // looking up in an ordered object takes linear time
  std::map<std::string, size_t, std::less<>> index_;
  std::vector<Node> nodes_;
  size_t current_ = 0;
  int64_t window_start_ = 0;  // the first frame of the window that is being made
};

Executor::Executor(ExecutorOptions options) : options_(options), cache_(std::make_unique<Cache>()) {}
Executor::~Executor() = default;

StatusOr<FragmentResult> Executor::Run(const Fragment& fragment, ExecutorHost& host) {
  failed_node_.clear();
  if (static_cast<int64_t>(fragment.nodes.size()) > limits::kPromptNodesMax)
    return InvalidArgument("a fragment of ", fragment.nodes.size(), " nodes, at most ", limits::kPromptNodesMax,
                           " are allowed");
  RunState run(*this, fragment, host);
  return run.Run();
}

void Executor::ClearCache() { *cache_ = Cache(); }
int64_t Executor::cache_bytes() const { return cache_->bytes; }
int64_t Executor::cache_nodes() const { return static_cast<int64_t>(cache_->entries.size()); }

}  // namespace atelier
