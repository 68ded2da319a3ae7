// The autoencoder of models that work on pixels: its latents are the picture, in -1..1. Source: spec engine.md 6.2.
#include <utility>

#include "worker/models/family.h"
#include "worker/models/vae_parts.h"

namespace atelier::models::pixel_space {
namespace {

constexpr char kName[] = "pixel_space_vae";

class PixelSpace final : public PictureAutoencoder {
 public:
  PixelSpace(engine::Engine& engine, engine::WeightSource weights) : PictureAutoencoder(engine, std::move(weights)) {
    z_ = 3;
    ratio_ = 1;
  }

 private:
  at::Tensor EncodeRaw(const at::Tensor& image) const override { return image; }
  at::Tensor DecodeRaw(const at::Tensor& latent) const override { return latent.to(at::kFloat); }
};

bool Detect(const engine::WeightSource& w) { return w.Has(kName); }

StatusOr<std::shared_ptr<const engine::Autoencoder>> Build(const engine::WeightSource& w, engine::Engine& engine) {
  return std::make_shared<const PixelSpace>(engine, w);
}

ATELIER_REGISTER_AUTOENCODER("pixel_space", {Detect, Build});

}  // namespace
}  // namespace atelier::models::pixel_space
