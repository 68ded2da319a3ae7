#include "common/graph/schema.h"

#include <array>
#include <fstream>
#include <sstream>
#include <utility>

#include "common/base/hash.h"

namespace atelier {
namespace {

Json InputToJson(const InputSpec& input) {
  Json j = Json::object();
  j["name"] = input.name;
  j["type"] = input.type;
  if (!input.required) j["required"] = false;
  if (input.hidden) j["hidden"] = true;
  if (!input.default_value.is_null()) j["default"] = input.default_value;
  if (!input.min.is_null()) j["min"] = input.min;
  if (!input.max.is_null()) j["max"] = input.max;
  if (!input.step.is_null()) j["step"] = input.step;
  if (!input.choices.empty()) j["choices"] = input.choices;
  if (!input.folder.empty()) j["folder"] = input.folder;
  for (const FileSet& set : input.sets)
    j["sets"].push_back({{"name", set.name}, {"folder", set.folder}, {"parts", set.parts}});
  if (input.multiline) j["multiline"] = true;
  if (input.dynamic_prompts) j["dynamic_prompts"] = true;
  if (input.force_input) j["force_input"] = true;
  if (input.control_after_generate) j["control_after_generate"] = true;
  if (input.image_upload) j["image_upload"] = true;
  if (input.gather) j["gather"] = true;
  if (!input.tooltip.empty()) j["tooltip"] = input.tooltip;
  return j;
}

// Reads the members of one JSON object; the first misfit is kept and named.
class Reader {
 public:
  Reader(const Json& json, std::string where) : json_(json), where_(std::move(where)) {
    if (!json.is_object()) Fail("expected an object");
  }
  void Read(const char* key, std::string& out) {
    if (const Json* value = Find(key)) {
      if (!value->is_string()) return Fail(key, "text");
      out = value->get<std::string>();
    }
  }
  void Read(const char* key, bool& out) {
    if (const Json* value = Find(key)) {
      if (!value->is_boolean()) return Fail(key, "true or false");
      out = value->get<bool>();
    }
  }
  void Read(const char* key, Json& out) {
    if (const Json* value = Find(key)) out = *value;
  }
  void ReadNumber(const char* key, Json& out) {
    if (const Json* value = Find(key)) {
      if (!value->is_number() && !value->is_null()) return Fail(key, "a number");
      out = *value;
    }
  }
  void Read(const char* key, int64_t& out) {
    const Json* value = Find(key);
    if (value == nullptr) return;
    if (!value->is_number_integer()) return Fail(key, "a whole number");
    out = value->get<int64_t>();
  }
  void Read(const char* key, std::vector<std::string>& out) {
    const Json* value = Find(key);
    if (value == nullptr) return;
    if (!value->is_array()) return Fail(key, "a list of texts");
    for (const Json& item : *value) {
      if (!item.is_string()) return Fail(key, "a list of texts");
      out.push_back(item.get<std::string>());
    }
  }
  void Read(const char* key, std::map<std::string, std::string>& out) {
    const Json* value = Find(key);
    if (value == nullptr) return;
    if (!value->is_object()) return Fail(key, "an object of texts");
    for (const auto& [name, text] : value->items()) {
      if (!text.is_string()) return Fail(key, "an object of texts");
      out[name] = text.get<std::string>();
    }
  }
  const Json* List(const char* key) {
    const Json* value = Find(key);
    if (value != nullptr && !value->is_array()) {
      Fail(key, "a list");
      return nullptr;
    }
    return value;
  }
  const Json* Find(const char* key) {
    if (!status_.ok() || !json_.is_object()) return nullptr;
    auto it = json_.find(key);
    return it == json_.end() ? nullptr : &*it;
  }
  void Fail(std::string_view key, std::string_view expected) { Fail(Cat("field \"", key, "\": expected ", expected)); }
  void Fail(const std::string& what) {
    if (status_.ok()) status_ = InvalidArgument(where_, ": ", what);
  }
  const Status& status() const { return status_; }

 private:
  const Json& json_;
  std::string where_;
  Status status_;
};

StatusOr<InputSpec> InputFromJson(const Json& json, const std::string& where) {
  InputSpec input;
  Reader r(json, where);
  r.Read("name", input.name);
  r.Read("type", input.type);
  r.Read("required", input.required);
  r.Read("hidden", input.hidden);
  r.Read("default", input.default_value);
  r.ReadNumber("min", input.min);
  r.ReadNumber("max", input.max);
  r.ReadNumber("step", input.step);
  r.Read("choices", input.choices);
  r.Read("folder", input.folder);
  r.Read("multiline", input.multiline);
  r.Read("dynamic_prompts", input.dynamic_prompts);
  r.Read("force_input", input.force_input);
  r.Read("control_after_generate", input.control_after_generate);
  r.Read("image_upload", input.image_upload);
  r.Read("gather", input.gather);
  r.Read("tooltip", input.tooltip);
  if (const Json* sets = r.List("sets")) {
    for (const Json& one : *sets) {
      FileSet set;
      Reader part(one, Cat(where, ": sets"));
      part.Read("name", set.name);
      part.Read("folder", set.folder);
      part.Read("parts", set.parts);
      if (set.name.empty()) part.Fail("name", "the choice");
      if (set.folder.empty()) part.Fail("folder", "a models folder");
      RETURN_IF_ERROR(part.status());
      input.sets.push_back(std::move(set));
    }
  }
  if (input.name.empty()) r.Fail("name", "the input's name");
  if (input.type.empty()) r.Fail("type", "the input's wire type");
  RETURN_IF_ERROR(r.status());
  return input;
}

}  // namespace

Json ToJson(const NodeSpec& spec) {
  Json j = Json::object();
  j["type"] = spec.type;
  j["display_name"] = spec.display_name;
  j["category"] = spec.category;
  if (!spec.description.empty()) j["description"] = spec.description;
  j["inputs"] = Json::array();
  for (const InputSpec& input : spec.inputs) j["inputs"].push_back(InputToJson(input));
  j["outputs"] = Json::array();
  for (const OutputSpec& output : spec.outputs) j["outputs"].push_back({{"name", output.name}, {"type", output.type}});
  if (spec.output_node) j["output_node"] = true;
  if (spec.internal) j["internal"] = true;
  if (spec.cheap) j["cheap"] = true;
  if (spec.keeps_handles) j["keeps_handles"] = true;
  if (spec.cut_for_tiles) j["cut_for_tiles"] = true;
  if (spec.per_replica) j["per_replica"] = true;
  if (spec.gathers) j["gathers"] = true;
  if (!spec.single_replica_if.empty()) j["single_replica_if"] = spec.single_replica_if;
  if (spec.tiles)
    j["tiles"] = {{"tile_node", spec.tiles->tile_node},
                  {"image_input", spec.tiles->image_input},
                  {"padding_input", spec.tiles->padding_input},
                  {"canvas_multiple", spec.tiles->canvas_multiple}};
  return j;
}

StatusOr<NodeSpec> NodeSpecFromJson(const Json& json) {
  NodeSpec spec;
  Reader type_reader(json, "node type");
  type_reader.Read("type", spec.type);
  if (spec.type.empty()) type_reader.Fail("type", "the node type's name");
  RETURN_IF_ERROR(type_reader.status());
  Reader r(json, Cat("node type \"", spec.type, "\""));
  spec.display_name = spec.type;
  r.Read("display_name", spec.display_name);
  r.Read("category", spec.category);
  r.Read("description", spec.description);
  r.Read("output_node", spec.output_node);
  r.Read("internal", spec.internal);
  r.Read("cheap", spec.cheap);
  r.Read("keeps_handles", spec.keeps_handles);
  r.Read("cut_for_tiles", spec.cut_for_tiles);
  r.Read("per_replica", spec.per_replica);
  r.Read("gathers", spec.gathers);
  r.Read("single_replica_if", spec.single_replica_if);
  if (const Json* inputs = r.List("inputs")) {
    for (size_t i = 0; i < inputs->size(); ++i) {
      ASSIGN_OR_RETURN(InputSpec input, InputFromJson((*inputs)[i], Cat("node type \"", spec.type, "\": input ", i)));
      spec.inputs.push_back(std::move(input));
    }
  }
  if (const Json* outputs = r.List("outputs")) {
    for (size_t i = 0; i < outputs->size(); ++i) {
      OutputSpec output;
      Reader out(outputs->at(i), Cat("node type \"", spec.type, "\": output ", i));
      out.Read("name", output.name);
      out.Read("type", output.type);
      if (output.type.empty()) out.Fail("type", "the output's wire type");
      RETURN_IF_ERROR(out.status());
      spec.outputs.push_back(std::move(output));
    }
  }
  if (const Json* tiles = r.Find("tiles")) {
    TileSplit split;
    Reader t(*tiles, Cat("node type \"", spec.type, "\": tiles"));
    t.Read("tile_node", split.tile_node);
    t.Read("image_input", split.image_input);
    t.Read("padding_input", split.padding_input);
    t.Read("canvas_multiple", split.canvas_multiple);
    if (split.tile_node.empty()) t.Fail("tile_node", "a node type");
    if (spec.FindInput(split.image_input) == nullptr) t.Fail("image_input", "the name of one of its inputs");
    RETURN_IF_ERROR(t.status());
    spec.tiles = std::move(split);
  }
  RETURN_IF_ERROR(r.status());
  return spec;
}

bool IsDataType(std::string_view type) {
  static constexpr std::array<std::string_view, 15> kData = {
      "IMAGE", "MASK",  "LATENT", "CONDITIONING", "AUDIO", "VIDEO", "VHS_VIDEOINFO", "SIGMAS", "NOISE",
      "INT",   "FLOAT", "STRING", "BOOLEAN",      "COMBO", "*"};
  while (true) {
    const size_t comma = type.find(',');
    std::string_view part = type.substr(0, comma);
    while (!part.empty() && part.front() == ' ') part.remove_prefix(1);
    while (!part.empty() && part.back() == ' ') part.remove_suffix(1);
    if (std::find(kData.begin(), kData.end(), part) == kData.end()) return false;
    if (comma == std::string_view::npos) return true;
    type.remove_prefix(comma + 1);
  }
}

void Catalog::Add(NodeSpec spec) {
  std::string type = spec.type;
  specs_.insert_or_assign(std::move(type), std::move(spec));
}

const NodeSpec* Catalog::Find(std::string_view type) const {
  auto it = specs_.find(type);
  return it == specs_.end() ? nullptr : &it->second;
}

std::vector<std::string> Catalog::Types() const {
  std::vector<std::string> types;
  types.reserve(specs_.size());
  for (const auto& [type, spec] : specs_) types.push_back(type);
  return types;
}

std::string Catalog::Digest() const { return Sha256Hex(DumpJson(ToJson())); }

Json Catalog::ToJson() const {
  Json nodes = Json::array();
  for (const auto& [type, spec] : specs_) nodes.push_back(atelier::ToJson(spec));
  Json j = Json::object();
  j["nodes"] = std::move(nodes);
  return j;
}

StatusOr<Catalog> Catalog::FromJson(const Json& json) {
  Catalog catalog;
  Reader r(json, "catalogue");
  const Json* nodes = r.List("nodes");
  if (nodes == nullptr) r.Fail("nodes", "a list of node types");
  RETURN_IF_ERROR(r.status());
  for (const Json& node : *nodes) {
    ASSIGN_OR_RETURN(NodeSpec spec, NodeSpecFromJson(node));
    catalog.Add(std::move(spec));
  }
  return catalog;
}

StatusOr<Catalog> Catalog::Load(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return NotFound("catalogue \"", path, "\" cannot be opened; expected a file printed by atelier-worker");
  std::ostringstream text;
  text << file.rdbuf();
  StatusOr<Json> json = ParseJson(text.str());
  if (!json.ok()) return Annotate(json.status(), Cat("catalogue \"", path, "\""));
  StatusOr<Catalog> catalog = FromJson(*json);
  if (!catalog.ok()) return Annotate(catalog.status(), Cat("catalogue \"", path, "\""));
  return catalog;
}

}  // namespace atelier
