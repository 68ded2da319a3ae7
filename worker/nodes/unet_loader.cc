// Loads a diffusion network from a file of its own. Source: spec engine.md 4.2 "Loaders".
#include "worker/models/loaders.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct UNETLoader {
  std::string unet_name, weight_dtype;

  static void Describe(NodeSchema<UNETLoader>& s) {
    s.Name("Load Diffusion Model").Category("advanced/loaders");
    s.Description("Loads a diffusion model that comes without text encoder and autoencoder.");
    s.Input<&UNETLoader::unet_name>("unet_name")
        .FromFolder("diffusion_models")
        .Tooltip("File in models/diffusion_models.");
    s.Input<&UNETLoader::weight_dtype>("weight_dtype")
        .OneOf({"default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"})
        .Tooltip("Rounds the weights to 8 bits, which saves memory and costs precision; default keeps them.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext& ctx) const {
    ASSIGN_OR_RETURN(const std::string path, ctx.ModelPath("diffusion_models", unet_name));
    if (weight_dtype == "default") return models::LoadDiffusion(path);
    return models::LoadDiffusion(path, engine::TheEngine(),
                                 weight_dtype == "fp8_e5m2" ? at::kFloat8_e5m2 : at::kFloat8_e4m3fn);
  }
};
ATELIER_REGISTER_NODE(UNETLoader);

}  // namespace
}  // namespace atelier::nodes
