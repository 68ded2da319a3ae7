// Text encoders mixed from two. Source: spec engine.md 12.4 (nodes_model_merging).
#include "worker/nodes/merge.h"

namespace atelier::nodes {
namespace {

struct CLIPMergeSimple {
  Clip clip1, clip2;
  double ratio = 1.0;

  static void Describe(NodeSchema<CLIPMergeSimple>& s) {
    s.Name("CLIPMergeSimple").Category("advanced/model_merging").Cheap().Description("Mixes two text encoders evenly.");
    s.Input<&CLIPMergeSimple::clip1>("clip1").Tooltip("The first text encoder.");
    s.Input<&CLIPMergeSimple::clip2>("clip2").Tooltip("The second one, of the same kind.");
    s.Input<&CLIPMergeSimple::ratio>("ratio").Default(1.0).Range(0.0, 1.0).Step(0.01).Tooltip("Part of the first one.");
    s.Output<Clip>("CLIP");
  }
  StatusOr<Clip> Run(NodeContext& ctx) const {
    return Merged(clip1, clip2, Cat("simple ", ratio), MergeShare{ratio, 1.0 - ratio}, ctx);
  }
};
ATELIER_REGISTER_NODE(CLIPMergeSimple);

struct CLIPMergeSubtract {
  Clip clip1, clip2;
  double multiplier = 1.0;

  static void Describe(NodeSchema<CLIPMergeSubtract>& s) {
    s.Name("CLIPMergeSubtract")
        .Category("advanced/model_merging")
        .Cheap()
        .Description("The difference of two text encoders, to be added to a third.");
    s.Input<&CLIPMergeSubtract::clip1>("clip1").Tooltip("The first text encoder.");
    s.Input<&CLIPMergeSubtract::clip2>("clip2").Tooltip("What is taken away.");
    s.Input<&CLIPMergeSubtract::multiplier>("multiplier")
        .Default(1.0)
        .Range(-10.0, 10.0)
        .Step(0.01)
        .Tooltip("Factor on the difference.");
    s.Output<Clip>("CLIP");
  }
  StatusOr<Clip> Run(NodeContext& ctx) const {
    return Merged(clip1, clip2, Cat("difference ", multiplier), MergeShare{multiplier, -multiplier}, ctx);
  }
};
ATELIER_REGISTER_NODE(CLIPMergeSubtract);

struct CLIPMergeAdd {
  Clip clip1, clip2;

  static void Describe(NodeSchema<CLIPMergeAdd>& s) {
    s.Name("CLIPMergeAdd").Category("advanced/model_merging").Cheap().Description("The sum of two text encoders.");
    s.Input<&CLIPMergeAdd::clip1>("clip1").Tooltip("The first text encoder.");
    s.Input<&CLIPMergeAdd::clip2>("clip2").Tooltip("What is added, a difference as a rule.");
    s.Output<Clip>("CLIP");
  }
  StatusOr<Clip> Run(NodeContext& ctx) const { return Merged(clip1, clip2, "sum", MergeShare{1.0, 1.0}, ctx); }
};
ATELIER_REGISTER_NODE(CLIPMergeAdd);

}  // namespace
}  // namespace atelier::nodes
