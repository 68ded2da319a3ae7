// FreeU: stronger backbone features and damped low frequencies of skip tensors in a UNet's upper half. Source: the
// papers (arXiv 2309.11497); spec engine.md 8.1.
#include "worker/nodes/support.h"
#include "worker/sampling/hooks.h"

namespace atelier::nodes {
namespace {

// The lowest frequencies of [B,C,h,w] times `scale`.
at::Tensor ScaleLow(const at::Tensor& x, double scale) {
  at::Tensor spectrum = at::fft_fftshift(at::fft_fftn(x.to(at::kFloat), at::nullopt, at::IntArrayRef({-2, -1})),
                                         at::IntArrayRef({-2, -1}));
  at::Tensor mask = at::ones(x.sizes(), at::TensorOptions(x.device()).dtype(at::kFloat));
  at::Tensor low = mask;
  for (const int64_t dim : {2, 3}) {
    const int64_t size = x.size(dim);
    low = low.narrow(dim, std::max<int64_t>(0, size / 2 - 1), std::min<int64_t>(2, size));
  }
  low.fill_(scale);
  spectrum = at::fft_ifftshift(spectrum * mask, at::IntArrayRef({-2, -1}));
  return at::real(at::fft_ifftn(spectrum, at::nullopt, at::IntArrayRef({-2, -1}))).to(x.scalar_type());
}

// The deviation of each place from the channels' mean, 0..1 over the item.
at::Tensor Relief(const at::Tensor& state) {
  const at::Tensor mean = state.mean(1, true);
  const at::Tensor flat = mean.reshape({mean.size(0), -1});
  const at::Tensor high = std::get<0>(flat.max(-1, true)).view({-1, 1, 1, 1});
  const at::Tensor low = std::get<0>(flat.min(-1, true)).view({-1, 1, 1, 1});
  return (mean - low) / (high - low);
}

StatusOr<Model> Patched(const Model& model, double b1, double b2, double s1, double s2, bool second) {
  const int64_t channels = model.weights.Dim("input_blocks.0.0.weight", 0);
  if (channels == 0) return InvalidArgument("FreeU works on UNets, and this model (", model.family, ") is none");
  return engine::WithNetworkHook(model, [=](engine::NetworkHooks& hooks) {
    hooks.output_blocks.push_back([=](at::Tensor& state, at::Tensor& skip, const engine::BlockCall&) {
      const int64_t width = state.size(1);
      if (width != channels * 4 && width != channels * 2) return;
      const bool deep = width == channels * 4;
      const double b = deep ? b1 : b2;
      state = state.clone();
      at::Tensor half = state.narrow(1, 0, width / 2);
      if (second) {
        half.mul_((b - 1) * Relief(state) + 1);
      } else {
        half.mul_(b);
      }
      skip = ScaleLow(skip, deep ? s1 : s2);
    });
  });
}

struct FreeU {
  Model model;
  double b1 = 1.1, b2 = 1.2, s1 = 0.9, s2 = 0.2;

  static void Describe(NodeSchema<FreeU>& s) {
    s.Name("FreeU")
        .Category("model_patches/unet")
        .Cheap()
        .Description("Rebalances a UNet's features, for cleaner pictures without training.");
    s.Input<&FreeU::model>("model").Tooltip("The model.");
    s.Input<&FreeU::b1>("b1").Default(1.1).Range(0.0, 10.0).Step(0.01).Tooltip("Features of the deepest level.");
    s.Input<&FreeU::b2>("b2").Default(1.2).Range(0.0, 10.0).Step(0.01).Tooltip("Features of the level above.");
    s.Input<&FreeU::s1>("s1").Default(0.9).Range(0.0, 10.0).Step(0.01).Tooltip("Skip tensors of the deepest level.");
    s.Input<&FreeU::s2>("s2").Default(0.2).Range(0.0, 10.0).Step(0.01).Tooltip("Skip tensors of the level above.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const { return Patched(model, b1, b2, s1, s2, false); }
};
ATELIER_REGISTER_NODE(FreeU);

struct FreeU_V2 {
  Model model;
  double b1 = 1.3, b2 = 1.4, s1 = 0.9, s2 = 0.2;

  static void Describe(NodeSchema<FreeU_V2>& s) {
    s.Name("FreeU_V2")
        .Category("model_patches/unet")
        .Cheap()
        .Description("FreeU with the strength following the features' own relief.");
    s.Input<&FreeU_V2::model>("model").Tooltip("The model.");
    s.Input<&FreeU_V2::b1>("b1").Default(1.3).Range(0.0, 10.0).Step(0.01).Tooltip("Features of the deepest level.");
    s.Input<&FreeU_V2::b2>("b2").Default(1.4).Range(0.0, 10.0).Step(0.01).Tooltip("Features of the level above.");
    s.Input<&FreeU_V2::s1>("s1").Default(0.9).Range(0.0, 10.0).Step(0.01).Tooltip("Skip tensors of the deepest level.");
    s.Input<&FreeU_V2::s2>("s2").Default(0.2).Range(0.0, 10.0).Step(0.01).Tooltip("Skip tensors of the level above.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const { return Patched(model, b1, b2, s1, s2, true); }
};
ATELIER_REGISTER_NODE(FreeU_V2);

}  // namespace
}  // namespace atelier::nodes
