#include "common/graph/validate.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "common/graph/file_sets.h"
#include "common/graph/input_folder.h"
#include "common/graph/python_value.h"

namespace atelier {
namespace {

constexpr size_t kShownChoices = 20;
constexpr size_t kShownText = 2000;  // of a value inside a message

// A link from a node's input to its source.
struct Edge {
  const InputSpec* input = nullptr;
  size_t source = 0;
  Json link;
};

struct Checked {
  const NodeSpec* spec = nullptr;
  std::vector<ValidationError> errors;
  std::vector<Edge> edges;
  std::string thrown, thrown_type;           // the reference raises here and looks no further at this node
  Json inputs;                               // converted
  std::map<std::string, std::string> bound;  // hidden inputs: the files of the sets that are chosen
  size_t caller = 0;                         // the first node that led here, and by which edge
  const Edge* through = nullptr;
  int depth = 0;
  bool valid = false;
};

// a < b by value. long double holds every 64-bit integer and every double exactly.
bool Less(const Json& a, const Json& b) {
  const auto number = [](const Json& j) -> long double {
    if (j.is_number_unsigned()) return static_cast<long double>(j.get<uint64_t>());
    if (j.is_number_integer()) return static_cast<long double>(j.get<int64_t>());
    return static_cast<long double>(j.get<double>());
  };
  return number(a) < number(b);
}

std::string Trimmed(std::string_view s) {
  while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
  while (!s.empty() && s.back() == ' ') s.remove_suffix(1);
  return std::string(s);
}

std::vector<std::string> Parts(std::string_view type) {
  std::vector<std::string> parts;
  while (true) {
    const size_t comma = type.find(',');
    parts.push_back(Trimmed(type.substr(0, comma)));
    if (comma == std::string_view::npos) return parts;
    type.remove_prefix(comma + 1);
  }
}

bool Accepts(const std::string& input, const std::string& received) {
  if (input == received || input == "*" || received == "*") return true;
  const std::vector<std::string> wanted = Parts(input), given = Parts(received);
  return std::any_of(given.begin(), given.end(), [&](const std::string& part) {
    return std::find(wanted.begin(), wanted.end(), part) != wanted.end();
  });
}

std::string Short(std::string text) {
  if (text.size() <= kShownText) return text;
  size_t end = kShownText;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end) + "...";
}

std::string_view PythonType(const Json& value) {
  if (value.is_null()) return "NoneType";
  if (value.is_boolean()) return "bool";
  if (value.is_string()) return "str";
  if (value.is_array()) return "list";
  if (value.is_object()) return "dict";
  return value.is_number_float() ? "float" : "int";
}

// "name [output]" names a file of another folder than input.
std::pair<std::string, std::string> Annotated(const std::string& name) {
  for (const char* folder : {"input", "output", "temp"}) {
    const std::string suffix = Cat("[", folder, "]");
    if (name.size() >= suffix.size() && name.compare(name.size() - suffix.size(), suffix.size(), suffix) == 0) {
      std::string bare = name.substr(0, name.size() - suffix.size());
      if (!bare.empty() && bare.back() == ' ') bare.pop_back();
      return {bare, folder};
    }
  }
  return {name, "input"};
}

bool Holds(const Inventory& inventory, const std::string& folder, const std::string& name) {
  auto it = inventory.files.find(folder);
  return it != inventory.files.end() && std::find(it->second.begin(), it->second.end(), name) != it->second.end();
}

// Whether a file-name prefix, with its ".." resolved, stays inside the output folder.
bool PrefixStaysInside(std::string_view prefix) {
  if (!prefix.empty() && prefix.front() == '/') return false;
  if (prefix.find('\0') != std::string_view::npos) return false;
  int depth = 0;
  while (true) {
    const size_t slash = prefix.find('/');
    if (slash == std::string_view::npos) return true;  // the last part becomes a name with a counter behind it
    const std::string_view part = prefix.substr(0, slash);
    if (part == "..") {
      if (--depth < 0) return false;
    } else if (!part.empty() && part != ".") {
      ++depth;
    }
    prefix.remove_prefix(slash + 1);
  }
}

std::string CycleSentence(const std::vector<std::string>& cycle) {
  std::string names;
  for (size_t k = 0; k < cycle.size() && k < 10; ++k) names += Cat(k > 0 ? ", " : "", cycle[k]);
  return Cat("the links of nodes ", Short(names), cycle.size() > 10 ? Cat(" ... (", cycle.size(), " nodes)") : "",
             " form a cycle");
}

class Validator {
 public:
  Validator(const Json& prompt, const Catalog& catalog, const Inventory& inventory, const ValidateOptions& options)
      : prompt_(prompt), catalog_(catalog), inventory_(inventory), options_(options) {}

  ValidationReport Run() {
    if (!CheckForm()) return std::move(report_);
    for (size_t i = 0; i < ids_.size(); ++i) {
      if (!nodes_[i].spec->output_node) continue;
      const auto& targets = options_.targets;
      if (targets && std::find(targets->begin(), targets->end(), ids_[i]) == targets->end()) continue;
      outputs_.push_back(i);
    }
    if (outputs_.empty()) {
      Fail("prompt_no_outputs", "Prompt has no outputs", "");
      return std::move(report_);
    }
    Walk();
    Collect();
    return std::move(report_);
  }

 private:
  void Fail(std::string type, std::string message, std::string details) {
    report_.error = ValidationError{std::move(type), std::move(message), std::move(details), Json::object()};
  }

  bool CheckForm() {
    if (prompt_.is_array() && prompt_.empty()) {
      Fail("prompt_no_outputs", "Prompt has no outputs", "");
      return false;
    }
    if (!prompt_.is_object()) {
      Fail("invalid_prompt", "The prompt is no JSON object of nodes.", Cat("got ", PythonType(prompt_)));
      return false;
    }
    if (static_cast<int64_t>(prompt_.size()) > limits::kPromptNodesMax) {
      Fail("invalid_prompt",
           Cat("The prompt has ", prompt_.size(), " nodes; at most ", limits::kPromptNodesMax, " are accepted."), "");
      return false;
    }
    for (const auto& [id, node] : prompt_.get_ref<const Json::object_t&>()) {
      const std::string where = Short(Cat("Node ID '#", id, "'"));
      auto type = node.is_object() ? node.find("class_type") : node.end();
      if (!node.is_object() || type == node.end()) {
        Fail("invalid_prompt", "Cannot execute because a node is missing the class_type property.", where);
        return false;
      }
      const NodeSpec* spec = type->is_string() ? catalog_.Find(type->get_ref<const std::string&>()) : nullptr;
      if (spec == nullptr || spec->internal) {
        Fail("invalid_prompt", Short(Cat("Cannot execute because node ", PythonStr(*type), " does not exist.")), where);
        return false;
      }
      index_.emplace(id, ids_.size());
      ids_.push_back(id);
      raw_.push_back(&node);
      nodes_.emplace_back();
      nodes_.back().spec = spec;
    }
    return true;
  }

  ValidationError MakeError(const InputSpec& input, std::string type, std::string message, std::string details) {
    ValidationError error{std::move(type), Short(std::move(message)), Short(std::move(details)), Json::object()};
    error.extra_info["input_name"] = input.name;
    error.extra_info["input_config"] = InputConfig(input, inventory_);
    return error;
  }

  void CheckNode(size_t i) {
    Checked& node = nodes_[i];
    auto inputs = raw_[i]->find("inputs");
    if (inputs == raw_[i]->end()) return Throw(node, "KeyError", "'inputs'");
    if (!inputs->is_object()) {
      node.inputs = Json::object();
      if (!inputs->is_array() && !inputs->is_string() && !node.spec->inputs.empty())
        return Throw(node, "TypeError", Cat("argument of type '", PythonType(*inputs), "' is not iterable"));
    } else {
      node.inputs = *inputs;
    }
    // Positions first: finding a name in a large object is a walk along it.
    std::unordered_map<std::string_view, Json*> members;
    for (auto& [name, value] : node.inputs.get_ref<Json::object_t&>()) members.emplace(name, &value);
    for (const InputSpec& input : node.spec->inputs) {
      if (input.hidden) continue;
      auto it = members.find(input.name);
      if (it == members.end()) {
        if (!input.required) continue;
        ValidationError error{"required_input_missing", "Required input is missing", input.name, Json::object()};
        error.extra_info["input_name"] = input.name;
        node.errors.push_back(std::move(error));
      } else if (it->second->is_array()) {
        CheckLink(node, input, *it->second);
      } else {
        CheckConstant(node, input, *it->second);
      }
      if (!node.thrown_type.empty()) return;
    }
    if (node.errors.empty()) CheckSize(node, members);
  }

  static void Throw(Checked& node, std::string type, std::string text) {
    node.thrown_type = std::move(type);
    node.thrown = Short(std::move(text));
    node.edges.clear();
  }

  void CheckLink(Checked& node, const InputSpec& input, Json& link) {
    if (link.size() != 2) {
      ValidationError error = MakeError(
          input, "bad_linked_input", "Bad linked input, must be a length-2 list of [node_id, slot_index]", input.name);
      error.extra_info["received_value"] = link;
      node.errors.push_back(std::move(error));
      return;
    }
    const Json& id = link[0];
    if (id.is_array() || id.is_object())
      return Throw(node, "TypeError", Cat("unhashable type: '", PythonType(id), "'"));
    auto found = id.is_string() ? index_.find(id.get_ref<const std::string&>()) : index_.end();
    if (found == index_.end()) return Throw(node, "KeyError", PythonRepr(id));
    const std::vector<OutputSpec>& outputs = nodes_[found->second].spec->outputs;
    const Json& slot = link[1];
    if (!slot.is_number_integer() && !slot.is_boolean())
      return Throw(node, "TypeError", Cat("tuple indices must be integers or slices, not ", PythonType(slot)));
    if (slot.is_number_unsigned() && slot.get<uint64_t>() > INT64_MAX)
      return Throw(node, "IndexError", "cannot fit 'int' into an index-sized integer");
    const auto count = static_cast<int64_t>(outputs.size());
    int64_t k = slot.is_boolean() ? (slot.get<bool>() ? 1 : 0) : slot.get<int64_t>();
    if (k < 0) k += count;
    if (k < 0 || k >= count) return Throw(node, "IndexError", "tuple index out of range");
    const std::string& received = outputs[static_cast<size_t>(k)].type;
    if (!Accepts(input.type, received)) {
      const Json config = InputConfig(input, inventory_);
      ValidationError error =
          MakeError(input, "return_type_mismatch", "Return type mismatch between linked nodes",
                    Cat(input.name, ", received_type(", received, ") mismatch input_type(", PythonStr(config[0]), ")"));
      error.extra_info["received_type"] = received;
      error.extra_info["linked_node"] = link;
      node.errors.push_back(std::move(error));
      return;
    }
    link[1] = k;
    node.edges.push_back({&input, found->second, link});
  }

  void CheckConstant(Checked& node, const InputSpec& input, Json& value) {
    const Json received = UnwrapConstant(value);
    Json converted = received;
    Status problem;
    if (input.type == "INT") {
      StatusOr<Json> number = PythonInt(received);
      problem = number.status();
      if (number.ok()) converted = *std::move(number);
    } else if (input.type == "FLOAT") {
      StatusOr<double> number = PythonFloat(received);
      problem = number.status();
      if (number.ok()) converted = *number;
    } else if (input.type == "STRING") {
      converted = PythonStr(received);
    } else if (input.type == "BOOLEAN") {
      converted = PythonBool(received);
    }
    if (!problem.ok()) {
      ValidationError error =
          MakeError(input, "invalid_input_type", Cat("Failed to convert an input value to a ", input.type, " value"),
                    Cat(input.name, ", ", PythonStr(received), ", ", Message(problem)));
      error.extra_info["received_value"] = received;
      error.extra_info["exception_message"] = Message(problem);
      node.errors.push_back(std::move(error));
      return;
    }
    if (!converted.is_array()) value = converted;  // lists keep their wrapper, or they would read as links
    if (converted.is_number()) {
      if (input.min.is_number() && Less(converted, input.min)) {
        return AddValueError(node, input, "value_smaller_than_min",
                             Cat("Value ", PythonStr(converted), " smaller than min of ", PythonStr(input.min)),
                             input.name, converted);
      }
      if (input.max.is_number() && Less(input.max, converted)) {
        return AddValueError(node, input, "value_bigger_than_max",
                             Cat("Value ", PythonStr(converted), " bigger than max of ", PythonStr(input.max)),
                             input.name, converted);
      }
    }
    if (input.folder == "input") {
      CheckInputFile(node, input, converted);
    } else if (input.type == "COMBO" || input.folder == kPictureFolders) {
      CheckChoice(node, input, converted, value);
    } else if (node.spec->output_node && input.name == "filename_prefix" &&
               !PrefixStaysInside(converted.get<std::string>())) {
      AddCustomError(node, input, Cat("the file name leads outside the output folder: ", converted.get<std::string>()));
    }
  }

  void AddValueError(Checked& node, const InputSpec& input, std::string type, std::string message, std::string details,
                     const Json& received) {
    ValidationError error = MakeError(input, std::move(type), std::move(message), std::move(details));
    error.extra_info["received_value"] = received;
    node.errors.push_back(std::move(error));
  }

  void AddCustomError(Checked& node, const InputSpec& input, const std::string& text) {
    ValidationError error{"custom_validation_failed", "Custom validation failed for node",
                          Short(Cat(input.name, " - ", text)), Json::object()};
    error.extra_info["input_name"] = input.name;
    node.errors.push_back(std::move(error));
  }

  // A file of the input folder. The form of the name is judged before anything is looked up: no answer tells what
  // exists outside.
  void CheckInputFile(Checked& node, const InputSpec& input, const Json& value) {
    const std::string kind = input.name == "file" ? "video" : input.name;
    if (value.is_string()) {
      const auto [name, folder] = Annotated(value.get<std::string>());
      if (IsSafeRelativeName(name) && Holds(inventory_, folder, name)) return;
    }
    AddCustomError(node, input, Cat("Invalid ", kind, " file: ", PythonStr(value)));
  }

  void CheckChoice(Checked& node, const InputSpec& input, const Json& value, Json& stored) {
    const std::vector<std::string>* choices = &input.choices;
    static const std::vector<std::string> kNone;
    std::vector<std::string> with_sets;
    if (!input.sets.empty()) {
      with_sets = ChoicesOf(input, inventory_);
      choices = &with_sets;
    } else if (!input.folder.empty()) {
      auto it = inventory_.files.find(input.folder);
      choices = it == inventory_.files.end() ? &kNone : &it->second;
    } else if (choices->empty()) {
      return;  // any value, as the reference has it for combos of the newer form
    }
    const std::string text = PythonStr(value);
    if (std::find(choices->begin(), choices->end(), text) != choices->end()) {
      const FileSet* set = input.FindSet(text);
      if (auto files = set != nullptr ? FilesOf(*set, inventory_) : std::nullopt) node.bound.merge(*files);
      return;
    }
    if (!input.folder.empty() && text.find('\\') != std::string::npos) {  // saved on Windows
      std::string slashed = text;
      std::replace(slashed.begin(), slashed.end(), '\\', '/');
      if (std::find(choices->begin(), choices->end(), slashed) != choices->end()) {
        stored = slashed;
        return;
      }
    }
    std::string list = Cat("(list of length ", choices->size(), ")");
    if (choices->size() <= kShownChoices) list = PythonRepr(Json(*choices));
    ValidationError error = MakeError(input, "value_not_in_list", "Value not in list",
                                      Cat(input.name, ": '", Short(text), "' not in ", list));
    if (choices->size() > kShownChoices) error.extra_info["input_config"] = nullptr;
    error.extra_info["received_value"] = value;
    node.errors.push_back(std::move(error));
  }

  // Declared sizes whose tensor alone is beyond the limit; what only shows while running is the engine's to refuse.
  void CheckSize(Checked& node, const std::unordered_map<std::string_view, Json*>& members) {
    double bytes_each = 0;
    for (const OutputSpec& output : node.spec->outputs) {
      if (output.type == "IMAGE") bytes_each = std::max(bytes_each, 3 * 4.0);
      if (output.type == "MASK") bytes_each = std::max(bytes_each, 4.0);
      if (output.type == "LATENT") bytes_each = std::max(bytes_each, 4 * 4.0 / 64);
    }
    if (bytes_each == 0) return;
    double bytes = bytes_each;
    bool sized = false;
    for (const char* name : {"width", "height", "batch_size", "length"}) {
      auto it = members.find(name);
      if (it == members.end() || !it->second->is_number()) continue;
      bytes *= std::max(1.0, it->second->get<double>());
      sized = sized || std::string_view(name) == "width";
    }
    if (!sized || bytes <= static_cast<double>(options_.tensor_bytes_max)) return;
    const InputSpec* batch = node.spec->FindInput("batch_size");
    if (batch == nullptr) batch = node.spec->FindInput("width");
    if (batch == nullptr) return;
    AddCustomError(node, *batch,
                   Cat("width, height and batch ask for ", static_cast<int64_t>(bytes / (1 << 20)),
                       " MiB in one tensor; at most ", options_.tensor_bytes_max >> 20, " MiB are accepted"));
  }

  // Depth first along the links of all outputs; each node is checked once, after its sources it is judged.
  void Walk() {
    enum class Mark : char { kNew, kOpen, kDone };
    std::vector<Mark> marks(nodes_.size(), Mark::kNew);
    std::vector<std::pair<size_t, size_t>> path;
    for (size_t output : outputs_) {
      if (marks[output] != Mark::kNew) continue;
      const auto enter = [&](size_t i) {
        marks[i] = Mark::kOpen;
        CheckNode(i);
        reached_.push_back(i);
        nodes_[i].valid = nodes_[i].errors.empty() && nodes_[i].thrown_type.empty();
        nodes_[i].depth = 1;
        path.emplace_back(i, 0);
      };
      enter(output);
      while (!path.empty()) {
        const size_t i = path.back().first;
        Checked& node = nodes_[i];
        if (path.back().second == node.edges.size()) {
          if (node.depth > limits::kGraphDepthMax && node.thrown_type.empty() && cycle_.empty()) {
            // Only the first node over the limit is named; those behind it are invalid with it.
            const bool first = std::none_of(node.edges.begin(), node.edges.end(), [&](const Edge& e) {
              return nodes_[e.source].depth > limits::kGraphDepthMax;
            });
            if (first) {
              node.thrown_type = "RecursionError";
              node.thrown = Cat("the node ends a chain of more than ", limits::kGraphDepthMax, " links");
            }
            node.valid = false;
          }
          marks[i] = Mark::kDone;
          path.pop_back();
          continue;
        }
        const Edge& edge = node.edges[path.back().second];
        Checked& source = nodes_[edge.source];
        if (marks[edge.source] == Mark::kNew) {
          source.caller = i;
          source.through = &edge;
          enter(edge.source);
          continue;
        }
        ++path.back().second;
        if (marks[edge.source] == Mark::kOpen) {
          if (cycle_.empty()) {
            auto it =
                std::find_if(path.begin(), path.end(), [&](const auto& step) { return step.first == edge.source; });
            for (; it != path.end(); ++it) cycle_.push_back(it->first);
          }
          node.valid = false;
          continue;
        }
        node.valid = node.valid && source.valid;
        node.depth = std::max(node.depth, source.depth + 1);
      }
    }
  }

  // What the reference reports for an exception at `i`: at the output itself, or at the input that led to the node.
  ValidationError Thrown(size_t i) {
    const Checked& node = nodes_[i];
    if (node.through == nullptr) {
      ValidationError error{"exception_during_validation", "Exception when validating node", node.thrown,
                            Json::object()};
      error.extra_info["exception_type"] = node.thrown_type;
      error.extra_info["traceback"] = Json::array();
      return error;
    }
    ValidationError error = MakeError(*node.through->input, "exception_during_inner_validation",
                                      "Exception when validating inner node", node.thrown);
    error.extra_info["exception_message"] = node.thrown;
    error.extra_info["exception_type"] = node.thrown_type;
    error.extra_info["traceback"] = Json::array();
    error.extra_info["linked_node"] = node.through->link;
    return error;
  }

  void Collect() {
    std::string details;
    for (size_t i : cycle_) report_.cycle.push_back(ids_[i]);
    std::unordered_map<size_t, size_t> entry_of;
    for (size_t output : outputs_) {
      if (nodes_[output].valid) {
        report_.valid_outputs.push_back(ids_[output]);
        continue;
      }
      std::vector<bool> seen(nodes_.size(), false);
      std::vector<size_t> open = {output};
      seen[output] = true;
      while (!open.empty()) {
        const size_t i = open.back();
        open.pop_back();
        Checked& node = nodes_[i];
        if (!node.errors.empty() || !node.thrown_type.empty()) {
          auto [it, fresh] = entry_of.emplace(i, report_.node_errors.size());
          if (fresh) {
            NodeErrors errors;
            errors.class_type = node.spec->type;
            if (node.thrown_type.empty()) {
              errors.errors = node.errors;
            } else {
              errors.errors.push_back(Thrown(i));
            }
            report_.node_errors.emplace_back(ids_[i], std::move(errors));
          }
          report_.node_errors[it->second].second.dependent_outputs.push_back(ids_[output]);
          if (i == output)
            for (const ValidationError& error : report_.node_errors[it->second].second.errors)
              details += Cat(details.empty() ? "" : "\n", error.message, ": ", error.details);
        }
        for (const Edge& edge : node.edges) {
          if (seen[edge.source] || nodes_[edge.source].valid) continue;
          seen[edge.source] = true;
          open.push_back(edge.source);
        }
      }
    }
    Json::object_t converted;
    for (size_t i = 0; i < ids_.size(); ++i) {
      Json entry = *raw_[i];
      if (nodes_[i].valid) entry["inputs"] = nodes_[i].inputs;
      static_cast<Json::object_t::Container&>(converted).emplace_back(ids_[i], std::move(entry));
    }
    report_.prompt = Json(std::move(converted));
    if (report_.valid_outputs.empty()) {
      if (!cycle_.empty()) details += Cat(details.empty() ? "" : "\n", CycleSentence(report_.cycle));
      Fail("prompt_outputs_failed_validation", "Prompt outputs failed validation", Short(details));
      return;
    }
    std::vector<bool> needed(nodes_.size(), false);
    std::vector<size_t> open;
    const auto need = [&](size_t i) {
      if (needed[i]) return;
      needed[i] = true;
      open.push_back(i);
    };
    for (const std::string& id : report_.valid_outputs) need(index_.at(id));
    while (!open.empty()) {
      const size_t i = open.back();
      open.pop_back();
      for (const Edge& edge : nodes_[i].edges) need(edge.source);
    }
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (!needed[i]) continue;
      PromptNode node;
      node.id = ids_[i];
      node.class_type = nodes_[i].spec->type;
      node.inputs = std::move(nodes_[i].inputs);
      for (const InputSpec& input : nodes_[i].spec->inputs)
        if (input.hidden && !input.folder.empty()) node.inputs.erase(input.name);
      for (const auto& [input, file] : nodes_[i].bound) node.inputs[input] = file;
      if (auto meta = raw_[i]->find("_meta"); meta != raw_[i]->end() && meta->is_object())
        if (auto title = meta->find("title"); title != meta->end() && title->is_string())
          node.title = title->get<std::string>();
      const Status added = report_.graph.Add(std::move(node));
      if (!added.ok()) return Fail("invalid_prompt", Message(added), "");
    }
  }

  const Json& prompt_;
  const Catalog& catalog_;
  const Inventory& inventory_;
  const ValidateOptions& options_;
  ValidationReport report_;
  std::vector<std::string> ids_;
  std::vector<const Json*> raw_;
  std::vector<Checked> nodes_;
  std::unordered_map<std::string, size_t> index_;
  std::vector<size_t> outputs_, reached_, cycle_;
};

Json ErrorJson(const ValidationError& error) {
  Json j = Json::object();
  j["type"] = error.type;
  j["message"] = error.message;
  j["details"] = error.details;
  j["extra_info"] = error.extra_info;
  return j;
}

}  // namespace

Json ValidationReport::ToJson() const {
  Json j = Json::object();
  if (error) j["error"] = ErrorJson(*error);
  Json::object_t nodes;
  for (const auto& [id, entry] : node_errors) {
    Json node = Json::object();
    node["errors"] = Json::array();
    for (const ValidationError& one : entry.errors) node["errors"].push_back(ErrorJson(one));
    node["dependent_outputs"] = entry.dependent_outputs;
    node["class_type"] = entry.class_type;
    static_cast<Json::object_t::Container&>(nodes).emplace_back(id, std::move(node));
  }
  j["node_errors"] = Json(std::move(nodes));
  return j;
}

std::vector<std::string> ValidationReport::Sentences() const {
  std::vector<std::string> lines;
  if (!cycle.empty()) lines.push_back(CycleSentence(cycle));
  if (error && node_errors.empty() && cycle.empty())
    lines.push_back(error->details.empty() ? error->message : Cat(error->message, " ", error->details));
  for (const auto& [id, entry] : node_errors) {
    for (const ValidationError& one : entry.errors) {
      auto input = one.extra_info.find("input_name");
      const std::string where = input != one.extra_info.end() && input->is_string()
                                    ? Cat(", input \"", input->get<std::string>(), "\"")
                                    : std::string();
      const bool bare = input != one.extra_info.end() && *input == one.details;
      lines.push_back(
          Cat("node ", id, " (", entry.class_type, ")", where, ": ", one.message, bare ? "" : Cat(": ", one.details)));
    }
  }
  return lines;
}

ValidationReport Validate(const Json& prompt, const Catalog& catalog, const Inventory& inventory,
                          const ValidateOptions& options) {
  return Validator(prompt, catalog, inventory, options).Run();
}

ValidationReport ValidateRequest(const Json& body, const Catalog& catalog, const Inventory& inventory,
                                 ValidateOptions options) {
  auto prompt = body.is_object() ? body.find("prompt") : body.end();
  if (!body.is_object() || prompt == body.end()) {
    ValidationReport report;
    report.error = ValidationError{"no_prompt", "No prompt provided", "No prompt provided", Json::object()};
    return report;
  }
  if (auto targets = body.find("partial_execution_targets"); targets != body.end() && !targets->is_null()) {
    options.targets.emplace();
    if (targets->is_string()) options.targets->push_back(targets->get<std::string>());
    if (targets->is_array())
      for (const Json& target : *targets)
        if (target.is_string()) options.targets->push_back(target.get<std::string>());
  }
  return Validate(*prompt, catalog, inventory, options);
}

}  // namespace atelier
