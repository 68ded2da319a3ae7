// Loads a super-resolution network. Source: spec engine.md 7.1.
#include "worker/models/loaders.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct UpscaleModelLoader {
  std::string model_name;

  static void Describe(NodeSchema<UpscaleModelLoader>& s) {
    s.Name("Load Upscale Model").Category("loaders").Description("Loads a network that enlarges pictures.");
    s.Input<&UpscaleModelLoader::model_name>("model_name").FromFolder("upscale_models").Tooltip("The file.");
    s.Output<UpscaleModel>("UPSCALE_MODEL");
  }
  StatusOr<UpscaleModel> Run(NodeContext& ctx) const {
    ASSIGN_OR_RETURN(const std::string path, ctx.ModelPath("upscale_models", model_name));
    ASSIGN_OR_RETURN(auto network, models::LoadUpscaler(path));
    return UpscaleModel{std::move(network)};
  }
};
ATELIER_REGISTER_NODE(UpscaleModelLoader);

}  // namespace
}  // namespace atelier::nodes
