// Load a diffusion model whose weights are quantised in a GGUF file. Source: spec extras.md 3.1.
#include "worker/models/loaders.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct UnetLoaderGGUF {
  std::string unet_name;

  static void Describe(NodeSchema<UnetLoaderGGUF>& s) {
    s.Name("Unet Loader (GGUF)").Category("bootleg");
    s.Description("Loads a diffusion model whose weights are quantised; they are decoded as they are used.");
    s.Input<&UnetLoaderGGUF::unet_name>("unet_name")
        .FromFolder("unet_gguf")
        .Tooltip("GGUF file in models/diffusion_models.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext& ctx) const {
    ASSIGN_OR_RETURN(const std::string path, ctx.ModelPath("unet_gguf", unet_name));
    return models::LoadDiffusion(path);
  }
};
ATELIER_REGISTER_NODE(UnetLoaderGGUF);

struct UnetLoaderGGUFAdvanced {
  std::string unet_name, dequant_dtype, patch_dtype;
  bool patch_on_device = false;

  static void Describe(NodeSchema<UnetLoaderGGUFAdvanced>& s) {
    const std::vector<std::string> types{"default", "target", "float32", "float16", "bfloat16"};
    s.Name("Unet Loader (GGUF/Advanced)").Category("bootleg");
    s.Description("Loads a diffusion model whose weights are quantised, with a choice of how they are decoded.");
    s.Input<&UnetLoaderGGUFAdvanced::unet_name>("unet_name")
        .FromFolder("unet_gguf")
        .Tooltip("GGUF file in models/diffusion_models.");
    s.Input<&UnetLoaderGGUFAdvanced::dequant_dtype>("dequant_dtype")
        .OneOf(types)
        .Tooltip("Type in which weights are decoded: target is the one computed in, default is float16.");
    s.Input<&UnetLoaderGGUFAdvanced::patch_dtype>("patch_dtype")
        .OneOf(types)
        .Tooltip("Type of LoRA products; they are always made in float32 here.");
    s.Input<&UnetLoaderGGUFAdvanced::patch_on_device>("patch_on_device")
        .Default(false)
        .Tooltip("Where LoRA weights wait; without effect here.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext& ctx) const {
    ASSIGN_OR_RETURN(const std::string path, ctx.ModelPath("unet_gguf", unet_name));
    std::string type = dequant_dtype;
    if (type == "target") type = engine::TheEngine().device().is_cpu() ? "float32" : "float16";
    if (type == "float32") return models::LoadGgufDiffusion(path, GgufPrecision::kFloat);
    if (type == "bfloat16") return models::LoadGgufDiffusion(path, GgufPrecision::kBFloat16);
    return models::LoadDiffusion(path);
  }
};
ATELIER_REGISTER_NODE(UnetLoaderGGUFAdvanced);

}  // namespace
}  // namespace atelier::nodes
