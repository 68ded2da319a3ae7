#include "common/graph/picture_part.h"

#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct PicturePart {
  Value image;

  static void Describe(NodeSchema<PicturePart>& s) {
    s.Name("Picture Part").Category("image").Internal();
    s.Description("The parts of a picture that a tile needs; made by the planner.");
    s.Input<&PicturePart::image>("image").Type("IMAGE").Tooltip("The parts.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Value> Run(NodeContext&) const { return image; }
};
ATELIER_REGISTER_NODE_AS(PicturePart, kPicturePartType);

}  // namespace
}  // namespace atelier::nodes
