// Arithmetic of latents. Source: spec engine.md 12.4 (nodes_latent, nodes), golden latent_ops.
#include "worker/nodes/resize.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

// The second latent as large as the first, with as many items.
StatusOr<at::Tensor> Fit(const Latent& first, const Latent& second, const std::string& method) {
  RETURN_IF_ERROR(CheckSamples("samples1", first));
  RETURN_IF_ERROR(CheckSamples("samples2", second));
  const at::Tensor &a = first.samples, &b = second.samples;
  if (a.dim() != b.dim() || a.size(1) != b.size(1))
    return InvalidArgument("samples2 is ", ShapeText(b.sizes()), ", which does not go with samples1 of ",
                           ShapeText(a.sizes()));
  at::Tensor sized = b;
  if (a.size(-1) != b.size(-1) || a.size(-2) != b.size(-2)) {
    ASSIGN_OR_RETURN(sized, ResizeSamples(b, a.size(-1), a.size(-2), method, "center"));
  }
  return RepeatToBatch(sized, a.size(0));
}

Latent With(const Latent& latent, at::Tensor samples) {
  Latent result = latent;
  result.samples = std::move(samples);
  return result;
}

struct LatentAdd {
  Latent samples1;
  Latent samples2;

  static void Describe(NodeSchema<LatentAdd>& s) {
    s.Name("LatentAdd").Category("latent/advanced").Description("Adds two latents.");
    s.Input<&LatentAdd::samples1>("samples1").Tooltip("The first latents.");
    s.Input<&LatentAdd::samples2>("samples2").Tooltip("The second latents, brought to the size of the first.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    ASSIGN_OR_RETURN(const at::Tensor other, Fit(samples1, samples2, "bilinear"));
    return Guard([&] { return With(samples1, samples1.samples + other); });
  }
};
ATELIER_REGISTER_NODE(LatentAdd);

struct LatentSubtract {
  Latent samples1;
  Latent samples2;

  static void Describe(NodeSchema<LatentSubtract>& s) {
    s.Name("LatentSubtract").Category("latent/advanced").Description("Takes one latent from another.");
    s.Input<&LatentSubtract::samples1>("samples1").Tooltip("The first latents.");
    s.Input<&LatentSubtract::samples2>("samples2").Tooltip("The second latents, brought to the size of the first.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    ASSIGN_OR_RETURN(const at::Tensor other, Fit(samples1, samples2, "bilinear"));
    return Guard([&] { return With(samples1, samples1.samples - other); });
  }
};
ATELIER_REGISTER_NODE(LatentSubtract);

struct LatentMultiply {
  Latent samples;
  double multiplier = 1.0;

  static void Describe(NodeSchema<LatentMultiply>& s) {
    s.Name("LatentMultiply").Category("latent/advanced").Description("Multiplies a latent by a number.");
    s.Input<&LatentMultiply::samples>("samples").Tooltip("The latents.");
    s.Input<&LatentMultiply::multiplier>("multiplier")
        .Default(1.0)
        .Range(-10.0, 10.0)
        .Step(0.01)
        .Tooltip("The factor.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSamples("samples", samples));
    return Guard([&] { return With(samples, samples.samples * multiplier); });
  }
};
ATELIER_REGISTER_NODE(LatentMultiply);

struct LatentInterpolate {
  Latent samples1;
  Latent samples2;
  double ratio = 1.0;

  static void Describe(NodeSchema<LatentInterpolate>& s) {
    s.Name("LatentInterpolate")
        .Category("latent/advanced")
        .Description("Mixes the directions of two latents, and their lengths.");
    s.Input<&LatentInterpolate::samples1>("samples1").Tooltip("The first latents.");
    s.Input<&LatentInterpolate::samples2>("samples2").Tooltip("The second latents, brought to the size of the first.");
    s.Input<&LatentInterpolate::ratio>("ratio").Default(1.0).Range(0.0, 1.0).Step(0.01).Tooltip(
        "Share of the first; 1 is the first alone.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    ASSIGN_OR_RETURN(const at::Tensor other, Fit(samples1, samples2, "bilinear"));
    return Guard([&] {
      const at::Tensor length1 = samples1.samples.norm(2, {1}, true), length2 = other.norm(2, {1}, true);
      const at::Tensor unit1 = (samples1.samples / length1).nan_to_num(), unit2 = (other / length2).nan_to_num();
      const at::Tensor mixed = unit1 * ratio + unit2 * (1.0 - ratio);
      const at::Tensor unit = (mixed / mixed.norm(2, {1}, true)).nan_to_num();
      return With(samples1, unit * (length1 * ratio + length2 * (1.0 - ratio)));
    });
  }
};
ATELIER_REGISTER_NODE(LatentInterpolate);

struct LatentBlend {
  Latent samples1;
  Latent samples2;
  double blend_factor = 0.5;

  static void Describe(NodeSchema<LatentBlend>& s) {
    s.Name("Latent Blend").Category("_for_testing").Description("Mixes two latents.");
    s.Input<&LatentBlend::samples1>("samples1").Tooltip("The first latents.");
    s.Input<&LatentBlend::samples2>("samples2").Tooltip("The second latents, brought to the size of the first.");
    s.Input<&LatentBlend::blend_factor>("blend_factor")
        .Default(0.5)
        .Range(0, 1)
        .Step(0.01)
        .Tooltip("Share of the first; 1 is the first alone.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    ASSIGN_OR_RETURN(const at::Tensor other, Fit(samples1, samples2, "bicubic"));
    return Guard([&] { return With(samples1, samples1.samples * blend_factor + other * (1.0 - blend_factor)); });
  }
};
ATELIER_REGISTER_NODE(LatentBlend);

}  // namespace
}  // namespace atelier::nodes
