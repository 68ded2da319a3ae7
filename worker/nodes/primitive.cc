// Values as nodes.
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct PrimitiveInt {
  int64_t value{};

  static void Describe(NodeSchema<PrimitiveInt>& s) {
    s.Name("Int")
        .Category("utils/primitive")
        .Cheap()
        .Description("A value of its own, to be linked to several inputs.");
    s.Input<&PrimitiveInt::value>("value").Range(-INT64_MAX, INT64_MAX).Seed().Tooltip("The value.");
    s.Output<int64_t>("INT");
  }
  StatusOr<int64_t> Run(NodeContext&) const { return value; }
};
ATELIER_REGISTER_NODE(PrimitiveInt);

struct PrimitiveFloat {
  double value{};

  static void Describe(NodeSchema<PrimitiveFloat>& s) {
    s.Name("Float")
        .Category("utils/primitive")
        .Cheap()
        .Description("A value of its own, to be linked to several inputs.");
    s.Input<&PrimitiveFloat::value>("value").Range(-INT64_MAX, INT64_MAX).Tooltip("The value.");
    s.Output<double>("FLOAT");
  }
  StatusOr<double> Run(NodeContext&) const { return value; }
};
ATELIER_REGISTER_NODE(PrimitiveFloat);

struct PrimitiveString {
  std::string value{};

  static void Describe(NodeSchema<PrimitiveString>& s) {
    s.Name("String")
        .Category("utils/primitive")
        .Cheap()
        .Description("A value of its own, to be linked to several inputs.");
    s.Input<&PrimitiveString::value>("value").Tooltip("The value.");
    s.Output<std::string>("STRING");
  }
  StatusOr<std::string> Run(NodeContext&) const { return value; }
};
ATELIER_REGISTER_NODE(PrimitiveString);

struct PrimitiveStringMultiline {
  std::string value{};

  static void Describe(NodeSchema<PrimitiveStringMultiline>& s) {
    s.Name("String (Multiline)")
        .Category("utils/primitive")
        .Cheap()
        .Description("A value of its own, to be linked to several inputs.");
    s.Input<&PrimitiveStringMultiline::value>("value").Multiline().Tooltip("The value.");
    s.Output<std::string>("STRING");
  }
  StatusOr<std::string> Run(NodeContext&) const { return value; }
};
ATELIER_REGISTER_NODE(PrimitiveStringMultiline);

struct PrimitiveBoolean {
  bool value{};

  static void Describe(NodeSchema<PrimitiveBoolean>& s) {
    s.Name("Boolean")
        .Category("utils/primitive")
        .Cheap()
        .Description("A value of its own, to be linked to several inputs.");
    s.Input<&PrimitiveBoolean::value>("value").Tooltip("The value.");
    s.Output<bool>("BOOLEAN");
  }
  StatusOr<bool> Run(NodeContext&) const { return value; }
};
ATELIER_REGISTER_NODE(PrimitiveBoolean);

}  // namespace
}  // namespace atelier::nodes
