// A latent of zeros. Source: spec engine.md 4.8.
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct EmptyLatentImage {
  int64_t width = 512, height = 512, batch_size = 1;

  static void Describe(NodeSchema<EmptyLatentImage>& s) {
    s.Name("Empty Latent Image").Category("latent").Cheap();
    s.Description("The empty start of a picture made from noise alone.");
    s.Input<&EmptyLatentImage::width>("width").Default(512).Range(16, 16384).Step(8).Tooltip("Pixels.");
    s.Input<&EmptyLatentImage::height>("height").Default(512).Range(16, 16384).Step(8).Tooltip("Pixels.");
    s.Input<&EmptyLatentImage::batch_size>("batch_size").Default(1).Range(1, 4096).Tooltip("Pictures in the batch.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckTensorSize("empty latent", {batch_size, 4, height / 8, width / 8}));
    return Guard([&] { return Latent{at::zeros({batch_size, 4, height / 8, width / 8}, at::kFloat), {}, {}}; });
  }
};
ATELIER_REGISTER_NODE(EmptyLatentImage);

}  // namespace
}  // namespace atelier::nodes
