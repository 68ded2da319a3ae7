// Prompts that fill what others leave. Source: spec engine.md 4.10 "Conds marked default", 12.4 (nodes_hooks).
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

StatusOr<Conditioning> WithDefault(const Conditioning& conditioning, const Conditioning& rest,
                                   const std::optional<Value>& hooks) {
  if (hooks && hooks->present())
    return InvalidArgument("hooks are linked, which this version cannot apply; remove the link");
  Conditioning both = conditioning;
  for (const CondEntry& entry : rest.entries) both.entries.emplace_back(entry).options["default"] = true;
  return both;
}

struct ConditioningSetDefaultCombine {
  using T = ConditioningSetDefaultCombine;
  Conditioning cond, cond_DEFAULT;
  std::optional<Value> hooks;

  static void Describe(NodeSchema<T>& s) {
    s.Name("Cond Set Default Combine").Category("advanced/hooks/cond single");
    s.Description("Adds a prompt that applies where no other does.");
    s.Input<&T::cond>("cond").Tooltip("The prompts that apply to a part of the picture.");
    s.Input<&T::cond_DEFAULT>("cond_DEFAULT").Tooltip("The prompt for the rest.");
    s.Input<&T::hooks>("hooks").Type("HOOKS").Tooltip("Not supported.");
    s.Output<Conditioning>("CONDITIONING");
  }
  StatusOr<Conditioning> Run(NodeContext&) const { return WithDefault(cond, cond_DEFAULT, hooks); }
};
ATELIER_REGISTER_NODE(ConditioningSetDefaultCombine);

struct PairConditioningSetDefaultCombine {
  using T = PairConditioningSetDefaultCombine;
  Conditioning positive, negative, positive_DEFAULT, negative_DEFAULT;
  std::optional<Value> hooks;

  static void Describe(NodeSchema<T>& s) {
    s.Name("Cond Pair Set Default Combine").Category("advanced/hooks/cond pair");
    s.Description("Adds a pair of prompts that apply where no others do.");
    s.Input<&T::positive>("positive").Tooltip("What to aim at in a part of the picture.");
    s.Input<&T::negative>("negative").Tooltip("What to avoid in a part of the picture.");
    s.Input<&T::positive_DEFAULT>("positive_DEFAULT").Tooltip("What to aim at in the rest.");
    s.Input<&T::negative_DEFAULT>("negative_DEFAULT").Tooltip("What to avoid in the rest.");
    s.Input<&T::hooks>("hooks").Type("HOOKS").Tooltip("Not supported.");
    s.Output<Conditioning>("positive");
    s.Output<Conditioning>("negative");
  }
  StatusOr<std::tuple<Conditioning, Conditioning>> Run(NodeContext&) const {
    ASSIGN_OR_RETURN(Conditioning first, WithDefault(positive, positive_DEFAULT, hooks));
    ASSIGN_OR_RETURN(Conditioning second, WithDefault(negative, negative_DEFAULT, hooks));
    return std::tuple(std::move(first), std::move(second));
  }
};
ATELIER_REGISTER_NODE(PairConditioningSetDefaultCombine);

}  // namespace
}  // namespace atelier::nodes
