#include "worker/machine/power_limit.h"

#include <dlfcn.h>

#include <array>
#include <charconv>

namespace atelier {
namespace {

constexpr int kNoPermission = 4;  // NVML_ERROR_NO_PERMISSION
constexpr unsigned kMilli = 1000;

template <typename Function>
bool Find(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(library, name));
  return function != nullptr;
}

// "GPU-8-4-4-4-12" of CUDA's device of this number, which $CUDA_VISIBLE_DEVICES may have renumbered.
StatusOr<std::string> UuidOf(int number) {
  struct Uuid {
    std::array<unsigned char, 16> bytes;
  };
  void* cuda = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  int (*init)(unsigned) = nullptr;
  int (*get)(int*, int) = nullptr;
  int (*uuid)(Uuid*, int) = nullptr;
  int device = 0;
  Uuid found{};
  if (cuda == nullptr || !Find(cuda, "cuInit", init) || !Find(cuda, "cuDeviceGet", get) ||
      !Find(cuda, "cuDeviceGetUuid", uuid) || init(0) != 0 || get(&device, number) != 0 || uuid(&found, device) != 0)
    return FailedPrecondition("the NVIDIA driver does not tell which GPU cuda:", number, " is");
  std::string text = "GPU";
  for (size_t i = 0; i < found.bytes.size(); ++i) {
    if (i == 0 || i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += "0123456789abcdef"[found.bytes[i] >> 4];
    text += "0123456789abcdef"[found.bytes[i] & 15];
  }
  return text;
}

}  // namespace

class PowerLimit::Gpu {
 public:
  static StatusOr<std::unique_ptr<Gpu>> Open(const std::string& uuid) {
    std::unique_ptr<Gpu> gpu(new Gpu(uuid));
    void* nvml = dlopen("libnvidia-ml.so.1", RTLD_LAZY | RTLD_LOCAL);
    int (*init)() = nullptr;
    int (*by_uuid)(const char*, void**) = nullptr;
    if (nvml == nullptr || !Find(nvml, "nvmlInit_v2", init) || !Find(nvml, "nvmlDeviceGetHandleByUUID", by_uuid) ||
        !Find(nvml, "nvmlErrorString", gpu->text_) ||
        !Find(nvml, "nvmlDeviceGetPowerManagementLimitConstraints", gpu->range_) ||
        !Find(nvml, "nvmlDeviceGetPowerManagementLimit", gpu->get_) ||
        !Find(nvml, "nvmlDeviceSetPowerManagementLimit", gpu->set_))
      return FailedPrecondition("there is no NVML (libnvidia-ml.so.1); Debian's package libnvidia-ml1 brings it");
    int failed = init();
    if (failed == 0) failed = by_uuid(uuid.c_str(), &gpu->handle_);
    if (failed == 0) failed = gpu->get_(gpu->handle_, &gpu->found_);
    if (failed == 0) failed = gpu->range_(gpu->handle_, &gpu->least_, &gpu->most_);
    if (failed != 0)
      return FailedPrecondition("NVML does not tell the power limit of ", uuid, ": ", gpu->text_(failed));
    return gpu;
  }
  Status Set(unsigned milliwatts) {
    const int failed = set_(handle_, milliwatts);
    if (failed == 0) return OkStatus();
    if (failed == kNoPermission)
      return FailedPrecondition("this user may not set it; as root `nvidia-smi -i ", uuid_, " -pl ",
                                milliwatts / kMilli, "` does");
    return InvalidArgument("NVML refuses it: ", text_(failed));
  }
  unsigned found() const { return found_; }
  unsigned least() const { return least_; }
  unsigned most() const { return most_; }

 private:
  explicit Gpu(std::string uuid) : uuid_(std::move(uuid)) {}
  const std::string uuid_;
  const char* (*text_)(int) = nullptr;
  int (*range_)(void*, unsigned*, unsigned*) = nullptr;
  int (*get_)(void*, unsigned*) = nullptr;
  int (*set_)(void*, unsigned) = nullptr;
  void* handle_ = nullptr;
  unsigned found_ = 0, least_ = 0, most_ = 0;
};

PowerLimit::PowerLimit(std::string device) : device_(std::move(device)) {}

PowerLimit::~PowerLimit() { (void)Set(0); }

Status PowerLimit::Open() {
  int number = 0;
  const std::string_view digits = device_.starts_with("cuda:") ? std::string_view(device_).substr(5) : "";
  if (digits.empty() || std::from_chars(digits.data(), digits.data() + digits.size(), number).ec != std::errc())
    return FailedPrecondition("only a GPU has a power limit; take it out of the configuration");
  ASSIGN_OR_RETURN(const std::string uuid, UuidOf(number));
  ASSIGN_OR_RETURN(gpu_, Gpu::Open(uuid));
  return OkStatus();
}

Status PowerLimit::Set(uint32_t watts) {
  if (watts == asked_ && !(watts == 0 && changed_)) return OkStatus();
  asked_ = watts;
  if (watts == 0 && !changed_) return OkStatus();
  const auto refused = [&](const Status& why) {
    const std::string range =
        gpu_ == nullptr ? "" : Cat(" (it takes ", gpu_->least() / kMilli, " to ", gpu_->most() / kMilli, " W)");
    return Annotate(why, Cat("the power limit of ", device_, " is not set to ",
                             watts == 0 ? "what it was" : Cat(watts, " W"), range));
  };
  if (gpu_ == nullptr)
    if (const Status opened = Open(); !opened.ok()) return refused(opened);
  const unsigned wanted = watts == 0 ? gpu_->found() : watts * kMilli;
  if (wanted < gpu_->least() || wanted > gpu_->most())
    return refused(InvalidArgument("it is out of range; give power_watts another value"));
  RETURN_IF_ERROR(refused(gpu_->Set(wanted)));
  changed_ = watts != 0;
  return OkStatus();
}

}  // namespace atelier
