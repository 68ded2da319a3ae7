// Takes an earlier layer of the text encoder. Source: spec engine.md 4.3.
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct CLIPSetLastLayer {
  Clip clip;
  int64_t stop_at_clip_layer = -1;

  static void Describe(NodeSchema<CLIPSetLastLayer>& s) {
    s.Name("CLIP Set Last Layer").Category("conditioning").Cheap();
    s.Description("Lets the text encoder stop some layers before its end.");
    s.Input<&CLIPSetLastLayer::clip>("clip").Tooltip("The text encoder.");
    s.Input<&CLIPSetLastLayer::stop_at_clip_layer>("stop_at_clip_layer")
        .Default(-1)
        .Range(-24, -1)
        .Step(1)
        .Tooltip("Which layer to stop at; -1 is the last.");
    s.Output<Clip>("CLIP");
  }
  StatusOr<Clip> Run(NodeContext&) const {
    Clip shortened = clip;
    shortened.layer = stop_at_clip_layer;
    return shortened;
  }
};
ATELIER_REGISTER_NODE(CLIPSetLastLayer);

}  // namespace
}  // namespace atelier::nodes
