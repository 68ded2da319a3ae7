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

struct MaskPart {
  Mask mask;

  static void Describe(NodeSchema<MaskPart>& s) {
    s.Name("Mask Part").Category("mask").Internal();
    s.Description("The part of a mask that a tile needs; made by the planner.");
    s.Input<&MaskPart::mask>("mask").Tooltip("The part.");
    s.Output<Mask>("MASK");
  }
  StatusOr<Mask> Run(NodeContext&) const { return mask; }
};
ATELIER_REGISTER_NODE_AS(MaskPart, kMaskPartType);

struct LatentPart {
  Latent latent;

  static void Describe(NodeSchema<LatentPart>& s) {
    s.Name("Latent Part").Category("latent").Internal();
    s.Description("The part of a latent that a tile needs; made by the planner.");
    s.Input<&LatentPart::latent>("latent").Tooltip("The part.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const { return latent; }
};
ATELIER_REGISTER_NODE_AS(LatentPart, kLatentPartType);

}  // namespace
}  // namespace atelier::nodes
