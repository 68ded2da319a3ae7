// Marks the part of a latent that may change. Source: spec engine.md 4.11.
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct SetLatentNoiseMask {
  Latent samples;
  Mask mask;

  static void Describe(NodeSchema<SetLatentNoiseMask>& s) {
    s.Name("Set Latent Noise Mask")
        .Category("latent/inpaint")
        .Description("Lets sampling change only where the mask is 1.");
    s.Input<&SetLatentNoiseMask::samples>("samples").Tooltip("The latents.");
    s.Input<&SetLatentNoiseMask::mask>("mask").Tooltip("The mask.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSamples("samples", samples));
    RETURN_IF_ERROR(CheckMask("mask", mask));
    return Guard([&] {
      Latent result = samples;
      result.noise_mask = mask.values.reshape({-1, 1, mask.values.size(-2), mask.values.size(-1)});
      return result;
    });
  }
};
ATELIER_REGISTER_NODE(SetLatentNoiseMask);

}  // namespace
}  // namespace atelier::nodes
