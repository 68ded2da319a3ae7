// GUIDER values: how several conditionings lead one run. Source: spec engine.md 4.12.
#include "worker/nodes/support.h"
#include "worker/sampling/guider.h"

namespace atelier::nodes {
namespace {

using engine::CfgFunction;
using engine::Guider;
using engine::Prediction0;

template <typename N>
void DescribeGuided(NodeSchema<N>& s) {
  s.template Input<&N::model>("model").Tooltip("The model to sample with.");
  s.template Input<&N::positive>("positive").Tooltip("What the result should show.");
  s.template Input<&N::negative>("negative").Tooltip("What the result should avoid.");
}

template <typename N>
void DescribeGuiderCfg(NodeSchema<N>& s) {
  s.template Input<&N::cfg>("cfg")
      .Default(8.0)
      .Range(0.0, 100.0)
      .Step(0.1)
      .Tooltip("How strongly to follow the positive conditioning; 1 ignores the negative one.");
}

Guider GuiderOf(const Model& model, const Conditioning& positive, const Conditioning& negative = {}) {
  Guider guider;
  guider.model = model;
  guider.positive = positive;
  guider.negative = negative;
  return guider;
}

struct BasicGuider {
  Model model;
  Conditioning conditioning;

  static void Describe(NodeSchema<BasicGuider>& s) {
    s.Name("BasicGuider")
        .Category("sampling/custom_sampling/guiders")
        .Description("Follows one conditioning, without a negative one.");
    s.Input<&BasicGuider::model>("model").Tooltip("The model to sample with.");
    s.Input<&BasicGuider::conditioning>("conditioning").Tooltip("What the result should show.");
    s.Output<Guider>("GUIDER");
  }
  StatusOr<Guider> Run(NodeContext&) const { return GuiderOf(model, conditioning); }
};
ATELIER_REGISTER_NODE(BasicGuider);

struct CFGGuider {
  Model model;
  Conditioning positive, negative;
  double cfg = 8.0;

  static void Describe(NodeSchema<CFGGuider>& s) {
    s.Name("CFGGuider").Category("sampling/custom_sampling/guiders").Description("Classifier-free guidance.");
    DescribeGuided(s);
    DescribeGuiderCfg(s);
    s.Output<Guider>("GUIDER");
  }
  StatusOr<Guider> Run(NodeContext&) const {
    Guider guider = GuiderOf(model, positive, negative);
    guider.cfg = cfg;
    return guider;
  }
};
ATELIER_REGISTER_NODE(CFGGuider);

struct DualCFGGuider {
  Model model;
  Conditioning cond1, cond2, negative;
  double cfg_conds = 8.0, cfg_cond2_negative = 8.0;
  std::string style = "regular";

  static void Describe(NodeSchema<DualCFGGuider>& s) {
    s.Name("DualCFGGuider")
        .Category("sampling/custom_sampling/guiders")
        .Description("Guides from the negative to the second conditioning and from that to the first.");
    s.Input<&DualCFGGuider::model>("model").Tooltip("The model to sample with.");
    s.Input<&DualCFGGuider::cond1>("cond1").Tooltip("What the result should show.");
    s.Input<&DualCFGGuider::cond2>("cond2").Tooltip("What lies between the first and the negative one.");
    s.Input<&DualCFGGuider::negative>("negative").Tooltip("What the result should avoid.");
    s.Input<&DualCFGGuider::cfg_conds>("cfg_conds")
        .Default(8.0)
        .Range(0.0, 100.0)
        .Step(0.1)
        .Tooltip("Strength from the second conditioning to the first.");
    s.Input<&DualCFGGuider::cfg_cond2_negative>("cfg_cond2_negative")
        .Default(8.0)
        .Range(0.0, 100.0)
        .Step(0.1)
        .Tooltip("Strength from the negative conditioning to the second.");
    s.Input<&DualCFGGuider::style>("style")
        .OneOf({"regular", "nested"})
        .Tooltip("Nested: mixes the two before the negative is applied.");
    s.Output<Guider>("GUIDER");
  }
  StatusOr<Guider> Run(NodeContext&) const {
    Guider guider = GuiderOf(model, cond1, negative);
    guider.others = {cond2};
    guider.guide = [nested = style == "nested", first = cfg_conds, second = cfg_cond2_negative](
                       const at::Tensor&, const std::vector<at::Tensor>& parts, const CfgFunction& cfg) {
      const at::Tensor &one = parts[0], &none = parts[1], &two = parts[2];
      if (nested) return Prediction0{cfg(two + (one - two) * first, none, second), none};
      return Prediction0{cfg(two, none, second) + (one - two) * first, none};
    };
    return guider;
  }
};
ATELIER_REGISTER_NODE(DualCFGGuider);

struct PerpNegGuider {
  Model model;
  Conditioning positive, negative, empty_conditioning;
  double cfg = 8.0, neg_scale = 1.0;

  static void Describe(NodeSchema<PerpNegGuider>& s) {
    s.Name("PerpNegGuider")
        .Category("_for_testing")
        .Description(
            "Guidance that removes only what of the negative conditioning is at right angles to the positive.");
    DescribeGuided(s);
    s.Input<&PerpNegGuider::empty_conditioning>("empty_conditioning").Tooltip("The conditioning of an empty prompt.");
    DescribeGuiderCfg(s);
    s.Input<&PerpNegGuider::neg_scale>("neg_scale")
        .Default(1.0)
        .Range(0.0, 100.0)
        .Step(0.01)
        .Tooltip("Strength of the negative conditioning.");
    s.Output<Guider>("GUIDER");
  }
  StatusOr<Guider> Run(NodeContext&) const {
    Guider guider = GuiderOf(model, positive, negative);
    guider.others = {empty_conditioning};
    guider.guide = [scale = cfg, share = neg_scale](const at::Tensor&, const std::vector<at::Tensor>& parts,
                                                    const CfgFunction& guided) {
      const at::Tensor& empty = parts[2];
      const at::Tensor toward = parts[0] - empty, away = parts[1] - empty;
      const at::Tensor across = away - (away * toward).sum() / toward.norm().square() * toward;
      return Prediction0{guided(empty + (toward - share * across), empty, scale), empty};
    };
    return guider;
  }
};
ATELIER_REGISTER_NODE(PerpNegGuider);

}  // namespace
}  // namespace atelier::nodes
