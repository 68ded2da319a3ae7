// A picture of one colour.
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct EmptyImage {
  int64_t width = 512, height = 512, batch_size = 1, color = 0;

  static void Describe(NodeSchema<EmptyImage>& s) {
    s.Name("EmptyImage").Category("image").Cheap().Description("Pictures of one colour.");
    s.Input<&EmptyImage::width>("width").Default(512).Range(1, 16384).Step(1).Tooltip("Width in pixels.");
    s.Input<&EmptyImage::height>("height").Default(512).Range(1, 16384).Step(1).Tooltip("Height in pixels.");
    s.Input<&EmptyImage::batch_size>("batch_size").Default(1).Range(1, 4096).Tooltip("How many in a batch.");
    s.Input<&EmptyImage::color>("color").Default(0).Range(0, 0xFFFFFF).Step(1).Tooltip("0xRRGGBB as one number.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckTensorSize("empty image", {batch_size, height, width, 3}));
    return Guard([&] {
      const std::vector<float> rgb{static_cast<float>((color >> 16) & 0xFF) / 255.0f,
                                   static_cast<float>((color >> 8) & 0xFF) / 255.0f,
                                   static_cast<float>(color & 0xFF) / 255.0f};
      return Image{at::tensor(rgb, at::kFloat).expand({batch_size, height, width, 3}).contiguous()};
    });
  }
};
ATELIER_REGISTER_NODE(EmptyImage);

}  // namespace
}  // namespace atelier::nodes
