// A model name that only workers can resolve. Source: spec distributed.md 1.4.
#include "common/graph/python_value.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct DistributedModelName {
  Value text;

  static void Describe(NodeSchema<DistributedModelName>& s) {
    s.Name("Distributed Model Name").Category("utils").OutputNode().Cheap();
    s.Description("Passes a name through a link, so that it is not compared with the files of this machine.");
    s.Input<&DistributedModelName::text>("text").Type("STRING").Default("").Tooltip("The name of the model.");
    s.Output<Value>("output");
  }
  StatusOr<Value> Run(NodeContext&) const {
    if (!text.present()) return Value::Literal(Json(""));
    if (!text.is_literal())
      return InvalidArgument("text is a value of type ", text.type(), ", expected a text or number");
    const Json& json = text.literal();
    return Value::Literal(Json(json.is_structured() ? json.dump(4) : PythonStr(json)));
  }
};
ATELIER_REGISTER_NODE(DistributedModelName);

}  // namespace
}  // namespace atelier::nodes
