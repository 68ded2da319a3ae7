// Where and when a conditioning applies. Source: spec engine.md 4.10.
#include "worker/nodes/conditioning_area.h"

namespace atelier::nodes {
namespace {

template <typename N>
void DescribePromptWeight(NodeSchema<N>& s) {
  s.template Input<&N::strength>("strength")
      .Default(1.0)
      .Range(0.0, 10.0)
      .Step(0.01)
      .Tooltip("How much it counts against other prompts.");
}

Conditioning WithArea(Conditioning conditioning, const Json& area, double strength) {
  for (CondEntry& entry : conditioning.entries) {
    entry.options["area"] = area;
    entry.options["strength"] = strength;
    entry.options["set_area_to_bounds"] = false;
  }
  return conditioning;
}

struct ConditioningSetArea {
  Conditioning conditioning;
  int64_t width = 64, height = 64, x = 0, y = 0;
  double strength = 1.0;

  static void Describe(NodeSchema<ConditioningSetArea>& s) {
    s.Name("Conditioning (Set Area)")
        .Category("conditioning")
        .Cheap()
        .Description("Applies a prompt to a rectangle in pixels.");
    s.Input<&ConditioningSetArea::conditioning>("conditioning").Tooltip("The prompt.");
    s.Input<&ConditioningSetArea::width>("width").Default(64).Range(64, 16384).Step(8).Tooltip(
        "Width of the area in pixels.");
    s.Input<&ConditioningSetArea::height>("height").Default(64).Range(64, 16384).Step(8).Tooltip(
        "Height of the area in pixels.");
    s.Input<&ConditioningSetArea::x>("x").Default(0).Range(0, 16384).Step(8).Tooltip("Pixels from the left.");
    s.Input<&ConditioningSetArea::y>("y").Default(0).Range(0, 16384).Step(8).Tooltip("Pixels from the top.");
    DescribePromptWeight(s);
    s.Output<Conditioning>("CONDITIONING");
  }
  StatusOr<Conditioning> Run(NodeContext&) const {
    return WithArea(conditioning, Json::array({height / 8, width / 8, y / 8, x / 8}), strength);
  }
};
ATELIER_REGISTER_NODE(ConditioningSetArea);

struct ConditioningSetAreaPercentage {
  Conditioning conditioning;
  double width = 1.0, height = 1.0, x = 0, y = 0, strength = 1.0;

  static void Describe(NodeSchema<ConditioningSetAreaPercentage>& s) {
    s.Name("Conditioning (Set Area with Percentage)").Category("conditioning").Cheap();
    s.Description("Applies a prompt to a rectangle in fractions of the picture.");
    s.Input<&ConditioningSetAreaPercentage::conditioning>("conditioning").Tooltip("The prompt.");
    s.Input<&ConditioningSetAreaPercentage::width>("width").Default(1.0).Range(0, 1.0).Step(0.01).Tooltip(
        "Width as a share of the picture.");
    s.Input<&ConditioningSetAreaPercentage::height>("height").Default(1.0).Range(0, 1.0).Step(0.01).Tooltip(
        "Height as a share of the picture.");
    s.Input<&ConditioningSetAreaPercentage::x>("x").Default(0).Range(0, 1.0).Step(0.01).Tooltip(
        "Distance from the left as a share of the picture.");
    s.Input<&ConditioningSetAreaPercentage::y>("y").Default(0).Range(0, 1.0).Step(0.01).Tooltip(
        "Distance from the top as a share of the picture.");
    DescribePromptWeight(s);
    s.Output<Conditioning>("CONDITIONING");
  }
  StatusOr<Conditioning> Run(NodeContext&) const {
    return WithArea(conditioning, Json::array({"percentage", height, width, y, x}), strength);
  }
};
ATELIER_REGISTER_NODE(ConditioningSetAreaPercentage);

struct ConditioningSetAreaStrength {
  Conditioning conditioning;
  double strength = 1.0;

  static void Describe(NodeSchema<ConditioningSetAreaStrength>& s) {
    s.Name("ConditioningSetAreaStrength")
        .Category("conditioning")
        .Cheap()
        .Description("Weighs a prompt against others.");
    s.Input<&ConditioningSetAreaStrength::conditioning>("conditioning").Tooltip("The prompt.");
    DescribePromptWeight(s);
    s.Output<Conditioning>("CONDITIONING");
  }
  StatusOr<Conditioning> Run(NodeContext&) const {
    Conditioning result = conditioning;
    for (CondEntry& entry : result.entries) entry.options["strength"] = strength;
    return result;
  }
};
ATELIER_REGISTER_NODE(ConditioningSetAreaStrength);

struct ConditioningSetMask {
  Conditioning conditioning;
  Mask mask;
  double strength = 1.0;
  std::string set_cond_area = "default";

  static void Describe(NodeSchema<ConditioningSetMask>& s) {
    s.Name("Conditioning (Set Mask)").Category("conditioning").Description("Applies a prompt where the mask is set.");
    s.CutForTiles();
    s.Input<&ConditioningSetMask::conditioning>("conditioning").Tooltip("The prompt.");
    s.Input<&ConditioningSetMask::mask>("mask").Tooltip("Where the prompt applies.");
    DescribePromptWeight(s);
    DescribeCondArea(s);
    s.Output<Conditioning>("CONDITIONING");
  }
  StatusOr<Conditioning> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckMask("mask", mask));
    return Guard([&] {
      Conditioning result = conditioning;
      for (CondEntry& entry : result.entries) SetMask(entry, mask, strength, set_cond_area);
      return result;
    });
  }
};
ATELIER_REGISTER_NODE(ConditioningSetMask);

struct ConditioningSetTimestepRange {
  Conditioning conditioning;
  double start = 0.0, end = 1.0;

  static void Describe(NodeSchema<ConditioningSetTimestepRange>& s) {
    s.Name("ConditioningSetTimestepRange").Category("advanced/conditioning").Cheap();
    s.Description("Applies a prompt during a part of the run.");
    s.Input<&ConditioningSetTimestepRange::conditioning>("conditioning").Tooltip("The prompt.");
    s.Input<&ConditioningSetTimestepRange::start>("start").Default(0.0).Range(0.0, 1.0).Step(0.001).Tooltip(
        "When it begins, as a share of the run.");
    s.Input<&ConditioningSetTimestepRange::end>("end").Default(1.0).Range(0.0, 1.0).Step(0.001).Tooltip(
        "When it ends, as a share of the run.");
    s.Output<Conditioning>("CONDITIONING");
  }
  StatusOr<Conditioning> Run(NodeContext&) const {
    Conditioning result = conditioning;
    for (CondEntry& entry : result.entries) SetTimesteps(entry, start, end);
    return result;
  }
};
ATELIER_REGISTER_NODE(ConditioningSetTimestepRange);

struct ConditioningZeroOut {
  Conditioning conditioning;

  static void Describe(NodeSchema<ConditioningZeroOut>& s) {
    s.Name("ConditioningZeroOut")
        .Category("advanced/conditioning")
        .Cheap()
        .Description("Replaces the prompt's numbers by zeros.");
    s.Input<&ConditioningZeroOut::conditioning>("conditioning").Tooltip("The prompt.");
    s.Output<Conditioning>("CONDITIONING");
  }
  StatusOr<Conditioning> Run(NodeContext&) const {
    return Guard([&] {
      Conditioning result = conditioning;
      for (CondEntry& entry : result.entries) {
        entry.cond = at::zeros_like(entry.cond);
        if (const auto pooled = entry.tensors.find("pooled_output"); pooled != entry.tensors.end())
          pooled->second = at::zeros_like(pooled->second);
      }
      return result;
    });
  }
};
ATELIER_REGISTER_NODE(ConditioningZeroOut);

}  // namespace
}  // namespace atelier::nodes
