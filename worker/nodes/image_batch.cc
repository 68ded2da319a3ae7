// Batches of pictures. Source: spec engine.md 11.2.
#include <algorithm>

#include "worker/nodes/resize.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct ImageBatch {
  Image image1, image2;

  static void Describe(NodeSchema<ImageBatch>& s) {
    s.Name("Batch Images").Category("image").Description("Joins two batches; the second takes the size of the first.");
    s.Input<&ImageBatch::image1>("image1").Tooltip("The first pictures.");
    s.Input<&ImageBatch::image2>("image2").Tooltip("The second pictures.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image1", image1));
    RETURN_IF_ERROR(CheckPixels("image2", image2));
    const at::Tensor& first = image1.pixels;
    at::Tensor second = image2.pixels;
    if (second.size(1) != first.size(1) || second.size(2) != first.size(2)) {
      ASSIGN_OR_RETURN(second, ResizePixels(second, first.size(2), first.size(1), "bilinear", "center"));
    }
    return Guard([&]() -> StatusOr<Image> {
      // A picture without transparency is opaque beside one that has it.
      auto widen = [](const at::Tensor& p, int64_t channels) {
        if (p.size(3) >= channels) return p;
        return at::constant_pad_nd(p, {0, channels - p.size(3)}, 1.0);
      };
      const int64_t channels = std::max(first.size(3), second.size(3));
      return Image{at::cat({widen(first, channels), widen(second, channels)}, 0)};
    });
  }
};
ATELIER_REGISTER_NODE(ImageBatch);

struct ImageFromBatch {
  Image image;
  int64_t batch_index = 0, length = 1;

  static void Describe(NodeSchema<ImageFromBatch>& s) {
    s.Name("ImageFromBatch").Category("image/batch").Description("Takes pictures of a batch.");
    s.Input<&ImageFromBatch::image>("image").Tooltip("The pictures.");
    s.Input<&ImageFromBatch::batch_index>("batch_index")
        .Default(0)
        .Range(0, 4095)
        .Tooltip("The first picture to take, from 0.");
    s.Input<&ImageFromBatch::length>("length").Default(1).Range(1, 4096).Tooltip("How many pictures.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    const int64_t items = image.pixels.size(0);
    const int64_t first = std::clamp<int64_t>(batch_index, 0, items - 1);
    return Guard(
        [&] { return Image{image.pixels.narrow(0, first, std::clamp<int64_t>(length, 1, items - first)).clone()}; });
  }
};
ATELIER_REGISTER_NODE(ImageFromBatch);

struct RepeatImageBatch {
  Image image;
  int64_t amount = 1;

  static void Describe(NodeSchema<RepeatImageBatch>& s) {
    s.Name("RepeatImageBatch").Category("image/batch").Description("Repeats a batch some times.");
    s.Input<&RepeatImageBatch::image>("image").Tooltip("The pictures.");
    s.Input<&RepeatImageBatch::amount>("amount").Default(1).Range(1, 4096).Tooltip("How many times.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    RETURN_IF_ERROR(CheckTensorSize("repeated batch", {image.pixels.numel(), amount}));
    return Guard([&] { return Image{RepeatToBatch(image.pixels, image.pixels.size(0) * amount).contiguous()}; });
  }
};
ATELIER_REGISTER_NODE(RepeatImageBatch);

}  // namespace
}  // namespace atelier::nodes
