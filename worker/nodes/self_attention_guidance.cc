// Self-attention guidance: away from a picture blurred where the network looks. Source: arXiv 2210.00939; spec
// engine.md 8.1.
#include <cmath>
#include <memory>

#include "worker/nodes/support.h"
#include "worker/sampling/hooks.h"

namespace atelier::nodes {
namespace {

using engine::BlockCall;
using engine::CondKind;

constexpr double kThreshold = 1.0;  // attention that a place has to get

// Attention in float32, and its scores [B*heads,Tq,Tk].
std::pair<at::Tensor, at::Tensor> AttentionWithScores(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                                      int64_t heads) {
  const int64_t batch = q.size(0), width = q.size(2) / heads;
  const auto split = [&](const at::Tensor& t) {
    return t.to(at::kFloat).view({batch, -1, heads, width}).transpose(1, 2).reshape({batch * heads, -1, width});
  };
  const at::Tensor scores =
      (at::bmm(split(q), split(k).transpose(1, 2)) * std::pow(static_cast<double>(width), -0.5)).softmax(-1);
  const at::Tensor out =
      at::bmm(scores, split(v)).view({batch, heads, -1, width}).transpose(1, 2).reshape({batch, -1, heads * width});
  return {out.to(q.scalar_type()), scores};
}

at::Tensor GaussianBlur(const at::Tensor& x, double sigma) {
  if (sigma <= 0) return x;
  constexpr int64_t kSize = 9;
  const at::Tensor places = at::linspace(-(kSize - 1) * 0.5, (kSize - 1) * 0.5, kSize, x.options());
  at::Tensor line = (-0.5 * (places / sigma).square()).exp();
  line = line / line.sum();
  const int64_t channels = x.size(1);
  const at::Tensor kernel = at::mm(line.unsqueeze(1), line.unsqueeze(0)).expand({channels, 1, kSize, kSize});
  const at::Tensor padded = at::reflection_pad2d(x, {kSize / 2, kSize / 2, kSize / 2, kSize / 2});
  return at::conv2d(padded, kernel, at::Tensor(), at::IntArrayRef({1, 1}), at::IntArrayRef({0, 0}),
                    at::IntArrayRef({1, 1}), channels);
}

// Height and width of `total` places in about the aspect of height x width.
std::pair<int64_t, int64_t> ShapeOf(int64_t total, int64_t height, int64_t width) {
  const auto guess = static_cast<int64_t>(
      std::nearbyint(std::sqrt(static_cast<double>(height) / static_cast<double>(width) * static_cast<double>(total))));
  const auto reach = static_cast<int64_t>(std::sqrt(static_cast<double>(total)) / 2);
  for (int64_t i = 0; i <= reach; ++i) {
    for (const int64_t rows : {guess + i, std::max<int64_t>(1, guess - i)})
      if (total % rows == 0) return {rows, total / rows};
  }
  return {1, total};
}

at::Tensor Blurred(const at::Tensor& x, const at::Tensor& scores, double sigma) {
  const int64_t batch = x.size(0);
  at::Tensor mask = scores.reshape({batch, -1, scores.size(1), scores.size(2)}).mean(1).sum(1) > kThreshold;
  const auto [rows, columns] = ShapeOf(mask.size(-1), x.size(2), x.size(3));
  mask = at::upsample_nearest2d(mask.view({batch, 1, rows, columns}).to(x.scalar_type()), {x.size(2), x.size(3)});
  return GaussianBlur(x, sigma) * mask + x * (1 - mask);
}

struct SelfAttentionGuidance {
  Model model;
  double scale = 0.5, blur_sigma = 2.0;

  static void Describe(NodeSchema<SelfAttentionGuidance>& s) {
    s.Name("Self-Attention Guidance")
        .Category("_for_testing")
        .Cheap()
        .Description("Guides away from a picture that is blurred where the network looks.");
    s.Input<&SelfAttentionGuidance::model>("model").Tooltip("The model, a UNet.");
    s.Input<&SelfAttentionGuidance::scale>("scale").Default(0.5).Range(-2.0, 5.0).Step(0.01).Tooltip(
        "How strongly; costs one more network call a step.");
    s.Input<&SelfAttentionGuidance::blur_sigma>("blur_sigma")
        .Default(2.0)
        .Range(0.0, 10.0)
        .Step(0.1)
        .Tooltip("Width of the blur in latent pixels.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const {
    return engine::WithHook(
        model, [strength = scale, sigma = blur_sigma](const engine::HookRun&, engine::RunHooks& hooks) {
          const auto scores = std::make_shared<at::Tensor>();  // of the last call's negative part
          hooks.always_negative = true;
          hooks.network.self_replace.push_back([scores](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                                        const BlockCall& at) -> std::optional<at::Tensor> {
            if (at.part != BlockCall::Part::kMiddle || at.depth != 0) return std::nullopt;
            const auto parts = static_cast<int64_t>(at.kinds->size());
            for (int64_t i = 0; i < parts; ++i) {
              if ((*at.kinds)[static_cast<size_t>(i)] != CondKind::kNegative) continue;
              auto [out, all] = AttentionWithScores(q, k, v, at.heads);
              *scores = all.chunk(parts, 0)[static_cast<size_t>(i)];
              return out;
            }
            return std::nullopt;
          });
          hooks.after.push_back([scores, strength, sigma](const engine::GuidanceCall& call) {
            // Too small for the blur, or nothing seen.
            if (std::min(call.x.size(2), call.x.size(3)) <= 4 || !scores->defined()) return call.denoised;
            const at::Tensor degraded = Blurred(call.negative, *scores, sigma);
            const at::Tensor again =
                call.Again(*call.negative_list, CondKind::kPositive, degraded + call.x - call.negative, call.network());
            return call.denoised + (degraded - again) * strength;
          });
          return OkStatus();
        });
  }
};
ATELIER_REGISTER_NODE(SelfAttentionGuidance);

}  // namespace
}  // namespace atelier::nodes
