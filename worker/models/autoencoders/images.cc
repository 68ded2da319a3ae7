// The autoencoders of SD1, SD2, SDXL, SD3 and Flux.
#include "worker/models/family.h"
#include "worker/models/vae.h"
#include "worker/models/wan_vae.h"

namespace atelier::models::image_autoencoder {
namespace {

bool Detect(const engine::WeightSource& w) { return w.Has("decoder.conv_in.weight") && !IsWanVae(w); }

ATELIER_REGISTER_AUTOENCODER("images", {Detect, BuildVae});

}  // namespace
}  // namespace atelier::models::image_autoencoder
