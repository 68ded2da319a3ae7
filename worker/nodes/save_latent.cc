// Latents as files. Source: spec engine.md 11.2.
#include "common/tensorio/safetensors.h"
#include "worker/engine/tensor_blob.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct SaveLatent {
  Latent samples;
  std::string filename_prefix = "latents/ComfyUI";

  static void Describe(NodeSchema<SaveLatent>& s) {
    s.Name("SaveLatent").Category("_for_testing").OutputNode().Description("Saves a latent to the output folder.");
    s.Input<&SaveLatent::samples>("samples").Tooltip("The latents.");
    s.Input<&SaveLatent::filename_prefix>("filename_prefix")
        .Default("latents/ComfyUI")
        .Tooltip("Start of the file name; may hold %date:yyyy-MM-dd% and the like.");
  }
  Status Run(NodeContext& ctx) const {
    RETURN_IF_ERROR(CheckSamples("samples", samples));
    return Guard([&]() -> Status {
      OutputFile file;
      file.prefix = filename_prefix;
      file.extension = ".latent";
      ASSIGN_OR_RETURN(file.bytes, engine::WriteTensors({{"latent_format_version_0", at::empty({0}, at::kFloat)},
                                                         {"latent_tensor", samples.samples.contiguous()}}));
      ctx.Emit(std::move(file));
      return OkStatus();
    });
  }
};
ATELIER_REGISTER_NODE(SaveLatent);

struct LoadLatent {
  std::string latent;

  static void Describe(NodeSchema<LoadLatent>& s) {
    s.Name("LoadLatent").Category("_for_testing").Description("Reads a latent that SaveLatent wrote.");
    s.Input<&LoadLatent::latent>("latent").FromFolder("input").Tooltip("A file of the input folder.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext& ctx) const {
    ASSIGN_OR_RETURN(const std::string bytes, ctx.InputFile(latent));
    return Guard([&]() -> StatusOr<Latent> {
      ASSIGN_OR_RETURN(const SafetensorsView view, ParseSafetensors(bytes, latent));
      const TensorInfo* info = view.Find("latent_tensor");
      if (info == nullptr)
        return InvalidArgument("input file \"", latent, "\" holds no latent_tensor; expected a file of SaveLatent");
      at::Tensor samples = engine::TensorCopy(view, *info).to(at::kFloat);
      // Files of the first version hold latents in the scale of the SD1 model.
      if (view.Find("latent_format_version_0") == nullptr) samples = samples * (1.0 / 0.18215);
      return Latent{samples, {}, {}};
    });
  }
};
ATELIER_REGISTER_NODE(LoadLatent);

}  // namespace
}  // namespace atelier::nodes
