// Factors on the weights of attention layers. Source: spec engine.md 12.4 (nodes_attention_multiply).
#include <utility>

#include "worker/models/adapter.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

using Factors = std::vector<std::pair<std::string, double>>;  // by what a layer's name ends with

// Weight and bias of every layer in `source` whose name ends so, times the factor.
engine::WeightPatches Scaled(const engine::WeightSource& source, const Factors& factors) {
  engine::WeightPatches patches;
  for (const auto& [name, tensor] : source.tensors()) {
    for (const auto& [layer, factor] : factors) {
      if (!name.ends_with(layer + ".weight") && !name.ends_with(layer + ".bias")) continue;
      patches[name].push_back([f = factor](const at::Tensor& weight) { return weight * f; });
    }
  }
  return patches;
}

StatusOr<Model> ScaledModel(const Model& model, const std::string& layer, double q, double k, double v, double out) {
  const Factors factors = {
      {layer + ".to_q", q}, {layer + ".to_k", k}, {layer + ".to_v", v}, {layer + ".to_out.0", out}};
  return models::WithPatches(model, Scaled(model.weights, factors),
                             Cat("attention ", layer, " ", q, " ", k, " ", v, " ", out));
}

template <typename Node>
void DescribeFactors(NodeSchema<Node>& s) {
  s.template Input<&Node::q>("q").Default(1.0).Range(0.0, 10.0).Step(0.01).Tooltip("Factor on queries.");
  s.template Input<&Node::k>("k").Default(1.0).Range(0.0, 10.0).Step(0.01).Tooltip("Factor on keys.");
  s.template Input<&Node::v>("v").Default(1.0).Range(0.0, 10.0).Step(0.01).Tooltip("Factor on values.");
  s.template Input<&Node::out>("out").Default(1.0).Range(0.0, 10.0).Step(0.01).Tooltip("Factor on the result.");
}

struct UNetSelfAttentionMultiply {
  Model model;
  double q = 1.0, k = 1.0, v = 1.0, out = 1.0;

  static void Describe(NodeSchema<UNetSelfAttentionMultiply>& s) {
    s.Category("_for_testing/attention_experiments").Cheap().Description("Scales the self-attention of a UNet.");
    s.Input<&UNetSelfAttentionMultiply::model>("model").Tooltip("The model.");
    DescribeFactors(s);
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const { return ScaledModel(model, "attn1", q, k, v, out); }
};
ATELIER_REGISTER_NODE(UNetSelfAttentionMultiply);

struct UNetCrossAttentionMultiply {
  Model model;
  double q = 1.0, k = 1.0, v = 1.0, out = 1.0;

  static void Describe(NodeSchema<UNetCrossAttentionMultiply>& s) {
    s.Category("_for_testing/attention_experiments").Cheap().Description("Scales the cross-attention of a UNet.");
    s.Input<&UNetCrossAttentionMultiply::model>("model").Tooltip("The model.");
    DescribeFactors(s);
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const { return ScaledModel(model, "attn2", q, k, v, out); }
};
ATELIER_REGISTER_NODE(UNetCrossAttentionMultiply);

struct CLIPAttentionMultiply {
  Clip clip;
  double q = 1.0, k = 1.0, v = 1.0, out = 1.0;

  static void Describe(NodeSchema<CLIPAttentionMultiply>& s) {
    s.Category("_for_testing/attention_experiments").Cheap().Description("Scales the attention of text encoders.");
    s.Input<&CLIPAttentionMultiply::clip>("clip").Tooltip("The text encoder.");
    DescribeFactors(s);
    s.Output<Clip>("CLIP");
  }
  StatusOr<Clip> Run(NodeContext&) const {
    if (clip.encoder == nullptr) return InvalidArgument("there is no text encoder: the checkpoint has none");
    const Factors factors = {
        {"self_attn.q_proj", q}, {"self_attn.k_proj", k}, {"self_attn.v_proj", v}, {"self_attn.out_proj", out}};
    return models::WithPatches(clip, Scaled(clip.encoder->weights(), factors),
                               Cat("attention ", q, " ", k, " ", v, " ", out));
  }
};
ATELIER_REGISTER_NODE(CLIPAttentionMultiply);

struct UNetTemporalAttentionMultiply {
  Model model;
  double self_structural = 1.0, self_temporal = 1.0, cross_structural = 1.0, cross_temporal = 1.0;

  static void Describe(NodeSchema<UNetTemporalAttentionMultiply>& s) {
    s.Category("_for_testing/attention_experiments")
        .Cheap()
        .Description("Scales attention within frames and between them.");
    using N = UNetTemporalAttentionMultiply;
    s.Input<&N::model>("model").Tooltip("The model.");
    s.Input<&N::self_structural>("self_structural")
        .Default(1.0)
        .Range(0.0, 10.0)
        .Step(0.01)
        .Tooltip("Self-attention within frames.");
    s.Input<&N::self_temporal>("self_temporal")
        .Default(1.0)
        .Range(0.0, 10.0)
        .Step(0.01)
        .Tooltip("Self-attention between frames.");
    s.Input<&N::cross_structural>("cross_structural")
        .Default(1.0)
        .Range(0.0, 10.0)
        .Step(0.01)
        .Tooltip("Cross-attention within frames.");
    s.Input<&N::cross_temporal>("cross_temporal")
        .Default(1.0)
        .Range(0.0, 10.0)
        .Step(0.01)
        .Tooltip("Cross-attention between frames.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const {
    engine::WeightPatches patches;
    for (const auto& [name, tensor] : model.weights.tensors()) {
      const bool self = name.find(".attn1.to_out.0.") != std::string::npos;
      if (!self && name.find(".attn2.to_out.0.") == std::string::npos) continue;
      const bool temporal = name.find(".time_stack.") != std::string::npos;
      const double factor =
          self ? (temporal ? self_temporal : self_structural) : (temporal ? cross_temporal : cross_structural);
      patches[name].push_back([factor](const at::Tensor& weight) { return weight * factor; });
    }
    return models::WithPatches(
        model, patches,
        Cat("temporal attention ", self_structural, " ", self_temporal, " ", cross_structural, " ", cross_temporal));
  }
};
ATELIER_REGISTER_NODE(UNetTemporalAttentionMultiply);

}  // namespace
}  // namespace atelier::nodes
