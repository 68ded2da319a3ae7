// Tone mapping and sharpening of latents. Source: spec engine.md 12.3, 12.4 (nodes_latent).
#include "worker/nodes/latent_operation.h"

#include "worker/nodes/gaussian.h"
#include "worker/nodes/support.h"
#include "worker/sampling/hooks.h"

namespace atelier::nodes {
namespace {

at::Tensor Tonemap(const at::Tensor& latent, double multiplier) {
  at::Tensor length = latent.norm(2, {1}, true) + 1e-10;
  const at::Tensor unit = latent / length;
  std::vector<int64_t> dims;
  for (int64_t i = 1; i < latent.dim(); ++i) dims.push_back(i);
  const at::Tensor top = (length.std(dims, true, true) * 5 + length.mean(dims, true)) * multiplier;
  length = length * (1.0 / top);
  return unit * (length / (length + 1.0) * top);
}

at::Tensor Sharpen(const at::Tensor& latent, int64_t radius, double sigma, double alpha) {
  const at::Tensor length = latent.norm(2, {1}, true) + 1e-6;
  const int64_t channels = latent.size(1);
  const at::Tensor kernel =
      SharpenKernel(2 * radius + 1, sigma, alpha * 10).to(latent.options()).repeat({channels, 1, 1}).unsqueeze(1);
  const at::Tensor padded = at::reflection_pad2d(latent / length, {radius, radius, radius, radius});
  const at::Tensor sharpened = at::conv2d(padded, kernel, at::Tensor(), at::IntArrayRef({1, 1}),
                                          at::IntArrayRef({0, 0}), at::IntArrayRef({1, 1}), channels);
  return length * sharpened;
}

struct LatentOperationTonemapReinhard {
  double multiplier = 1.0;

  static void Describe(NodeSchema<LatentOperationTonemapReinhard>& s) {
    s.Name("LatentOperationTonemapReinhard")
        .Category("latent/advanced/operations")
        .Cheap()
        .Description("Tames high contrast: values far above the average are pressed together.");
    s.Input<&LatentOperationTonemapReinhard::multiplier>("multiplier")
        .Default(1.0)
        .Range(0.0, 100.0)
        .Step(0.01)
        .Tooltip("How high the ceiling is.");
    s.Output<LatentOperation>("LATENT_OPERATION");
  }
  StatusOr<LatentOperation> Run(NodeContext&) const {
    const double height = multiplier;
    return LatentOperation{[height](const at::Tensor& latent) { return Tonemap(latent, height); }};
  }
};
ATELIER_REGISTER_NODE(LatentOperationTonemapReinhard);

struct LatentOperationSharpen {
  int64_t sharpen_radius = 9;
  double sigma = 1.0;
  double alpha = 0.1;

  static void Describe(NodeSchema<LatentOperationSharpen>& s) {
    s.Name("LatentOperationSharpen").Category("latent/advanced/operations").Cheap().Description("Sharpens a latent.");
    s.Input<&LatentOperationSharpen::sharpen_radius>("sharpen_radius")
        .Default(9)
        .Range(1, 31)
        .Step(1)
        .Tooltip("How many latent pixels around count.");
    s.Input<&LatentOperationSharpen::sigma>("sigma").Default(1.0).Range(0.1, 10.0).Step(0.1).Tooltip(
        "How evenly they count, relative to the radius.");
    s.Input<&LatentOperationSharpen::alpha>("alpha").Default(0.1).Range(0.0, 5.0).Step(0.01).Tooltip("How strongly.");
    s.Output<LatentOperation>("LATENT_OPERATION");
  }
  StatusOr<LatentOperation> Run(NodeContext&) const {
    return LatentOperation{[radius = sharpen_radius, s = sigma, a = alpha](const at::Tensor& latent) {
      return Sharpen(latent, radius, s, a);
    }};
  }
};
ATELIER_REGISTER_NODE(LatentOperationSharpen);

struct LatentApplyOperation {
  Latent samples;
  LatentOperation operation;

  static void Describe(NodeSchema<LatentApplyOperation>& s) {
    s.Name("LatentApplyOperation")
        .Category("latent/advanced/operations")
        .Description("Applies an operation to a latent.");
    s.Input<&LatentApplyOperation::samples>("samples").Tooltip("The latents.");
    s.Input<&LatentApplyOperation::operation>("operation").Tooltip("What to do.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSamples("samples", samples));
    return Guard([&] {
      Latent result = samples;
      result.samples = operation.apply(samples.samples).contiguous();
      return result;
    });
  }
};
ATELIER_REGISTER_NODE(LatentApplyOperation);

struct LatentApplyOperationCFG {
  Model model;
  LatentOperation operation;

  static void Describe(NodeSchema<LatentApplyOperationCFG>& s) {
    s.Name("LatentApplyOperationCFG")
        .Category("latent/advanced/operations")
        .Cheap()
        .Description("Applies an operation to guidance at every step.");
    s.Input<&LatentApplyOperationCFG::model>("model").Tooltip("The model.");
    s.Input<&LatentApplyOperationCFG::operation>("operation").Tooltip("What to do.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const {
    return engine::WithPreGuidance(model, [apply = operation.apply](engine::GuidanceCall& call) {
      call.positive = apply(call.positive - call.negative) + call.negative;
    });
  }
};
ATELIER_REGISTER_NODE(LatentApplyOperationCFG);

}  // namespace
}  // namespace atelier::nodes
