// Properties of prompts in one node, for one prompt or a pair. Source: spec engine.md 4.10, 12.4 (nodes_hooks).
#include "worker/nodes/support.h"

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

// What the nodes below share.
struct Properties {
  const std::string& set_cond_area;
  double strength;
  const std::optional<Mask>& mask;
  const std::optional<TimestepsRange>& timesteps;
  const std::optional<Value>& hooks;
};

StatusOr<Conditioning> Apply(const Conditioning& conditioning, const Properties& properties) {
  if (properties.hooks && properties.hooks->present())
    return InvalidArgument("hooks are linked, which this version cannot apply; remove the link");
  if (properties.mask && (!properties.mask->values.defined() || properties.mask->values.numel() == 0))
    return InvalidArgument("mask is empty");
  return Guard([&] {
    Conditioning result = conditioning;
    for (CondEntry& entry : result.entries) {
      if (properties.mask) {
        const at::Tensor& m = properties.mask->values;
        entry.tensors["mask"] = m.dim() < 3 ? m.unsqueeze(0) : m;
        entry.options["set_area_to_bounds"] = properties.set_cond_area != "default";
        entry.options["mask_strength"] = properties.strength;
      }
      if (properties.timesteps) {
        entry.options["start_percent"] = properties.timesteps->start;
        entry.options["end_percent"] = properties.timesteps->end;
      }
    }
    return result;
  });
}

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

struct ConditioningSetProperties {
  Conditioning cond_NEW;
  double strength = 1.0;
  std::string set_cond_area = "default";
  std::optional<Mask> mask;
  std::optional<Value> hooks;
  std::optional<TimestepsRange> timesteps;

  static void Describe(NodeSchema<ConditioningSetProperties>& s) {
    s.Name("Cond Set Props")
        .Category("advanced/hooks/cond single")
        .Description("Sets where and when a prompt applies.");
    s.Input<&ConditioningSetProperties::cond_NEW>("cond_NEW").Tooltip("The prompt.");
    s.Input<&ConditioningSetProperties::strength>("strength")
        .Default(1.0)
        .Range(0.0, 10.0)
        .Step(0.01)
        .Tooltip("How much it counts where the mask is set.");
    s.Input<&ConditioningSetProperties::set_cond_area>("set_cond_area")
        .OneOf({"default", "mask bounds"})
        .Tooltip("mask bounds samples only the rectangle around the mask.");
    s.Input<&ConditioningSetProperties::mask>("mask").Tooltip("Where it applies.");
    s.Input<&ConditioningSetProperties::hooks>("hooks").Type("HOOKS").Tooltip("Not supported.");
    s.Input<&ConditioningSetProperties::timesteps>("timesteps").Tooltip("When it applies.");
    s.Output<Conditioning>("CONDITIONING");
  }
  StatusOr<Conditioning> Run(NodeContext&) const {
    return Apply(cond_NEW, {set_cond_area, strength, mask, timesteps, hooks});
  }
};
ATELIER_REGISTER_NODE(ConditioningSetProperties);

struct ConditioningSetPropertiesAndCombine {
  Conditioning cond;
  Conditioning cond_NEW;
  double strength = 1.0;
  std::string set_cond_area = "default";
  std::optional<Mask> mask;
  std::optional<Value> hooks;
  std::optional<TimestepsRange> timesteps;

  static void Describe(NodeSchema<ConditioningSetPropertiesAndCombine>& s) {
    s.Name("Cond Set Props Combine")
        .Category("advanced/hooks/cond single")
        .Description("Sets where and when a prompt applies, and adds it to another.");
    s.Input<&ConditioningSetPropertiesAndCombine::cond>("cond").Tooltip("The prompt to add to.");
    s.Input<&ConditioningSetPropertiesAndCombine::cond_NEW>("cond_NEW").Tooltip("The prompt to add.");
    s.Input<&ConditioningSetPropertiesAndCombine::strength>("strength")
        .Default(1.0)
        .Range(0.0, 10.0)
        .Step(0.01)
        .Tooltip("How much it counts where the mask is set.");
    s.Input<&ConditioningSetPropertiesAndCombine::set_cond_area>("set_cond_area")
        .OneOf({"default", "mask bounds"})
        .Tooltip("mask bounds samples only the rectangle around the mask.");
    s.Input<&ConditioningSetPropertiesAndCombine::mask>("mask").Tooltip("Where it applies.");
    s.Input<&ConditioningSetPropertiesAndCombine::hooks>("hooks").Type("HOOKS").Tooltip("Not supported.");
    s.Input<&ConditioningSetPropertiesAndCombine::timesteps>("timesteps").Tooltip("When it applies.");
    s.Output<Conditioning>("CONDITIONING");
  }
  StatusOr<Conditioning> Run(NodeContext&) const {
    ASSIGN_OR_RETURN(const Conditioning added, Apply(cond_NEW, {set_cond_area, strength, mask, timesteps, hooks}));
    return Join(cond, added);
  }
};
ATELIER_REGISTER_NODE(ConditioningSetPropertiesAndCombine);

struct PairConditioningSetProperties {
  Conditioning positive_NEW;
  Conditioning negative_NEW;
  double strength = 1.0;
  std::string set_cond_area = "default";
  std::optional<Mask> mask;
  std::optional<Value> hooks;
  std::optional<TimestepsRange> timesteps;

  static void Describe(NodeSchema<PairConditioningSetProperties>& s) {
    s.Name("Cond Pair Set Props")
        .Category("advanced/hooks/cond pair")
        .Description("Sets where and when a pair of prompts applies.");
    s.Input<&PairConditioningSetProperties::positive_NEW>("positive_NEW").Tooltip("What to aim at.");
    s.Input<&PairConditioningSetProperties::negative_NEW>("negative_NEW").Tooltip("What to avoid.");
    s.Input<&PairConditioningSetProperties::strength>("strength")
        .Default(1.0)
        .Range(0.0, 10.0)
        .Step(0.01)
        .Tooltip("How much they count where the mask is set.");
    s.Input<&PairConditioningSetProperties::set_cond_area>("set_cond_area")
        .OneOf({"default", "mask bounds"})
        .Tooltip("mask bounds samples only the rectangle around the mask.");
    s.Input<&PairConditioningSetProperties::mask>("mask").Tooltip("Where they apply.");
    s.Input<&PairConditioningSetProperties::hooks>("hooks").Type("HOOKS").Tooltip("Not supported.");
    s.Input<&PairConditioningSetProperties::timesteps>("timesteps").Tooltip("When they apply.");
    s.Output<Conditioning>("positive").Output<Conditioning>("negative");
  }
  StatusOr<std::tuple<Conditioning, Conditioning>> Run(NodeContext&) const {
    const Properties properties{set_cond_area, strength, mask, timesteps, hooks};
    ASSIGN_OR_RETURN(Conditioning positive, Apply(positive_NEW, properties));
    ASSIGN_OR_RETURN(Conditioning negative, Apply(negative_NEW, properties));
    return std::tuple(std::move(positive), std::move(negative));
  }
};
ATELIER_REGISTER_NODE(PairConditioningSetProperties);

struct PairConditioningSetPropertiesAndCombine {
  Conditioning positive;
  Conditioning negative;
  Conditioning positive_NEW;
  Conditioning negative_NEW;
  double strength = 1.0;
  std::string set_cond_area = "default";
  std::optional<Mask> mask;
  std::optional<Value> hooks;
  std::optional<TimestepsRange> timesteps;

  static void Describe(NodeSchema<PairConditioningSetPropertiesAndCombine>& s) {
    s.Name("Cond Pair Set Props Combine")
        .Category("advanced/hooks/cond pair")
        .Description("Sets where and when a pair of prompts applies, and adds it to another.");
    s.Input<&PairConditioningSetPropertiesAndCombine::positive>("positive").Tooltip("What to aim at.");
    s.Input<&PairConditioningSetPropertiesAndCombine::negative>("negative").Tooltip("What to avoid.");
    s.Input<&PairConditioningSetPropertiesAndCombine::positive_NEW>("positive_NEW").Tooltip("What to aim at.");
    s.Input<&PairConditioningSetPropertiesAndCombine::negative_NEW>("negative_NEW").Tooltip("What to avoid.");
    s.Input<&PairConditioningSetPropertiesAndCombine::strength>("strength")
        .Default(1.0)
        .Range(0.0, 10.0)
        .Step(0.01)
        .Tooltip("How much they count where the mask is set.");
    s.Input<&PairConditioningSetPropertiesAndCombine::set_cond_area>("set_cond_area")
        .OneOf({"default", "mask bounds"})
        .Tooltip("mask bounds samples only the rectangle around the mask.");
    s.Input<&PairConditioningSetPropertiesAndCombine::mask>("mask").Tooltip("Where they apply.");
    s.Input<&PairConditioningSetPropertiesAndCombine::hooks>("hooks").Type("HOOKS").Tooltip("Not supported.");
    s.Input<&PairConditioningSetPropertiesAndCombine::timesteps>("timesteps").Tooltip("When they apply.");
    s.Output<Conditioning>("positive").Output<Conditioning>("negative");
  }
  StatusOr<std::tuple<Conditioning, Conditioning>> Run(NodeContext&) const {
    const Properties properties{set_cond_area, strength, mask, timesteps, hooks};
    ASSIGN_OR_RETURN(const Conditioning added_positive, Apply(positive_NEW, properties));
    ASSIGN_OR_RETURN(const Conditioning added_negative, Apply(negative_NEW, properties));
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
