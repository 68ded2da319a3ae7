// Times the decoding of one latent, for tests/bench/wan/against_diffusers.py: see model_call.h; IO holds the latent
// `z`, and `out` are pictures f32 [B,H,W,3], 0..1.
#include "tests/bench/model_call.h"
#include "worker/models/loaders.h"

int main(int argc, char** argv) {
  using namespace atelier;
  return bench::ModelCallMain(argc, argv,
                              [](const std::string& file, const engine::WeightSource& io, engine::Engine& engine,
                                 at::Device) -> StatusOr<std::function<StatusOr<at::Tensor>()>> {
                                ASSIGN_OR_RETURN(auto vae, models::LoadAutoencoder(file, engine));
                                return [vae = std::move(vae), z = io.Find("z")] { return vae->Decode(z); };
                              });
}
