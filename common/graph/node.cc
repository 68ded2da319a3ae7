#include "common/graph/node.h"

#include <cstdint>
#include <limits>
#include <string>

#include "common/graph/python_value.h"

namespace atelier::internal {
namespace {

StatusOr<Json> LiteralOf(const Value& value, std::string_view expected) {
  if (value.is_literal()) return value.literal();
  return InvalidArgument("got a value of type ", value.present() ? value.type() : "nothing", ", expected ", expected);
}

}  // namespace

Status FromLiteral(const Value& value, int64_t& out) {
  ASSIGN_OR_RETURN(const Json literal, LiteralOf(value, "INT"));
  ASSIGN_OR_RETURN(const Json number, PythonInt(literal));
  const bool fits = number.is_number_unsigned()
                        ? number.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())
                        : number.is_number_integer();
  if (!fits) return InvalidArgument("got ", PythonStr(number), ", expected an integer of 64 bits");
  out = number.get<int64_t>();
  return OkStatus();
}

Status FromLiteral(const Value& value, uint64_t& out) {
  ASSIGN_OR_RETURN(const Json literal, LiteralOf(value, "INT"));
  ASSIGN_OR_RETURN(const Json number, PythonInt(literal));
  const bool fits = number.is_number_unsigned() || (number.is_number_integer() && number.get<int64_t>() >= 0);
  if (!fits) return InvalidArgument("got ", PythonStr(number), ", expected an integer from 0 to 18446744073709551615");
  out = number.get<uint64_t>();
  return OkStatus();
}

Status FromLiteral(const Value& value, double& out) {
  ASSIGN_OR_RETURN(const Json literal, LiteralOf(value, "FLOAT"));
  ASSIGN_OR_RETURN(out, PythonFloat(literal));
  return OkStatus();
}

Status FromLiteral(const Value& value, bool& out) {
  ASSIGN_OR_RETURN(const Json literal, LiteralOf(value, "BOOLEAN"));
  out = PythonBool(literal);
  return OkStatus();
}

Status FromLiteral(const Value& value, std::string& out) {
  ASSIGN_OR_RETURN(const Json literal, LiteralOf(value, "STRING"));
  out = PythonStr(literal);
  return OkStatus();
}

}  // namespace atelier::internal

namespace atelier {

SpecNumber::SpecNumber(Json value) : value_(std::move(value)) {}
SpecNumber::SpecNumber(const char* text) : value_(text) {}
SpecNumber::SpecNumber(const std::string& text) : value_(text) {}
SpecNumber::SpecNumber(bool value) : value_(value) {}
SpecNumber::SpecNumber(double value) : value_(value) {}
SpecNumber::~SpecNumber() = default;

Json SpecNumber::FromInteger(bool is_unsigned, uint64_t bits) {
  return is_unsigned ? Json(bits) : Json(static_cast<int64_t>(bits));
}

InputOptions& InputOptions::Default(const SpecNumber& value) {
  spec_.default_value = value.value_;
  return *this;
}
InputOptions& InputOptions::Range(const SpecNumber& min, const SpecNumber& max) {
  spec_.min = min.value_;
  spec_.max = max.value_;
  return *this;
}
InputOptions& InputOptions::Step(const SpecNumber& step) {
  spec_.step = step.value_;
  return *this;
}
InputOptions& InputOptions::OneOf(std::vector<std::string> choices) {
  spec_.type = "COMBO";
  spec_.choices = std::move(choices);
  return *this;
}
InputOptions& InputOptions::FromFolder(std::string_view folder) {
  spec_.type = "COMBO";
  spec_.folder = folder;
  return *this;
}
InputOptions& InputOptions::OrSet(FileSet set) {
  spec_.sets.push_back(std::move(set));
  return *this;
}
InputOptions& InputOptions::Optional() {
  spec_.required = false;
  return *this;
}
InputOptions& InputOptions::Hidden() {
  spec_.hidden = true;
  spec_.required = false;
  return *this;
}
InputOptions& InputOptions::Multiline() {
  spec_.multiline = true;
  return *this;
}
InputOptions& InputOptions::DynamicPrompts() {
  spec_.dynamic_prompts = true;
  return *this;
}
InputOptions& InputOptions::ForceInput() {
  spec_.force_input = true;
  return *this;
}
InputOptions& InputOptions::Seed() {
  spec_.control_after_generate = true;
  return *this;
}
InputOptions& InputOptions::ImageUpload() {
  spec_.image_upload = true;
  return *this;
}
InputOptions& InputOptions::Tooltip(std::string_view text) {
  spec_.tooltip = text;
  return *this;
}
InputOptions& InputOptions::Type(std::string_view type) {
  spec_.type = type;
  return *this;
}

NodeDeclaration& NodeDeclaration::Name(std::string_view display_name) {
  spec.display_name = display_name;
  return *this;
}
NodeDeclaration& NodeDeclaration::Category(std::string_view category) {
  spec.category = category;
  return *this;
}
NodeDeclaration& NodeDeclaration::Description(std::string_view text) {
  spec.description = text;
  return *this;
}
NodeDeclaration& NodeDeclaration::OutputNode() {
  spec.output_node = true;
  return *this;
}
NodeDeclaration& NodeDeclaration::Internal() {
  spec.internal = true;
  return *this;
}
NodeDeclaration& NodeDeclaration::Cheap() {
  spec.cheap = true;
  return *this;
}
NodeDeclaration& NodeDeclaration::KeepsHandles() {
  spec.keeps_handles = true;
  return *this;
}
NodeDeclaration& NodeDeclaration::CutForTiles() {
  spec.cut_for_tiles = true;
  return *this;
}
NodeDeclaration& NodeDeclaration::PerReplica() {
  spec.per_replica = true;
  return *this;
}
NodeDeclaration& NodeDeclaration::Gathers(std::string_view single_replica_if) {
  spec.gathers = true;
  spec.single_replica_if = single_replica_if;
  return *this;
}
NodeDeclaration& NodeDeclaration::Tiles(TileSplit split) {
  spec.tiles = std::move(split);
  return *this;
}
NodeDeclaration& NodeDeclaration::AddOutput(std::string_view name, std::string_view type) {
  spec.outputs.push_back({std::string(name), std::string(type)});
  return *this;
}

InputOptions NodeDeclaration::AddInput(std::string_view name, std::string_view type, bool required, bool gather,
                                       Setter setter) {
  InputSpec input;
  input.name = name;
  input.type = type;
  input.required = required;
  input.gather = gather;
  spec.inputs.push_back(std::move(input));
  setters.emplace_back(name, setter);
  return InputOptions(spec.inputs.back());  // used up before the next Input()
}

namespace internal {

Status SetInputs(const NodeDeclaration& declaration, const InputValues& inputs, void* node) {
  for (const auto& [name, setter] : declaration.setters) {
    auto it = inputs.find(name);
    if (it == inputs.end()) continue;
    Status set = setter(node, it->second);
    if (!set.ok()) return Annotate(set, Cat("input \"", name, "\""));
  }
  return OkStatus();
}

bool RegisterNode(std::string_view type, const NodeSpec& (*spec)(),
                  StatusOr<std::vector<Value>> (*run)(const InputValues&, NodeContext&)) {
  return Registry<NodeType>::Get().Add(type, 0, NodeType{spec, run});
}

}  // namespace internal
}  // namespace atelier
