// Times one call of a UNet, for tests/bench/unet/against_diffusers.py.
//
// usage: unet_step_bench UNET.safetensors IO.safetensors THREADS REPEATS cpu|cuda:N
// IO holds x, t, context, y (SDXL) and the output `out` to compare with. Prints one line of JSON: the seconds of each
// call after one that is not counted, its processor seconds, and the largest difference.
#include <ATen/Parallel.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>

#include "worker/engine/device.h"
#include "worker/models/loaders.h"

namespace atelier {
namespace {

int Main(char** argv) {
  auto device = engine::DeviceFor(argv[5]);
  if (!device.ok()) {
    std::fprintf(stderr, "%s\n", std::string(Message(device.status())).c_str());
    return 1;
  }
  at::set_num_threads(std::atoi(argv[3]));
  const c10::InferenceMode inference;
  engine::EngineOptions options;
  options.device = *device;
  engine::Engine engine(options);
  const auto model = models::LoadDiffusion(argv[1], engine);
  const auto io = engine::WeightSource::Open(argv[2]);
  for (const Status& status : {model.status(), io.status()}) {
    if (status.ok()) continue;
    std::fprintf(stderr, "%s\n", std::string(Message(status)).c_str());
    return 1;
  }
  const at::Tensor x = io->Find("x").to(*device), t = io->Find("t").to(*device);
  engine::ModelCallInputs inputs;
  inputs.context = io->Find("context").to(*device);
  if (io->Has("y")) inputs.y = io->Find("y").to(*device);
  at::Tensor out;
  std::string seconds, processor;
  for (int i = 0; i <= std::atoi(argv[4]); ++i) {
    const auto begin = std::chrono::steady_clock::now();
    const std::clock_t clock = std::clock();
    out = model->network->Forward(x, t, inputs).to(at::kCPU);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    const double busy = static_cast<double>(std::clock() - clock) / CLOCKS_PER_SEC;
    if (i > 0) seconds += (i > 1 ? ", " : "") + std::to_string(took.count());
    if (i > 0) processor += (i > 1 ? ", " : "") + std::to_string(busy);
  }
  const double difference = (out - io->Find("out")).abs().max().item<double>();
  std::printf("{\"seconds\": [%s], \"processor\": [%s], \"difference\": %g}\n", seconds.c_str(), processor.c_str(),
              difference);
  return 0;
}

}  // namespace
}  // namespace atelier

int main(int argc, char** argv) {
  if (argc != 6) {
    std::fprintf(stderr, "usage: unet_step_bench UNET.safetensors IO.safetensors THREADS REPEATS cpu|cuda:N\n");
    return 2;
  }
  return atelier::Main(argv);
}
