// Latents to pictures. Source: spec engine.md 6.2, 6.3.
#include <algorithm>

#include "worker/nodes/vae_checks.h"

namespace atelier::nodes {
namespace {

struct VAEDecode {
  Latent samples;
  Vae vae;

  static void Describe(NodeSchema<VAEDecode>& s) {
    s.Name("VAE Decode").Category("latent").Description("Turns latents into pictures.");
    s.Input<&VAEDecode::samples>("samples").Tooltip("The latents.");
    s.Input<&VAEDecode::vae>("vae").Tooltip("The autoencoder.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckDecode(vae, samples));
    ASSIGN_OR_RETURN(at::Tensor pixels, vae.autoencoder->Decode(samples.samples));
    return Image{std::move(pixels)};
  }
};
ATELIER_REGISTER_NODE(VAEDecode);

struct VAEDecodeTiled {
  Latent samples;
  Vae vae;
  int64_t tile_size = 512, overlap = 64, temporal_size = 64, temporal_overlap = 8;

  static void Describe(NodeSchema<VAEDecodeTiled>& s) {
    s.Name("VAE Decode (Tiled)")
        .Category("_for_testing")
        .Description("Turns latents into pictures in tiles, to save memory.");
    s.Input<&VAEDecodeTiled::samples>("samples").Tooltip("The latents.");
    s.Input<&VAEDecodeTiled::vae>("vae").Tooltip("The autoencoder.");
    s.Input<&VAEDecodeTiled::tile_size>("tile_size")
        .Default(512)
        .Range(64, 4096)
        .Step(32)
        .Tooltip("Side of a tile in pixels.");
    s.Input<&VAEDecodeTiled::overlap>("overlap").Default(64).Range(0, 4096).Step(32).Tooltip(
        "By how many pixels tiles overlap.");
    s.Input<&VAEDecodeTiled::temporal_size>("temporal_size")
        .Default(64)
        .Range(8, 4096)
        .Step(4)
        .Tooltip("Frames of a video that are decoded at a time.");
    s.Input<&VAEDecodeTiled::temporal_overlap>("temporal_overlap")
        .Default(8)
        .Range(4, 4096)
        .Step(4)
        .Tooltip("By how many frames of a video these overlap.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckDecode(vae, samples));
    const int64_t r = vae.autoencoder->ratio();
    const int64_t used = tile_size < overlap * 4 ? tile_size / 4 : overlap;
    engine::VaeTiles tiles{tile_size / r, used / r};
    if (const int64_t c = vae.autoencoder->frame_ratio(); c > 0) {
      const int64_t frames = temporal_size < temporal_overlap * 2 ? temporal_overlap / 2 : temporal_overlap;
      tiles.frames = std::max<int64_t>(2, temporal_size / c);
      tiles.frame_overlap = std::max<int64_t>(1, std::min(tiles.frames / 2, frames / c));
    }
    ASSIGN_OR_RETURN(at::Tensor pixels, vae.autoencoder->DecodeTiled(samples.samples, tiles));
    return Image{std::move(pixels)};
  }
};
ATELIER_REGISTER_NODE(VAEDecodeTiled);

}  // namespace
}  // namespace atelier::nodes
