#include "worker/engine_startup/startup.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include "common/base/log.h"
#include "worker/engine/cuda_kernels.h"
#include "worker/engine/device.h"
#include "worker/engine/model_cache.h"
#include "worker/media/decoder.h"

namespace atelier {

StatusOr<EngineInfo> StartEngine(const EngineSetup& setup) {
  ASSIGN_OR_RETURN(const at::Device device, engine::DeviceFor(setup.device));
  if (setup.threads > 0) at::set_num_threads(setup.threads);
  engine::EngineOptions options;
  options.device = device;
  options.resident_bytes_max = setup.models_bytes_max;
  for (const std::string& root : setup.model_roots) options.embedding_folders.push_back(root + "/embeddings");
  engine::ConfigureEngine(options);
  media::DecodeInProcesses(setup.media_process);
  EngineInfo info;
  info.device = device.str();
  info.device_name = engine::DescribeDevice(device);
  if (device.is_cuda()) {
    Status kernels = engine::OpenCudaKernels(engine::CudaKernelsPath());
    if (kernels.ok()) kernels = engine::CheckCudaKernels(device);
    if (kernels.ok()) {
      LogInfo("our CUDA kernels are in use");
    } else {
      LogWarning("libtorch's kernels are used instead of our own, which is slower: ", Message(kernels));
      info.device_name += ", libtorch's kernels only";
    }
    info.memory_bytes = static_cast<uint64_t>(engine::MemoryOf(device).total);
    info.memory_free = [device] { return static_cast<uint64_t>(engine::MemoryOf(device).free); };
  } else {
    info.device_name += Cat(", ", at::get_num_threads(), " threads");
  }
  info.executor_scope = [](const std::function<void()>& body) {
    at::init_num_threads();  // of this thread: oneDNN asks OpenMP alone, and packs weights for that many
    const c10::InferenceMode inference;
    body();
  };
  return info;
}

}  // namespace atelier
