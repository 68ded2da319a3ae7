// Times calls of one network, for the scripts that compare with diffusers.
#pragma once

#include <ATen/Parallel.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <string>

#include "worker/engine/device.h"
#include "worker/engine/model_cache.h"
#include "worker/engine/weights.h"

namespace atelier::bench {

/// Makes the call that is timed; `io` are the tensors that it takes.
using MakeCall = std::function<StatusOr<std::function<StatusOr<at::Tensor>()>>(
    const std::string& model, const engine::WeightSource& io, engine::Engine& engine, at::Device device)>;

inline Status TimeCalls(char** argv, const MakeCall& make) {
  ASSIGN_OR_RETURN(const at::Device device, engine::DeviceFor(argv[5]));
  at::set_num_threads(std::atoi(argv[3]));
  const c10::InferenceMode inference;
  engine::EngineOptions options;
  options.device = device;
  engine::Engine engine(options);
  ASSIGN_OR_RETURN(const engine::WeightSource io, engine::WeightSource::Open(argv[2]));
  ASSIGN_OR_RETURN(const auto call, make(argv[1], io, engine, device));
  at::Tensor out;
  std::string seconds, processor;
  for (int i = 0; i <= std::atoi(argv[4]); ++i) {
    const auto begin = std::chrono::steady_clock::now();
    const std::clock_t clock = std::clock();
    ASSIGN_OR_RETURN(out, call());
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    const double busy = static_cast<double>(std::clock() - clock) / CLOCKS_PER_SEC;
    if (i > 0) seconds += (i > 1 ? ", " : "") + std::to_string(took.count());
    if (i > 0) processor += (i > 1 ? ", " : "") + std::to_string(busy);
  }
  const double difference = (out - io.Find("out")).abs().max().item<double>();
  std::printf("{\"seconds\": [%s], \"processor\": [%s], \"difference\": %g}\n", seconds.c_str(), processor.c_str(),
              difference);
  return OkStatus();
}

/// usage: COMMAND MODEL.safetensors IO.safetensors THREADS REPEATS cpu|cuda:N
/// IO holds what the call takes, and the output `out` to compare with. Prints one line of JSON: the seconds of each
/// call after one that is not counted, its processor seconds, and the largest difference.
inline int ModelCallMain(int argc, char** argv, const MakeCall& make) {
  if (argc != 6) {
    std::fprintf(stderr, "usage: %s MODEL.safetensors IO.safetensors THREADS REPEATS cpu|cuda:N\n", argv[0]);
    return 2;
  }
  const Status status = TimeCalls(argv, make);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", std::string(Message(status)).c_str());
  return 1;
}

}  // namespace atelier::bench
