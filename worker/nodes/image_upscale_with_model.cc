// Enlarges pictures by a network. Source: spec engine.md 7.1.
#include "common/graph/frames.h"
#include "worker/models/loaders.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct ImageUpscaleWithModel {
  UpscaleModel upscale_model;
  Image image;

  static void Describe(NodeSchema<ImageUpscaleWithModel>& s) {
    s.Name("Upscale Image (using Model)").Category("image/upscaling");
    s.Description("Enlarges pictures by the network's own factor, in tiles.");
    s.Input<&ImageUpscaleWithModel::upscale_model>("upscale_model").Tooltip("The up-scaling network.");
    s.Input<&ImageUpscaleWithModel::image>("image").Tooltip("The pictures.");
    PerFrame(s, "image");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext& ctx) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    const int64_t scale = upscale_model.network->scale();
    const at::Tensor& p = image.pixels;
    RETURN_IF_ERROR(CheckTensorSize("enlarged picture", {p.size(0), p.size(1) * scale, p.size(2) * scale, 3}));
    return Guard([&]() -> StatusOr<Image> {
      const at::Tensor rgb = p.slice(3, 0, 3);
      auto tick = [&ctx](int64_t done, int64_t total) { return ctx.Step(done, total); };
      ASSIGN_OR_RETURN(at::Tensor enlarged, models::UpscaleWithModel(*upscale_model.network, rgb, tick));
      return Image{std::move(enlarged)};
    });
  }
};
ATELIER_REGISTER_NODE(ImageUpscaleWithModel);

}  // namespace
}  // namespace atelier::nodes
