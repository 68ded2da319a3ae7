// The video autoencoders of WAN.
#include "worker/models/family.h"
#include "worker/models/wan_vae.h"

namespace atelier::models::wan_autoencoder {
namespace {

ATELIER_REGISTER_AUTOENCODER("wan", {IsWanVae, BuildWanVae});

}  // namespace
}  // namespace atelier::models::wan_autoencoder
