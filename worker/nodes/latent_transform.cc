// Parts, turns and joins of latents. Source: spec engine.md 12.3, 12.4 (nodes, nodes_latent), golden latent_ops.
#include <algorithm>

#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

// Moves the dimension that a choice like "x", "-y" or "t" names.
StatusOr<int64_t> DimensionOf(const std::string& choice, const at::Tensor& samples) {
  const char axis = choice.back();
  const int64_t from_end = axis == 'x' ? 1 : axis == 'y' ? 2 : 3;
  if (axis == 't' && samples.dim() < 5)
    return InvalidArgument("dim is \"", choice, "\", but the latent has no frames; choose x or y");
  return samples.dim() - from_end;
}

struct LatentCrop {
  Latent samples;
  int64_t width = 512;
  int64_t height = 512;
  int64_t x = 0;
  int64_t y = 0;

  static void Describe(NodeSchema<LatentCrop>& s) {
    s.Name("Crop Latent").Category("latent/transform").Description("Cuts a rectangle out of a latent.");
    s.Input<&LatentCrop::samples>("samples").Tooltip("The latents.");
    s.Input<&LatentCrop::width>("width").Default(512).Range(64, 16384).Step(8).Tooltip("Width of the part in pixels.");
    s.Input<&LatentCrop::height>("height").Default(512).Range(64, 16384).Step(8).Tooltip(
        "Height of the part in pixels.");
    s.Input<&LatentCrop::x>("x").Default(0).Range(0, 16384).Step(8).Tooltip("Columns from the left.");
    s.Input<&LatentCrop::y>("y").Default(0).Range(0, 16384).Step(8).Tooltip("Rows from the top.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSamples("samples", samples));
    return Guard([&]() -> StatusOr<Latent> {
      const at::Tensor& s = samples.samples;
      // At least 64 pixels are left of the latent behind the corner.
      const int64_t left = std::max<int64_t>(0, std::min(x / kPixelsPerLatent, s.size(-1) - 8));
      const int64_t top = std::max<int64_t>(0, std::min(y / kPixelsPerLatent, s.size(-2) - 8));
      Latent result = samples;
      result.samples = s.slice(-2, top, top + height / kPixelsPerLatent)
                           .slice(-1, left, left + width / kPixelsPerLatent)
                           .contiguous();
      return result;
    });
  }
};
ATELIER_REGISTER_NODE(LatentCrop);

struct LatentFlip {
  Latent samples;
  std::string flip_method = "x-axis: vertically";

  static void Describe(NodeSchema<LatentFlip>& s) {
    s.Name("Flip Latent").Category("latent/transform").Description("Mirrors a latent.");
    s.Input<&LatentFlip::samples>("samples").Tooltip("The latents.");
    s.Input<&LatentFlip::flip_method>("flip_method")
        .OneOf({"x-axis: vertically", "y-axis: horizontally"})
        .Tooltip("Which way to mirror.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSamples("samples", samples));
    return Guard([&] {
      Latent result = samples;
      result.samples = samples.samples.flip({flip_method.rfind("x-axis", 0) == 0 ? -2 : -1}).contiguous();
      return result;
    });
  }
};
ATELIER_REGISTER_NODE(LatentFlip);

struct LatentRotate {
  Latent samples;
  std::string rotation = "none";

  static void Describe(NodeSchema<LatentRotate>& s) {
    s.Name("Rotate Latent").Category("latent/transform").Description("Turns a latent clockwise.");
    s.Input<&LatentRotate::samples>("samples").Tooltip("The latents.");
    s.Input<&LatentRotate::rotation>("rotation")
        .OneOf({"none", "90 degrees", "180 degrees", "270 degrees"})
        .Tooltip("How far, clockwise.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSamples("samples", samples));
    return Guard([&] {
      const int64_t quarters = rotation[0] == '9' ? 1 : rotation[0] == '1' ? 2 : rotation[0] == '2' ? 3 : 0;
      Latent result = samples;
      result.samples = samples.samples.rot90(quarters, {-1, -2}).contiguous();
      return result;
    });
  }
};
ATELIER_REGISTER_NODE(LatentRotate);

struct LatentConcat {
  Latent samples1;
  Latent samples2;
  std::string dim = "x";

  static void Describe(NodeSchema<LatentConcat>& s) {
    s.Name("LatentConcat").Category("latent/advanced").Description("Puts two latents beside each other.");
    s.Input<&LatentConcat::samples1>("samples1").Tooltip("The first latents.");
    s.Input<&LatentConcat::samples2>("samples2").Tooltip("The second latents, brought to the size of the first.");
    s.Input<&LatentConcat::dim>("dim")
        .OneOf({"x", "-x", "y", "-y", "t", "-t"})
        .Tooltip("The direction; - puts the second one first.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSamples("samples1", samples1));
    RETURN_IF_ERROR(CheckSamples("samples2", samples2));
    ASSIGN_OR_RETURN(const int64_t axis, DimensionOf(dim, samples1.samples));
    return Guard([&]() -> StatusOr<Latent> {
      const at::Tensor& first = samples1.samples;
      const at::Tensor second = RepeatToBatch(samples2.samples, first.size(0));
      for (int64_t i = 0; i < first.dim(); ++i)
        if (second.dim() != first.dim() || (i != axis && second.size(i) != first.size(i)))
          return InvalidArgument("samples2 is ", ShapeText(second.sizes()), ", samples1 ", ShapeText(first.sizes()),
                                 ", expected sizes that differ only along ", dim);
      Latent result = samples1;
      result.samples = dim[0] == '-' ? at::cat({second, first}, axis) : at::cat({first, second}, axis);
      return result;
    });
  }
};
ATELIER_REGISTER_NODE(LatentConcat);

struct LatentCut {
  Latent samples;
  std::string dim = "x";
  int64_t index = 0;
  int64_t amount = 1;

  static void Describe(NodeSchema<LatentCut>& s) {
    s.Name("LatentCut").Category("latent/advanced").Description("Takes a part of a latent along one direction.");
    s.Input<&LatentCut::samples>("samples").Tooltip("The latents.");
    s.Input<&LatentCut::dim>("dim").OneOf({"x", "y", "t"}).Tooltip("The direction.");
    s.Input<&LatentCut::index>("index")
        .Default(0)
        .Range(-16384, 16384)
        .Step(1)
        .Tooltip("Where the part begins, in latent pixels or frames; below 0 counts from the end.");
    s.Input<&LatentCut::amount>("amount").Default(1).Range(1, 16384).Step(1).Tooltip(
        "How many latent pixels or frames.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSamples("samples", samples));
    ASSIGN_OR_RETURN(const int64_t axis, DimensionOf(dim, samples.samples));
    return Guard([&] {
      const int64_t size = samples.samples.size(axis);
      const int64_t start = index >= 0 ? std::min(index, size - 1) : std::max(index, -size);
      const int64_t count = std::min(amount, start >= 0 ? size - start : -start);
      Latent result = samples;
      result.samples = samples.samples.narrow(axis, start >= 0 ? start : size + start, count).clone();
      return result;
    });
  }
};
ATELIER_REGISTER_NODE(LatentCut);

}  // namespace
}  // namespace atelier::nodes
