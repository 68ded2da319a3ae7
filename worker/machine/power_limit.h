// The power limit of a worker's GPU, through NVIDIA's management library (NVML), which the driver brings.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/base/status.h"

namespace atelier {

/// Thread: one at a time.
class PowerLimit {
 public:
  /// `device` as a worker has it: "cpu", "cuda:1".
  explicit PowerLimit(std::string device);
  /// Sets the limit that the GPU had before.
  ~PowerLimit();
  PowerLimit(const PowerLimit&) = delete;
  PowerLimit& operator=(const PowerLimit&) = delete;

  /// From now on `watts`; 0: as it was found. The same value twice does nothing, so what is refused is refused once;
  /// only giving back is tried again. Errors, with the value, what the GPU takes and what to do: FAILED_PRECONDITION
  /// (no GPU, no NVML, no permission), INVALID_ARGUMENT (out of range). The limit then stays as it is. Source: NVML API
  /// reference, "Device Commands" and "Device Queries"; milliwatts.
  Status Set(uint32_t watts);

 private:
  class Gpu;
  Status Open();
  const std::string device_;
  uint32_t asked_ = 0;    // last, whether it was refused or not
  bool changed_ = false;  // the GPU's limit is ours
  std::unique_ptr<Gpu> gpu_;
};

}  // namespace atelier
