// The type that a model computes in. Source: spec engine.md 4.6 "Nodes".
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct ModelComputeDtype {
  Model model;
  std::string dtype;

  static void Describe(NodeSchema<ModelComputeDtype>& s) {
    s.Name("ModelComputeDtype")
        .Category("advanced/debug/model")
        .Cheap()
        .Description(
            "Sets the type that a model computes in; its weights stay as they are and are cast as they are used.");
    s.Input<&ModelComputeDtype::model>("model").Tooltip("The model.");
    s.Input<&ModelComputeDtype::dtype>("dtype")
        .OneOf({"default", "fp32", "fp16", "bf16"})
        .Tooltip(
            "The type; default: what the model itself would choose, also where a node before chose another. On the CPU "
            "fp16 and bf16 are slower than fp32.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const {
    Model changed = model;
    if (dtype == "default") changed.compute.reset();
    if (dtype == "fp32") changed.compute = at::kFloat;
    if (dtype == "fp16") changed.compute = at::kHalf;
    if (dtype == "bf16") changed.compute = at::kBFloat16;
    return changed;
  }
};
ATELIER_REGISTER_NODE(ModelComputeDtype);

}  // namespace
}  // namespace atelier::nodes
