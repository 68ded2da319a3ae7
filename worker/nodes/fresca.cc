// FreSca: guidance scaled apart for low and high frequencies. Source: arXiv 2504.02154; spec engine.md 12.4.
#include "worker/nodes/support.h"
#include "worker/sampling/hooks.h"

namespace atelier::nodes {
namespace {

at::Tensor Scaled(const at::Tensor& x, double low, double high, int64_t cutoff) {
  const std::vector<int64_t> dims = {-2, -1};
  at::Tensor spectrum = at::fft_fftshift(at::fft_fftn(x.to(at::kFloat), at::nullopt, dims), dims);
  at::Tensor mask = at::full(x.sizes(), high, at::TensorOptions(x.device()).dtype(at::kFloat));
  at::Tensor centre = mask;
  for (const int64_t dim : {x.dim() - 2, x.dim() - 1}) {
    const int64_t middle = x.size(dim) / 2, reach = std::min(cutoff, middle);
    centre = centre.narrow(dim, middle - reach, std::min(x.size(dim), middle + cutoff) - (middle - reach));
  }
  centre.fill_(low);
  spectrum = at::fft_ifftshift(spectrum * mask, dims);
  return at::real(at::fft_ifftn(spectrum, at::nullopt, dims)).to(x.scalar_type());
}

struct FreSca {
  Model model;
  double scale_low = 1.0, scale_high = 1.25;
  int64_t freq_cutoff = 20;

  static void Describe(NodeSchema<FreSca>& s) {
    s.Name("FreSca")
        .Category("_for_testing")
        .Cheap()
        .Description("Scales guidance apart for coarse and fine structure.");
    s.Input<&FreSca::model>("model").Tooltip("The model.");
    s.Input<&FreSca::scale_low>("scale_low").Default(1.0).Range(0.0, 10.0).Step(0.01).Tooltip("For low frequencies.");
    s.Input<&FreSca::scale_high>("scale_high")
        .Default(1.25)
        .Range(0.0, 10.0)
        .Step(0.01)
        .Tooltip("For high frequencies.");
    s.Input<&FreSca::freq_cutoff>("freq_cutoff")
        .Default(20)
        .Range(1, 10000)
        .Step(1)
        .Tooltip("How many frequencies around zero are low ones.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const {
    return engine::WithPreGuidance(
        model, [low = scale_low, high = scale_high, cutoff = freq_cutoff](engine::GuidanceCall& call) {
          call.positive = Scaled(call.positive - call.negative, low, high, cutoff) + call.negative;
        });
  }
};
ATELIER_REGISTER_NODE(FreSca);

}  // namespace
}  // namespace atelier::nodes
