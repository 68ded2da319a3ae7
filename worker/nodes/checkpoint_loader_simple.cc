// Loads a full checkpoint. Source: spec engine.md 4.2.
#include "worker/models/loaders.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct CheckpointLoaderSimple {
  std::string ckpt_name;

  static void Describe(NodeSchema<CheckpointLoaderSimple>& s) {
    s.Name("Load Checkpoint").Category("loaders");
    s.Description("Loads the diffusion model, text encoder and autoencoder of one checkpoint file.");
    s.Input<&CheckpointLoaderSimple::ckpt_name>("ckpt_name")
        .FromFolder("checkpoints")
        .Tooltip("File in models/checkpoints.");
    s.Output<Model>("MODEL").Output<Clip>("CLIP").Output<Vae>("VAE");
  }
  StatusOr<std::tuple<Model, Clip, Vae>> Run(NodeContext& ctx) const {
    ASSIGN_OR_RETURN(const std::string path, ctx.ModelPath("checkpoints", ckpt_name));
    ASSIGN_OR_RETURN(const auto parts, models::LoadCheckpoint(path));
    return std::tuple(parts->diffusion, Clip{parts->text_encoder, 0, {}, parts->identity}, Vae{parts->autoencoder});
  }
};
ATELIER_REGISTER_NODE(CheckpointLoaderSimple);

}  // namespace
}  // namespace atelier::nodes
