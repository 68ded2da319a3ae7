#include "worker/engine/device.h"

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <dlfcn.h>

#include <atomic>
#include <charconv>

#include "common/base/log.h"
#include "worker/engine/guard.h"

namespace atelier::engine {
namespace {

constexpr int64_t kCastOnceBytesMax = 256 << 20;

// Whether CUDA works in this process. Opened at most once.
bool OpenCuda() {
  static const bool opened = [] {
    void* driver = ::dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (driver == nullptr) return false;
    if (::dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
      const char* why = ::dlerror();
      LogWarning("a GPU driver is present but libtorch_cuda cannot be opened: ",
                 why != nullptr ? why : "unknown reason");
      return false;
    }
    return true;
  }();
  return opened && at::hasCUDA();
}

// From the driver itself: ATen alone has no call for it, and the CUDA headers are not needed to build.
int ComputeCapabilityMajor(int index) {
  static void* driver = ::dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  if (driver == nullptr) return 0;
  using Attribute = int (*)(int*, int, int);
  const auto attribute = reinterpret_cast<Attribute>(::dlsym(driver, "cuDeviceGetAttribute"));
  constexpr int kComputeCapabilityMajor = 75;
  int major = 0;
  return attribute != nullptr && attribute(&major, kComputeCapabilityMajor, index) == 0 ? major : 0;
}

}  // namespace

StatusOr<at::Device> DeviceFor(std::string_view setting) {
  if (setting == "cpu") return at::Device(at::kCPU);
  int index = 0;
  if (setting != "auto" && setting != "cuda") {
    const std::string_view digits = setting.substr(0, 5) == "cuda:" ? setting.substr(5) : std::string_view();
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), index);
    if (digits.empty() || parsed.ec != std::errc() || parsed.ptr != digits.data() + digits.size() || index < 0 ||
        index > 127) {
      return InvalidArgument("device \"", setting, "\" is not known: use auto, cpu or cuda:N");
    }
  }
  int64_t count = 0;
  if (OpenCuda()) {
    try {
      count = at::detail::getCUDAHooks().deviceCount();
    } catch (const std::exception&) {
      count = 0;
    }
  }
  if (setting == "auto") return count > 0 ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  if (index >= count) return NotFound("device \"", setting, "\" is absent: this machine has ", count, " usable GPUs");
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index));
}

Precision PrecisionFor(const at::Device& device, Part part, int64_t bytes) {
  Precision p;
  if (device.is_cpu()) {
    p.keep_stored = bytes > kCastOnceBytesMax;
    return p;
  }
  switch (part) {
    case Part::kDiffusion:
      p.storage = p.compute = at::kHalf;
      break;
    case Part::kDiffusionBfloat16:
      p.storage = p.compute = ComputeCapabilityMajor(device.index()) >= 8 ? at::kBFloat16 : at::kHalf;
      break;
    case Part::kTextEncoder:
      p.keep_stored = true;
      break;
    case Part::kAutoencoder:
      if (ComputeCapabilityMajor(device.index()) >= 8) p.storage = p.compute = at::kBFloat16;
      break;
    case Part::kUpscaler:
      break;
  }
  return p;
}

DeviceMemory MemoryOf(const at::Device& device) {
  DeviceMemory memory;
  if (!device.is_cuda()) return memory;
  try {  // also from threads that have done nothing on the device, and after it has failed
    at::globalContext().lazyInitDevice(at::kCUDA);
    const auto [free, total] = c10::getDeviceAllocator(at::kCUDA)->getMemoryInfo(device.index());
    memory.total = static_cast<int64_t>(total);
    memory.free = static_cast<int64_t>(free);
  } catch (const std::exception&) {
    static std::atomic<bool> told = false;  // each heartbeat asks
    if (!told.exchange(true))
      LogWarning("the GPU does not tell how much memory it has: ", Message(StatusOfCurrentException()));
  }
  return memory;
}

std::string DescribeDevice(const at::Device& device) {
  if (!device.is_cuda()) return "CPU";
  static void* driver = ::dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  char name[256] = "GPU";
  if (driver != nullptr) {
    using Name = int (*)(char*, int, int);
    const auto get = reinterpret_cast<Name>(::dlsym(driver, "cuDeviceGetName"));
    if (get != nullptr) get(name, sizeof name, device.index());
  }
  return Cat(name, ", ", MemoryOf(device).total / 1'000'000'000, " GB");
}

}  // namespace atelier::engine
