// Properties of prompts in one node, for one prompt or a pair. Source: spec engine.md 4.10, 12.4 (nodes_hooks).
#include "worker/nodes/conditioning_area.h"

namespace atelier::nodes {

/// Part of a run: shares of it, 0 is its beginning.
struct TimestepsRange {
  double start = 0.0, end = 1.0;
};

}  // namespace atelier::nodes

namespace atelier {
template <>
struct SocketTraits<nodes::TimestepsRange> {
  static constexpr std::string_view kName = "TIMESTEPS_RANGE";
};
}  // namespace atelier

namespace atelier::nodes {
namespace {

// Where and when prompts apply, as the nodes below have it.
struct Properties {
  double strength = 1.0;
  std::string set_cond_area = "default";
  std::optional<Mask> mask;
  std::optional<Value> hooks;
  std::optional<TimestepsRange> timesteps;

  template <typename N>
  static void DescribeProperties(NodeSchema<N>& s, bool pair) {
    s.template Input<&N::strength>("strength")
        .Default(1.0)
        .Range(0.0, 10.0)
        .Step(0.01)
        .Tooltip(pair ? "How much they count where the mask is set." : "How much it counts where the mask is set.");
    DescribeCondArea(s);
    s.CutForTiles();
    const std::string apply = pair ? "they apply." : "it applies.";
    s.template Input<&N::mask>("mask").Tooltip("Where " + apply);
    s.template Input<&N::hooks>("hooks").Type("HOOKS").Tooltip("Not supported.");
    s.template Input<&N::timesteps>("timesteps").Tooltip("When " + apply);
  }

  StatusOr<Conditioning> Apply(const Conditioning& conditioning) const {
    if (hooks && hooks->present())
      return InvalidArgument("hooks are linked, which this version cannot apply; remove the link");
    if (mask) RETURN_IF_ERROR(CheckMask("mask", *mask));
    return Guard([&] {
      Conditioning result = conditioning;
      for (CondEntry& entry : result.entries) {
        if (mask) SetMask(entry, *mask, strength, set_cond_area);
        if (timesteps) SetTimesteps(entry, timesteps->start, timesteps->end);
      }
      return result;
    });
  }
};

Conditioning Join(const Conditioning& first, const Conditioning& second) {
  Conditioning both = first;
  both.entries.insert(both.entries.end(), second.entries.begin(), second.entries.end());
  return both;
}

struct ConditioningTimestepsRange {
  double start_percent = 0.0;
  double end_percent = 1.0;

  static void Describe(NodeSchema<ConditioningTimestepsRange>& s) {
    s.Name("Timesteps Range")
        .Category("advanced/hooks")
        .Cheap()
        .Description("A part of the run, and what lies before and after it.");
    s.Input<&ConditioningTimestepsRange::start_percent>("start_percent")
        .Default(0.0)
        .Range(0.0, 1.0)
        .Step(0.001)
        .Tooltip("When it begins, as a share of the run.");
    s.Input<&ConditioningTimestepsRange::end_percent>("end_percent")
        .Default(1.0)
        .Range(0.0, 1.0)
        .Step(0.001)
        .Tooltip("When it ends, as a share of the run.");
    s.Output<TimestepsRange>("TIMESTEPS_RANGE")
        .Output<TimestepsRange>("BEFORE_RANGE")
        .Output<TimestepsRange>("AFTER_RANGE");
  }
  StatusOr<std::tuple<TimestepsRange, TimestepsRange, TimestepsRange>> Run(NodeContext&) const {
    return std::tuple(TimestepsRange{start_percent, end_percent}, TimestepsRange{0.0, start_percent},
                      TimestepsRange{end_percent, 1.0});
  }
};
ATELIER_REGISTER_NODE(ConditioningTimestepsRange);

struct ConditioningSetProperties : Properties {
  Conditioning cond_NEW;

  static void Describe(NodeSchema<ConditioningSetProperties>& s) {
    s.Name("Cond Set Props")
        .Category("advanced/hooks/cond single")
        .Description("Sets where and when a prompt applies.");
    s.Input<&ConditioningSetProperties::cond_NEW>("cond_NEW").Tooltip("The prompt.");
    DescribeProperties(s, false);
    s.Output<Conditioning>("CONDITIONING");
  }
  StatusOr<Conditioning> Run(NodeContext&) const { return Apply(cond_NEW); }
};
ATELIER_REGISTER_NODE(ConditioningSetProperties);

struct ConditioningSetPropertiesAndCombine : Properties {
  Conditioning cond;
  Conditioning cond_NEW;

  static void Describe(NodeSchema<ConditioningSetPropertiesAndCombine>& s) {
    s.Name("Cond Set Props Combine")
        .Category("advanced/hooks/cond single")
        .Description("Sets where and when a prompt applies, and adds it to another.");
    s.Input<&ConditioningSetPropertiesAndCombine::cond>("cond").Tooltip("The prompt to add to.");
    s.Input<&ConditioningSetPropertiesAndCombine::cond_NEW>("cond_NEW").Tooltip("The prompt to add.");
    DescribeProperties(s, false);
    s.Output<Conditioning>("CONDITIONING");
  }
  StatusOr<Conditioning> Run(NodeContext&) const {
    ASSIGN_OR_RETURN(const Conditioning added, Apply(cond_NEW));
    return Join(cond, added);
  }
};
ATELIER_REGISTER_NODE(ConditioningSetPropertiesAndCombine);

struct PairConditioningSetProperties : Properties {
  Conditioning positive_NEW;
  Conditioning negative_NEW;

  static void Describe(NodeSchema<PairConditioningSetProperties>& s) {
    s.Name("Cond Pair Set Props")
        .Category("advanced/hooks/cond pair")
        .Description("Sets where and when a pair of prompts applies.");
    s.Input<&PairConditioningSetProperties::positive_NEW>("positive_NEW").Tooltip("What to aim at.");
    s.Input<&PairConditioningSetProperties::negative_NEW>("negative_NEW").Tooltip("What to avoid.");
    DescribeProperties(s, true);
    s.Output<Conditioning>("positive").Output<Conditioning>("negative");
  }
  StatusOr<std::tuple<Conditioning, Conditioning>> Run(NodeContext&) const {
    ASSIGN_OR_RETURN(Conditioning positive, Apply(positive_NEW));
    ASSIGN_OR_RETURN(Conditioning negative, Apply(negative_NEW));
    return std::tuple(std::move(positive), std::move(negative));
  }
};
ATELIER_REGISTER_NODE(PairConditioningSetProperties);

struct PairConditioningSetPropertiesAndCombine : Properties {
  Conditioning positive;
  Conditioning negative;
  Conditioning positive_NEW;
  Conditioning negative_NEW;

  static void Describe(NodeSchema<PairConditioningSetPropertiesAndCombine>& s) {
    s.Name("Cond Pair Set Props Combine")
        .Category("advanced/hooks/cond pair")
        .Description("Sets where and when a pair of prompts applies, and adds it to another.");
    s.Input<&PairConditioningSetPropertiesAndCombine::positive>("positive").Tooltip("What to aim at.");
    s.Input<&PairConditioningSetPropertiesAndCombine::negative>("negative").Tooltip("What to avoid.");
    s.Input<&PairConditioningSetPropertiesAndCombine::positive_NEW>("positive_NEW").Tooltip("What to aim at.");
    s.Input<&PairConditioningSetPropertiesAndCombine::negative_NEW>("negative_NEW").Tooltip("What to avoid.");
    DescribeProperties(s, true);
    s.Output<Conditioning>("positive").Output<Conditioning>("negative");
  }
  StatusOr<std::tuple<Conditioning, Conditioning>> Run(NodeContext&) const {
    ASSIGN_OR_RETURN(const Conditioning added_positive, Apply(positive_NEW));
    ASSIGN_OR_RETURN(const Conditioning added_negative, Apply(negative_NEW));
    return std::tuple(Join(positive, added_positive), Join(negative, added_negative));
  }
};
ATELIER_REGISTER_NODE(PairConditioningSetPropertiesAndCombine);

struct PairConditioningCombine {
  Conditioning positive_A;
  Conditioning negative_A;
  Conditioning positive_B;
  Conditioning negative_B;

  static void Describe(NodeSchema<PairConditioningCombine>& s) {
    s.Name("Cond Pair Combine")
        .Category("advanced/hooks/cond pair")
        .Cheap()
        .Description("Adds a pair of prompts to another.");
    s.Input<&PairConditioningCombine::positive_A>("positive_A").Tooltip("What to aim at.");
    s.Input<&PairConditioningCombine::negative_A>("negative_A").Tooltip("What to avoid.");
    s.Input<&PairConditioningCombine::positive_B>("positive_B").Tooltip("What to aim at too.");
    s.Input<&PairConditioningCombine::negative_B>("negative_B").Tooltip("What to avoid too.");
    s.Output<Conditioning>("positive").Output<Conditioning>("negative");
  }
  StatusOr<std::tuple<Conditioning, Conditioning>> Run(NodeContext&) const {
    return std::tuple(Join(positive_A, positive_B), Join(negative_A, negative_B));
  }
};
ATELIER_REGISTER_NODE(PairConditioningCombine);

}  // namespace
}  // namespace atelier::nodes
