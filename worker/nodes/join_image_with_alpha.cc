// A picture with a mask as its transparency.
#include <algorithm>

#include "worker/nodes/resize.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct JoinImageWithAlpha {
  Image image;
  Mask alpha;

  static void Describe(NodeSchema<JoinImageWithAlpha>& s) {
    s.Name("Join Image with Alpha")
        .Category("mask/compositing")
        .Description("Adds a mask to pictures as their transparency.");
    s.Input<&JoinImageWithAlpha::image>("image").Tooltip("The pictures.");
    s.Input<&JoinImageWithAlpha::alpha>("alpha").Tooltip("1 = transparent.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    if (!alpha.values.defined() || alpha.values.numel() == 0) return InvalidArgument("alpha holds no mask");
    const at::Tensor mask = alpha.values.reshape({-1, 1, alpha.values.size(-2), alpha.values.size(-1)});
    ASSIGN_OR_RETURN(const at::Tensor sized,
                     ResizeSamples(mask, image.pixels.size(2), image.pixels.size(1), "bilinear", "disabled"));
    return Guard([&] {
      const int64_t items = std::max(sized.size(0), image.pixels.size(0));
      const at::Tensor opacity = 1.0 - RepeatToBatch(sized, items).movedim(1, -1);
      return Image{at::cat({RepeatToBatch(image.pixels.slice(3, 0, 3), items), opacity}, 3)};
    });
  }
};
ATELIER_REGISTER_NODE(JoinImageWithAlpha);

}  // namespace
}  // namespace atelier::nodes
