// Shapes and arithmetic of masks. Source: spec engine.md 11.2, golden mask_ops.
#include <algorithm>

#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

// The mask as f32 [B,H,W], a copy of its own.
at::Tensor Batch(const Mask& mask) {
  return mask.values.reshape({-1, mask.values.size(-2), mask.values.size(-1)}).clone();
}

struct CropMask {
  Mask mask;
  int64_t x = 0;
  int64_t y = 0;
  int64_t width = 512;
  int64_t height = 512;

  static void Describe(NodeSchema<CropMask>& s) {
    s.Name("CropMask").Category("mask").Description("Cuts a rectangle out of a mask.");
    s.Input<&CropMask::mask>("mask").Tooltip("The mask; 1 marks the part that counts.");
    s.Input<&CropMask::x>("x").Default(0).Range(0, 16384).Step(1).Tooltip("Columns from the left.");
    s.Input<&CropMask::y>("y").Default(0).Range(0, 16384).Step(1).Tooltip("Rows from the top.");
    s.Input<&CropMask::width>("width").Default(512).Range(1, 16384).Step(1).Tooltip("Width of the part in pixels.");
    s.Input<&CropMask::height>("height").Default(512).Range(1, 16384).Step(1).Tooltip("Height of the part in pixels.");
    s.Output<Mask>("MASK");
  }
  StatusOr<Mask> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckMask("mask", mask));
    return Guard([&]() -> StatusOr<Mask> {
      const at::Tensor part = Batch(mask).slice(1, y, y + height).slice(2, x, x + width).contiguous();
      if (part.numel() == 0)
        return InvalidArgument("the corner ", x, ",", y, " lies outside the mask of ", mask.values.size(-1), "x",
                               mask.values.size(-2));
      return Mask{part};
    });
  }
};
ATELIER_REGISTER_NODE(CropMask);

struct MaskComposite {
  Mask destination;
  Mask source;
  int64_t x = 0;
  int64_t y = 0;
  std::string operation = "multiply";

  static void Describe(NodeSchema<MaskComposite>& s) {
    s.Name("MaskComposite").Category("mask").Description("Combines two masks where the second one lies.");
    s.Input<&MaskComposite::destination>("destination").Tooltip("The mask to change.");
    s.Input<&MaskComposite::source>("source").Tooltip("The mask to apply.");
    s.Input<&MaskComposite::x>("x").Default(0).Range(0, 16384).Step(1).Tooltip("Columns from the left.");
    s.Input<&MaskComposite::y>("y").Default(0).Range(0, 16384).Step(1).Tooltip("Rows from the top.");
    s.Input<&MaskComposite::operation>("operation")
        .OneOf({"multiply", "add", "subtract", "and", "or", "xor"})
        .Tooltip("How values meet; and, or and xor round them to 0 or 1.");
    s.Output<Mask>("MASK");
  }
  StatusOr<Mask> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckMask("destination", destination));
    RETURN_IF_ERROR(CheckMask("source", source));
    return Guard([&]() -> StatusOr<Mask> {
      at::Tensor result = Batch(destination);
      const at::Tensor from = Batch(source);
      const int64_t width = std::min(from.size(2), result.size(2) - x);
      const int64_t height = std::min(from.size(1), result.size(1) - y);
      if (width > 0 && height > 0) {
        const at::Tensor a = result.narrow(1, y, height).narrow(2, x, width);
        const at::Tensor b = RepeatToBatch(from, result.size(0)).slice(1, 0, height).slice(2, 0, width);
        auto bits = [](const at::Tensor& t) { return t.round().to(at::kBool); };
        at::Tensor value;
        if (operation == "multiply")
          value = a * b;
        else if (operation == "add")
          value = a + b;
        else if (operation == "subtract")
          value = a - b;
        else if (operation == "and")
          value = bits(a).logical_and(bits(b)).to(at::kFloat);
        else if (operation == "or")
          value = bits(a).logical_or(bits(b)).to(at::kFloat);
        else
          value = bits(a).logical_xor(bits(b)).to(at::kFloat);
        a.copy_(value);
      }
      return Mask{result.clamp(0.0, 1.0)};
    });
  }
};
ATELIER_REGISTER_NODE(MaskComposite);

struct FeatherMask {
  Mask mask;
  int64_t left = 0;
  int64_t top = 0;
  int64_t right = 0;
  int64_t bottom = 0;

  static void Describe(NodeSchema<FeatherMask>& s) {
    s.Name("FeatherMask").Category("mask").Description("Fades a mask out towards its borders.");
    s.Input<&FeatherMask::mask>("mask").Tooltip("The mask; 1 marks the part that counts.");
    s.Input<&FeatherMask::left>("left").Default(0).Range(0, 16384).Step(1).Tooltip("Columns to fade on the left.");
    s.Input<&FeatherMask::top>("top").Default(0).Range(0, 16384).Step(1).Tooltip("Rows to fade at the top.");
    s.Input<&FeatherMask::right>("right").Default(0).Range(0, 16384).Step(1).Tooltip("Columns to fade on the right.");
    s.Input<&FeatherMask::bottom>("bottom").Default(0).Range(0, 16384).Step(1).Tooltip("Rows to fade at the bottom.");
    s.Output<Mask>("MASK");
  }
  StatusOr<Mask> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckMask("mask", mask));
    return Guard([&] {
      at::Tensor result = Batch(mask);
      const int64_t width = result.size(2), height = result.size(1);
      auto fade = [&result](int64_t dim, int64_t index, int64_t i, int64_t count) {
        result.select(dim, index).mul_((static_cast<double>(i) + 1.0) / static_cast<double>(count));
      };
      const int64_t l = std::min(left, width), r = std::min(right, width);
      const int64_t t = std::min(top, height), b = std::min(bottom, height);
      for (int64_t i = 0; i < l; ++i) fade(2, i, i, l);
      // The reference counts these from 0, so its first one falls on the opposite border; kept.
      for (int64_t i = 0; i < r; ++i) fade(2, i == 0 ? 0 : width - i, i, r);
      for (int64_t i = 0; i < t; ++i) fade(1, i, i, t);
      for (int64_t i = 0; i < b; ++i) fade(1, i == 0 ? 0 : height - i, i, b);
      return Mask{result};
    });
  }
};
ATELIER_REGISTER_NODE(FeatherMask);

// One step of growing: the largest of each value's neighbours, without the corners when they are tapered.
at::Tensor Dilate(const at::Tensor& mask, bool tapered) {
  const at::Tensor rows = at::max_pool2d(mask, {1, 3}, {1, 1}, {0, 1});
  if (!tapered) return at::max_pool2d(rows, {3, 1}, {1, 1}, {1, 0});
  return at::maximum(rows, at::max_pool2d(mask, {3, 1}, {1, 1}, {1, 0}));
}

struct GrowMask {
  Mask mask;
  int64_t expand = 0;
  bool tapered_corners = true;

  static void Describe(NodeSchema<GrowMask>& s) {
    s.Name("GrowMask").Category("mask").Description("Grows or shrinks what a mask marks.");
    s.Input<&GrowMask::mask>("mask").Tooltip("The mask; 1 marks the part that counts.");
    s.Input<&GrowMask::expand>("expand")
        .Default(0)
        .Range(-16384, 16384)
        .Step(1)
        .Tooltip("By how many pixels; below 0 shrinks.");
    s.Input<&GrowMask::tapered_corners>("tapered_corners").Default(true).Tooltip("Grows corners less than edges.");
    s.Output<Mask>("MASK");
  }
  StatusOr<Mask> Run(NodeContext& ctx) const {
    RETURN_IF_ERROR(CheckMask("mask", mask));
    return Guard([&]() -> StatusOr<Mask> {
      at::Tensor result = Batch(mask);
      if (expand < 0) result = -result;
      for (int64_t i = 0; i < std::abs(expand); ++i) {
        if (ctx.cancelled()) return Cancelled("cancelled");
        at::Tensor next = Dilate(result, tapered_corners);
        if (next.equal(result)) break;
        result = next;
      }
      return Mask{expand < 0 ? -result : result};
    });
  }
};
ATELIER_REGISTER_NODE(GrowMask);

struct ThresholdMask {
  Mask mask;
  double value = 0.5;

  static void Describe(NodeSchema<ThresholdMask>& s) {
    s.Name("ThresholdMask").Category("mask").Description("1 where a mask is above a value, 0 elsewhere.");
    s.Input<&ThresholdMask::mask>("mask").Tooltip("The mask; 1 marks the part that counts.");
    s.Input<&ThresholdMask::value>("value").Default(0.5).Range(0.0, 1.0).Step(0.01).Tooltip("The value to exceed.");
    s.Output<Mask>("MASK");
  }
  StatusOr<Mask> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckMask("mask", mask));
    return Guard([&] { return Mask{(mask.values > value).to(at::kFloat)}; });
  }
};
ATELIER_REGISTER_NODE(ThresholdMask);

struct ImageColorToMask {
  Image image;
  int64_t color = 0;

  static void Describe(NodeSchema<ImageColorToMask>& s) {
    s.Name("ImageColorToMask").Category("mask").Description("Marks the pixels of one colour.");
    s.Input<&ImageColorToMask::image>("image").Tooltip("The pictures.");
    s.Input<&ImageColorToMask::color>("color")
        .Default(0)
        .Range(0, 16777215)
        .Step(1)
        .Tooltip("The colour as a number, red x 65536 + green x 256 + blue.");
    s.Output<Mask>("MASK");
  }
  StatusOr<Mask> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    if (image.pixels.size(3) < 3) return InvalidArgument("image has ", image.pixels.size(3), " channels, expected 3");
    return Guard([&] {
      const at::Tensor bytes = (image.pixels.clamp(0.0, 1.0) * 255.0).round().to(at::kInt);
      const at::Tensor code = bytes.select(3, 0) * 65536 + bytes.select(3, 1) * 256 + bytes.select(3, 2);
      return Mask{(code == color).to(at::kFloat)};
    });
  }
};
ATELIER_REGISTER_NODE(ImageColorToMask);

}  // namespace
}  // namespace atelier::nodes
