// A value of its own for each replica. Source: spec distributed.md 1.3.
#include <cmath>

#include "common/graph/python_value.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct DistributedValue {
  std::string default_value, worker_values = "{}";
  int64_t replica_index = 0;

  static void Describe(NodeSchema<DistributedValue>& s) {
    s.Name("Distributed Value").Category("utils").Cheap().PerReplica();
    s.Description("Gives each replica its own value, or the default one.");
    s.Input<&DistributedValue::default_value>("default_value")
        .Default("")
        .Tooltip("The value of replicas that have none of their own.");
    s.Input<&DistributedValue::worker_values>("worker_values")
        .Default("{}")
        .Tooltip("JSON: replica number to value, and _type.");
    s.Input<&DistributedValue::replica_index>("replica_index").Default(0).Hidden();
    s.Output<Value>("value");
  }

  // `text` as the named type; the text itself for STRING and COMBO.
  static StatusOr<Value> Coerce(const std::string& text, const std::string& type) {
    if (type != "INT" && type != "FLOAT") return Value::Literal(Json(text));
    ASSIGN_OR_RETURN(const double number, PythonFloat(Json(text)));
    if (type == "FLOAT") return Value::Literal(Json(number));
    if (!(std::fabs(number) < 9.2e18)) return InvalidArgument("\"", text, "\" is no INT");
    return Value::Literal(Json(static_cast<int64_t>(number)));
  }

  StatusOr<Value> Run(NodeContext&) const {
    StatusOr<Json> parsed = ParseJson(worker_values);
    const Json values = parsed.ok() && parsed->is_object() ? *parsed : Json::object();
    const auto type_entry = values.find("_type");
    const std::string type =
        type_entry != values.end() && type_entry->is_string() ? type_entry->get<std::string>() : "STRING";
    if (replica_index > 0) {
      const auto own = values.find(std::to_string(replica_index));
      if (own != values.end() && !own->is_null()) {
        const std::string text = own->is_string() ? own->get<std::string>() : PythonStr(*own);
        if (!text.empty())
          if (StatusOr<Value> value = Coerce(text, type); value.ok()) return value;
      }
    }
    StatusOr<Value> value = Coerce(default_value, type);
    return value.ok() ? value : Value::Literal(Json(default_value));
  }
};
ATELIER_REGISTER_NODE(DistributedValue);

}  // namespace
}  // namespace atelier::nodes
