// Loads an autoencoder. Source: spec engine.md 6.2.
#include "worker/models/loaders.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct VAELoader {
  std::string vae_name;

  static void Describe(NodeSchema<VAELoader>& s) {
    s.Name("Load VAE").Category("loaders").Description("Loads an autoencoder from a file of its own.");
    s.Input<&VAELoader::vae_name>("vae_name").FromFolder("vae").Tooltip("The file.");
    s.Output<Vae>("VAE");
  }
  StatusOr<Vae> Run(NodeContext& ctx) const {
    ASSIGN_OR_RETURN(const std::string path, ctx.ModelPath("vae", vae_name));
    ASSIGN_OR_RETURN(auto autoencoder, models::LoadAutoencoder(path));
    return Vae{std::move(autoencoder)};
  }
};
ATELIER_REGISTER_NODE(VAELoader);

}  // namespace
}  // namespace atelier::nodes
