// Loads an autoencoder. Source: spec engine.md 6.2.
#include "worker/models/loaders.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

// Tiny autoencoders that two files of models/vae_approx make up.
struct TinyVae {
  const char* name;
  models::TinyLatents latents;
};
constexpr TinyVae kTiny[] = {
    {"taesd", {0.18215, 0.0}}, {"taesdxl", {0.13025, 0.0}}, {"taesd3", {1.5305, 0.0609}}, {"taef1", {0.3611, 0.1159}}};

constexpr char kPixelSpace[] = "pixel_space";

struct VAELoader {
  std::string vae_name, tiny_encoder, tiny_decoder;

  static void Describe(NodeSchema<VAELoader>& s) {
    s.Name("Load VAE").Category("loaders").Description("Loads an autoencoder from a file of its own.");
    InputOptions name = s.Input<&VAELoader::vae_name>("vae_name");
    name.FromFolder("vae").Tooltip(
        "The file; or a tiny autoencoder, fast and a little inexact, whose files NAME_encoder and NAME_decoder lie in "
        "models/vae_approx; or pixel_space, for models whose latents are the picture.");
    for (const TinyVae& tiny : kTiny)
      name.OrSet({tiny.name,
                  "vae_approx",
                  {{"tiny_encoder", Cat(tiny.name, "_encoder")}, {"tiny_decoder", Cat(tiny.name, "_decoder")}}});
    name.OrSet({kPixelSpace, "vae", {}});
    s.Input<&VAELoader::tiny_encoder>("tiny_encoder").FromFolder("vae_approx").Hidden();
    s.Input<&VAELoader::tiny_decoder>("tiny_decoder").FromFolder("vae_approx").Hidden();
    s.Output<Vae>("VAE");
  }
  StatusOr<Vae> Run(NodeContext& ctx) const {
    for (const TinyVae& tiny : kTiny)
      if (vae_name == tiny.name) return LoadTiny(ctx, tiny);
    if (vae_name == kPixelSpace) {
      ASSIGN_OR_RETURN(auto autoencoder, models::LoadPixelSpace());
      return Vae{std::move(autoencoder)};
    }
    ASSIGN_OR_RETURN(const std::string path, ctx.ModelPath("vae", vae_name));
    ASSIGN_OR_RETURN(auto autoencoder, models::LoadAutoencoder(path));
    return Vae{std::move(autoencoder)};
  }

 private:
  StatusOr<Vae> LoadTiny(NodeContext& ctx, const TinyVae& tiny) const {
    if (tiny_encoder.empty() || tiny_decoder.empty())
      return InvalidArgument("vae_name is \"", vae_name,
                             "\", but its files were not looked up, as for a name that comes by a link; expected the "
                             "name itself in this node and ",
                             vae_name, "_encoder and ", vae_name, "_decoder in models/vae_approx");
    ASSIGN_OR_RETURN(const std::string encoder, ctx.ModelPath("vae_approx", tiny_encoder));
    ASSIGN_OR_RETURN(const std::string decoder, ctx.ModelPath("vae_approx", tiny_decoder));
    ASSIGN_OR_RETURN(auto autoencoder, models::LoadTinyAutoencoder(encoder, decoder, tiny.latents));
    return Vae{std::move(autoencoder)};
  }
};
ATELIER_REGISTER_NODE(VAELoader);

}  // namespace
}  // namespace atelier::nodes
