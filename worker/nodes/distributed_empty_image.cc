// A batch without pictures. Source: spec distributed.md 1.7.
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct DistributedEmptyImage {
  int64_t height = 64, width = 64, channels = 3;

  static void Describe(NodeSchema<DistributedEmptyImage>& s) {
    s.Name("Distributed Empty Image").Category("image").Cheap().Description("A batch of no pictures.");
    s.Input<&DistributedEmptyImage::height>("height").Default(64).Range(1, 4096).Step(1).Tooltip("Height in pixels.");
    s.Input<&DistributedEmptyImage::width>("width").Default(64).Range(1, 4096).Step(1).Tooltip("Width in pixels.");
    s.Input<&DistributedEmptyImage::channels>("channels").Default(3).Range(1, 4).Step(1).Tooltip("Number of channels.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    return Guard([&] { return Image{at::empty({0, height, width, channels}, at::kFloat)}; });
  }
};
ATELIER_REGISTER_NODE(DistributedEmptyImage);

}  // namespace
}  // namespace atelier::nodes
