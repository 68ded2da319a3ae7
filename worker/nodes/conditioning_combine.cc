// Joins conditionings. Source: spec engine.md 4.10.
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct ConditioningCombine {
  Conditioning conditioning_1, conditioning_2;

  static void Describe(NodeSchema<ConditioningCombine>& s) {
    s.Name("Conditioning (Combine)")
        .Category("conditioning")
        .Cheap()
        .Description("Applies both; their predictions are averaged.");
    s.Input<&ConditioningCombine::conditioning_1>("conditioning_1").Tooltip("The first prompt.");
    s.Input<&ConditioningCombine::conditioning_2>("conditioning_2").Tooltip("The second prompt.");
    s.Output<Conditioning>("CONDITIONING");
  }
  StatusOr<Conditioning> Run(NodeContext&) const {
    Conditioning both = conditioning_1;
    both.entries.insert(both.entries.end(), conditioning_2.entries.begin(), conditioning_2.entries.end());
    return both;
  }
};
ATELIER_REGISTER_NODE(ConditioningCombine);

struct ConditioningConcat {
  Conditioning conditioning_to, conditioning_from;

  static void Describe(NodeSchema<ConditioningConcat>& s) {
    s.Name("Conditioning (Concat)")
        .Category("conditioning")
        .Cheap()
        .Description("Appends the tokens of one prompt to another's.");
    s.Input<&ConditioningConcat::conditioning_to>("conditioning_to").Tooltip("The prompt to append to.");
    s.Input<&ConditioningConcat::conditioning_from>("conditioning_from").Tooltip("The prompt to append.");
    s.Output<Conditioning>("CONDITIONING");
  }
  StatusOr<Conditioning> Run(NodeContext& ctx) const {
    if (conditioning_from.entries.empty()) return InvalidArgument("conditioning_from is empty");
    if (conditioning_from.entries.size() > 1)
      ctx.Warn("conditioning_from holds several prompts, only the first is appended");
    return Guard([&] {
      Conditioning result = conditioning_to;
      for (CondEntry& entry : result.entries) entry.cond = at::cat({entry.cond, conditioning_from.entries[0].cond}, 1);
      return result;
    });
  }
};
ATELIER_REGISTER_NODE(ConditioningConcat);

struct ConditioningAverage {
  Conditioning conditioning_to, conditioning_from;
  double conditioning_to_strength = 1.0;

  static void Describe(NodeSchema<ConditioningAverage>& s) {
    s.Name("ConditioningAverage").Category("conditioning").Cheap().Description("Mixes the tokens of two prompts.");
    s.Input<&ConditioningAverage::conditioning_to>("conditioning_to").Tooltip("The prompt to change.");
    s.Input<&ConditioningAverage::conditioning_from>("conditioning_from").Tooltip("The prompt to mix in.");
    s.Input<&ConditioningAverage::conditioning_to_strength>("conditioning_to_strength")
        .Default(1.0)
        .Range(0.0, 1.0)
        .Step(0.01)
        .Tooltip("Share of the first prompt.");
    s.Output<Conditioning>("CONDITIONING");
  }
  StatusOr<Conditioning> Run(NodeContext& ctx) const {
    if (conditioning_from.entries.empty()) return InvalidArgument("conditioning_from is empty");
    if (conditioning_from.entries.size() > 1)
      ctx.Warn("conditioning_from holds several prompts, only the first is mixed in");
    return Guard([&] {
      Conditioning result = conditioning_to;
      const CondEntry& from = conditioning_from.entries[0];
      for (CondEntry& entry : result.entries) {
        const int64_t tokens = entry.cond.size(1);
        at::Tensor other = from.cond.slice(1, 0, tokens);
        if (other.size(1) < tokens) other = at::constant_pad_nd(other, {0, 0, 0, tokens - other.size(1)}, 0.0);
        entry.cond = entry.cond * conditioning_to_strength + other * (1.0 - conditioning_to_strength);
        const auto pooled_from = from.tensors.find("pooled_output");
        if (pooled_from == from.tensors.end()) continue;
        const auto pooled = entry.tensors.find("pooled_output");
        if (pooled == entry.tensors.end())
          entry.tensors["pooled_output"] = pooled_from->second;
        else
          pooled->second =
              pooled->second * conditioning_to_strength + pooled_from->second * (1.0 - conditioning_to_strength);
      }
      return result;
    });
  }
};
ATELIER_REGISTER_NODE(ConditioningAverage);

}  // namespace
}  // namespace atelier::nodes
