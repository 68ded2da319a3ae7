// Pictures to latents. Source: spec engine.md 6.2, 6.3.
#include "worker/nodes/vae_checks.h"

namespace atelier::nodes {
namespace {

struct VAEEncode {
  Image pixels;
  Vae vae;

  static void Describe(NodeSchema<VAEEncode>& s) {
    s.Name("VAE Encode").Category("latent").Description("Turns pictures into latents.");
    s.Input<&VAEEncode::pixels>("pixels").Tooltip("The pictures.");
    s.Input<&VAEEncode::vae>("vae").Tooltip("The autoencoder.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckEncode(vae, pixels));
    ASSIGN_OR_RETURN(at::Tensor samples, vae.autoencoder->Encode(pixels.pixels.slice(3, 0, 3)));
    return Latent{std::move(samples), {}, {}};
  }
};
ATELIER_REGISTER_NODE(VAEEncode);

struct VAEEncodeTiled {
  Image pixels;
  Vae vae;
  int64_t tile_size = 512, overlap = 64, temporal_size = 64, temporal_overlap = 8;

  static void Describe(NodeSchema<VAEEncodeTiled>& s) {
    s.Name("VAE Encode (Tiled)")
        .Category("_for_testing")
        .Description("Turns pictures into latents in tiles, to save memory.");
    s.Input<&VAEEncodeTiled::pixels>("pixels").Tooltip("The pictures.");
    s.Input<&VAEEncodeTiled::vae>("vae").Tooltip("The autoencoder.");
    s.Input<&VAEEncodeTiled::tile_size>("tile_size")
        .Default(512)
        .Range(64, 4096)
        .Step(64)
        .Tooltip("Side of a tile in pixels.");
    s.Input<&VAEEncodeTiled::overlap>("overlap").Default(64).Range(0, 4096).Step(32).Tooltip(
        "By how many pixels tiles overlap.");
    s.Input<&VAEEncodeTiled::temporal_size>("temporal_size")
        .Default(64)
        .Range(8, 4096)
        .Step(4)
        .Tooltip("Frames of a video that are encoded at a time.");
    s.Input<&VAEEncodeTiled::temporal_overlap>("temporal_overlap")
        .Default(8)
        .Range(4, 4096)
        .Step(4)
        .Tooltip("By how many frames of a video these overlap.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckEncode(vae, pixels));
    engine::VaeTiles tiles{tile_size, overlap};
    if (vae.autoencoder->frame_ratio() > 0) {
      tiles.frames = temporal_size;
      tiles.frame_overlap = temporal_overlap;
    }
    ASSIGN_OR_RETURN(at::Tensor samples, vae.autoencoder->EncodeTiled(pixels.pixels.slice(3, 0, 3), tiles));
    return Latent{std::move(samples), {}, {}};
  }
};
ATELIER_REGISTER_NODE(VAEEncodeTiled);

}  // namespace
}  // namespace atelier::nodes
