// Times one call of a UNet, for tests/bench/unet/against_diffusers.py: see model_call.h; IO holds x, t, context, and y
// (SDXL).
#include "tests/bench/model_call.h"
#include "worker/models/loaders.h"

int main(int argc, char** argv) {
  using namespace atelier;
  return bench::ModelCallMain(argc, argv,
                              [](const std::string& file, const engine::WeightSource& io, engine::Engine& engine,
                                 at::Device device) -> StatusOr<std::function<StatusOr<at::Tensor>()>> {
                                ASSIGN_OR_RETURN(const auto model, models::LoadDiffusion(file, engine));
                                engine::ModelCallInputs inputs;
                                inputs.context = io.Find("context").to(device);
                                if (io.Has("y")) inputs.y = io.Find("y").to(device);
                                return
                                    [network = model.network, x = io.Find("x").to(device), t = io.Find("t").to(device),
                                     inputs] { return network->Forward(x, t, inputs).to(at::kCPU); };
                              });
}
