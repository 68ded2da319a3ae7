// Models as files. Source: spec engine.md 4.2, 12.4.
#include "worker/engine/tensor_blob.h"
#include "worker/models/saving.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

constexpr const char* kPrefixTooltip = "Folder and start of the file's name; may hold %date:yyyy-MM-dd% and the like.";

Status EmitTensors(NodeContext& ctx, const std::string& prefix, const models::SavedTensors& tensors) {
  OutputFile file;
  file.prefix = prefix;
  file.extension = ".safetensors";
  file.embed_workflow = false;
  ASSIGN_OR_RETURN(file.bytes, engine::WriteTensors(tensors));
  ctx.Emit(std::move(file));
  return OkStatus();
}

struct ModelSave {
  Model model;
  std::string filename_prefix = "diffusion_models/ComfyUI";

  static void Describe(NodeSchema<ModelSave>& s) {
    s.Name("ModelSave").Category("advanced/model_merging").OutputNode();
    s.Description("Saves a diffusion model with all changes of its weights to the output folder.");
    s.Input<&ModelSave::model>("model").Tooltip("The model.");
    s.Input<&ModelSave::filename_prefix>("filename_prefix").Default("diffusion_models/ComfyUI").Tooltip(kPrefixTooltip);
  }
  Status Run(NodeContext& ctx) const {
    return Guard([&]() -> Status {
      ASSIGN_OR_RETURN(const models::SavedTensors tensors, models::DiffusionTensors(model));
      return EmitTensors(ctx, filename_prefix, tensors);
    });
  }
};
ATELIER_REGISTER_NODE(ModelSave);

struct CLIPSave {
  Clip clip;
  std::string filename_prefix = "clip/ComfyUI";

  static void Describe(NodeSchema<CLIPSave>& s) {
    s.Name("CLIPSave").Category("advanced/model_merging").OutputNode();
    s.Description("Saves text encoders with all changes of their weights to the output folder, a file each.");
    s.Input<&CLIPSave::clip>("clip").Tooltip("The text encoders.");
    s.Input<&CLIPSave::filename_prefix>("filename_prefix").Default("clip/ComfyUI").Tooltip(kPrefixTooltip);
  }
  Status Run(NodeContext& ctx) const {
    return Guard([&]() -> Status {
      ASSIGN_OR_RETURN(const auto encoders, models::TextTensors(clip));
      for (const auto& [name, tensors] : encoders)
        RETURN_IF_ERROR(EmitTensors(ctx, Cat(filename_prefix, "_", name), tensors));
      return OkStatus();
    });
  }
};
ATELIER_REGISTER_NODE(CLIPSave);

struct VAESave {
  Vae vae;
  std::string filename_prefix = "vae/ComfyUI_vae";

  static void Describe(NodeSchema<VAESave>& s) {
    s.Name("VAESave").Category("advanced/model_merging").OutputNode();
    s.Description("Saves an autoencoder to the output folder.");
    s.Input<&VAESave::vae>("vae").Tooltip("The autoencoder.");
    s.Input<&VAESave::filename_prefix>("filename_prefix").Default("vae/ComfyUI_vae").Tooltip(kPrefixTooltip);
  }
  Status Run(NodeContext& ctx) const {
    return Guard([&]() -> Status {
      ASSIGN_OR_RETURN(const models::SavedTensors tensors, models::AutoencoderTensors(vae));
      return EmitTensors(ctx, filename_prefix, tensors);
    });
  }
};
ATELIER_REGISTER_NODE(VAESave);

struct CheckpointSave {
  Model model;
  Clip clip;
  Vae vae;
  std::string filename_prefix = "checkpoints/ComfyUI";

  static void Describe(NodeSchema<CheckpointSave>& s) {
    s.Name("Save Checkpoint").Category("advanced/model_merging").OutputNode();
    s.Description("Saves model, text encoders and autoencoder as one checkpoint to the output folder.");
    s.Input<&CheckpointSave::model>("model").Tooltip("The diffusion model.");
    s.Input<&CheckpointSave::clip>("clip").Tooltip("The text encoders.");
    s.Input<&CheckpointSave::vae>("vae").Tooltip("The autoencoder.");
    s.Input<&CheckpointSave::filename_prefix>("filename_prefix").Default("checkpoints/ComfyUI").Tooltip(kPrefixTooltip);
  }
  Status Run(NodeContext& ctx) const {
    return Guard([&]() -> Status {
      ASSIGN_OR_RETURN(const models::SavedTensors tensors, models::CheckpointTensors(model, clip, vae));
      return EmitTensors(ctx, filename_prefix, tensors);
    });
  }
};
ATELIER_REGISTER_NODE(CheckpointSave);

}  // namespace
}  // namespace atelier::nodes
