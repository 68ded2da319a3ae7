// Tells what the calls of one picture's networks hold at once beside the weights, for
// tests/bench/memory/memory_test.cc.
//
// usage: activations_bench CHECKPOINT SIDE THREADS
// Encodes a prompt, makes one call of the diffusion network for both prompts and decodes the picture of SIDE x SIDE
// pixels, each once to load its weights and once counted. Prints one line of JSON: the most bytes that tensors held at
// once in each of the three; what a weight takes while it is cast for its use is among them.
#include <ATen/Parallel.h>

#include <cstdio>
#include <cstdlib>
#include <functional>

#include "tests/harness/limited_memory.h"
#include "worker/engine/guard.h"
#include "worker/models/loaders.h"

namespace atelier {
namespace {

int64_t Peak(const std::function<void()>& call) {
  call();
  const test::LimitedMemory memory;
  call();
  return memory.peak();
}

Status Run(char** argv) {
  const int64_t side = std::atoll(argv[2]) / 8;
  at::set_num_threads(std::atoi(argv[3]));
  return engine::Guard([&]() -> Status {
    engine::Engine engine({});
    ASSIGN_OR_RETURN(const auto parts, models::LoadCheckpoint(argv[1], engine));
    engine::ModelCallInputs inputs;
    const int64_t text = Peak([&] {
      const auto cond = parts->text_encoder->Encode("a photograph of a lighthouse", 0);
      if (cond.ok()) inputs.context = cond->entries[0].cond.repeat({2, 1, 1});
    });
    if (!inputs.context.defined()) return Internal("the prompt was not encoded");
    const at::Tensor x = at::randn({2, 4, side, side}), t = at::full({2}, 500.0);
    const int64_t step = Peak([&] { parts->diffusion.network->Forward(x, t, inputs); });
    const int64_t decode = Peak([&] { parts->autoencoder->Decode(x.narrow(0, 0, 1)).IgnoreError(); });
    std::printf("{\"text\": %lld, \"step\": %lld, \"decode\": %lld}\n", static_cast<long long>(text),
                static_cast<long long>(step), static_cast<long long>(decode));
    return OkStatus();
  });
}

}  // namespace
}  // namespace atelier

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: activations_bench CHECKPOINT SIDE THREADS\n");
    return 2;
  }
  const atelier::Status status = atelier::Run(argv);
  if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(atelier::Message(status)).c_str());
  return status.ok() ? 0 : 1;
}
