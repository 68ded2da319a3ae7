#include "worker/fake/fake_image.h"

namespace atelier {

// Passes an image through, or fails in a chosen way, so that tests see how failures travel.
struct FakeFail {
  FakeImage image;
  std::string how;
  static void Describe(NodeSchema<FakeFail>& s) {
    s.Name("Fake Fail").Category("fake");
    s.Input<&FakeFail::image>("image");
    s.Input<&FakeFail::how>("how").OneOf({"no", "invalid", "memory", "bug"});
    s.Output<FakeImage>("IMAGE");
  }
  StatusOr<FakeImage> Run(NodeContext& ctx) const {
    if (how == "invalid") return InvalidArgument("the image is not wanted");
    if (how == "memory") return ResourceExhausted("out of memory");
    if (how == "bug") return Internal("a bug");
    ctx.Warn("nothing failed");
    return image;
  }
};
ATELIER_REGISTER_NODE(FakeFail);

}  // namespace atelier
