// Times the decoding of one latent, for tests/bench/wan/against_diffusers.py.
//
// usage: vae_decode_bench VAE.safetensors IO.safetensors THREADS REPEATS cpu|cuda:N
// IO holds the latent `z` and the pictures `out` (f32 [B,H,W,3], 0..1) to compare with. Prints one line of JSON: the
// seconds of each call after one that is not counted, and the largest difference.
#include <ATen/Parallel.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
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
  const auto vae = models::LoadAutoencoder(argv[1], engine);
  const auto io = engine::WeightSource::Open(argv[2]);
  for (const Status& status : {vae.status(), io.status()}) {
    if (status.ok()) continue;
    std::fprintf(stderr, "%s\n", std::string(Message(status)).c_str());
    return 1;
  }
  at::Tensor out;
  std::string seconds;
  for (int i = 0; i <= std::atoi(argv[4]); ++i) {
    const auto begin = std::chrono::steady_clock::now();
    const auto pixels = (*vae)->Decode(io->Find("z"));
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    if (!pixels.ok()) {
      std::fprintf(stderr, "%s\n", std::string(Message(pixels.status())).c_str());
      return 1;
    }
    out = *pixels;
    if (i > 0) seconds += (i > 1 ? ", " : "") + std::to_string(took.count());
  }
  const double difference = (out - io->Find("out")).abs().max().item<double>();
  std::printf("{\"seconds\": [%s], \"difference\": %g}\n", seconds.c_str(), difference);
  return 0;
}

}  // namespace
}  // namespace atelier

int main(int argc, char** argv) {
  if (argc != 6) {
    std::fprintf(stderr, "usage: vae_decode_bench VAE.safetensors IO.safetensors THREADS REPEATS cpu|cuda:N\n");
    return 2;
  }
  return atelier::Main(argv);
}
