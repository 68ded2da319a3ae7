// Which device computes, and in which types. Source: spec engine.md 10.2.
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <string_view>

#include "common/base/status.h"

namespace atelier::engine {

/// The device of a setting: "auto" (the first GPU when there is a usable one, else the CPU), "cpu" or "cuda:N". Opens
/// libtorch_cuda when a GPU driver is present; its hooks register only if that happens before the process makes its
/// first tensor, so call this first. Errors: INVALID_ARGUMENT for another word; NOT_FOUND when that GPU is absent.
/// Thread: main, once.
StatusOr<at::Device> DeviceFor(std::string_view setting);

/// A kind of network, for the choice of types.
enum class Part {
  kDiffusion,
  kDiffusionBfloat16,  // of families that the reference computes in bfloat16 where the GPU has it
  kTextEncoder,
  kAutoencoder,
  kUpscaler
};

/// How a part's weights are kept and what it computes in.
struct Precision {
  at::ScalarType storage = at::kFloat;  // of weights on the device, unless keep_stored
  at::ScalarType compute = at::kFloat;  // of activations; weights are cast layer by layer when they differ
  bool keep_stored = false;             // weights stay as the file has them
};

/// Types for a part whose file holds `bytes` of weights. On the CPU all computes in float32; weights below 256 MiB are
/// cast once, larger ones stay as stored (mapped, not copied) and are cast as they are used. On a GPU: diffusion
/// float16, or bfloat16 for kDiffusionBfloat16; text encoders float32 over stored weights; autoencoders bfloat16 where
/// the GPU has it; upscalers float32. What ParamSet makes of single parameters: 8-bit weights stay, full
/// floats of text encoders become halves. Source: spec engine.md 10.2. Thread: any.
Precision PrecisionFor(const at::Device& device, Part part, int64_t bytes);

/// Name, memory and driver of the device in one line for people, e.g. "NVIDIA H100, 80 GB". Thread: any.
std::string DescribeDevice(const at::Device& device);

/// Total and free bytes of a GPU's memory; zeros for the CPU, and with a warning when the GPU does not tell. Thread:
/// any.
struct DeviceMemory {
  int64_t total = 0, free = 0;
};
DeviceMemory MemoryOf(const at::Device& device);

}  // namespace atelier::engine
