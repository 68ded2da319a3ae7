#include "worker/engine/cuda_kernels.h"

#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>

#include <filesystem>

#include "worker/engine/cuda/kernels.h"
#include "worker/engine/guard.h"

namespace atelier::engine {
namespace {

struct Kernels {
  decltype(&atelier_cuda_group_norm_workspace) group_norm_workspace = nullptr;
  decltype(&atelier_cuda_group_norm) group_norm = nullptr;
  decltype(&atelier_cuda_error) error = nullptr;
};

// Written by the main thread before others start.
Kernels& Open() {
  static Kernels kernels;
  return kernels;
}

template <typename F>
bool Find(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(::dlsym(library, name));
  return function != nullptr;
}

std::optional<int32_t> TypeOf(const at::Tensor& x) {
  switch (x.scalar_type()) {
    case at::kFloat:
      return kAtelierCudaFloat;
    case at::kHalf:
      return kAtelierCudaHalf;
    case at::kBFloat16:
      return kAtelierCudaBFloat16;
    default:
      return std::nullopt;
  }
}

// Per channel, of x's type and place, in one piece; or absent.
bool FitsChannels(const at::Tensor& parameter, const at::Tensor& x) {
  return !parameter.defined() || (parameter.device() == x.device() && parameter.scalar_type() == x.scalar_type() &&
                                  parameter.is_contiguous() && parameter.numel() == x.size(1));
}

}  // namespace

std::string CudaKernelsPath() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  return (error ? std::filesystem::path(".") : self.parent_path()) / "libatelier_cuda.so";
}

Status OpenCudaKernels(const std::string& path) {
  const std::string name = std::filesystem::path(path).filename();
  if (std::error_code error; !std::filesystem::exists(path, error))
    return NotFound(name, " is not beside the program: it was built without nvcc");
  // Never closed: queued kernels and the CUDA runtime in it outlive any call.
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* why = ::dlerror();
    return FailedPrecondition(name, " cannot be opened: ", why != nullptr ? why : "unknown reason");
  }
  decltype(&atelier_cuda_abi) abi = nullptr;
  if (!Find(library, "atelier_cuda_abi", abi) || abi() != kAtelierCudaAbi) {
    return FailedPrecondition(name, " is of version ", abi != nullptr ? abi() : 0, ", this program needs ",
                              static_cast<int>(kAtelierCudaAbi), "; build both anew");
  }
  Kernels kernels;
  if (!Find(library, "atelier_cuda_group_norm_workspace", kernels.group_norm_workspace) ||
      !Find(library, "atelier_cuda_group_norm", kernels.group_norm) ||
      !Find(library, "atelier_cuda_error", kernels.error)) {
    return FailedPrecondition(name, " lacks a function of its version; build it anew");
  }
  Open() = kernels;
  return OkStatus();
}

bool HasCudaKernels() { return Open().group_norm != nullptr; }

std::optional<at::Tensor> FusedGroupNorm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                                         int64_t groups, double eps, bool silu) {
  const Kernels& kernels = Open();
  if (kernels.group_norm == nullptr || !x.is_cuda() || x.dim() < 2 || x.numel() == 0) return std::nullopt;
  const std::optional<int32_t> type = TypeOf(x);
  const bool plain = x.is_contiguous();
  const bool last = !plain && x.dim() == 4 && x.is_contiguous(at::MemoryFormat::ChannelsLast);
  if (!type.has_value() || (!plain && !last) || !FitsChannels(weight, x) || !FitsChannels(bias, x)) return std::nullopt;
  AtelierGroupNorm call{};
  call.device = x.device().index();
  call.type = *type;
  call.channels_last = last ? 1 : 0;
  call.silu = silu ? 1 : 0;
  call.batch = x.size(0);
  call.channels = x.size(1);
  call.area = x.numel() / (call.batch * call.channels);
  call.groups = groups;
  call.eps = eps;
  const int64_t floats = kernels.group_norm_workspace(&call);
  if (floats < 0) return std::nullopt;
  const at::Tensor workspace = at::empty({floats}, x.options().dtype(at::kFloat));
  at::Tensor out = at::empty_like(x);
  call.input = x.const_data_ptr();
  call.weight = weight.defined() ? weight.const_data_ptr() : nullptr;
  call.bias = bias.defined() ? bias.const_data_ptr() : nullptr;
  call.output = out.data_ptr();
  call.workspace = workspace.data_ptr<float>();
  call.stream = c10::impl::VirtualGuardImpl(at::kCUDA).getStream(x.device()).native_handle();
  const int32_t code = kernels.group_norm(&call);
  TORCH_CHECK(code == 0, "our group normalisation failed on the GPU: ", kernels.error(code));
  return out;
}

Status CheckCudaKernels(const at::Device& device) {
  if (!HasCudaKernels()) return FailedPrecondition("the library of CUDA kernels is not open");
  Status status = Guard([&]() -> Status {
    for (const at::ScalarType type : {at::kFloat, at::kHalf, at::kBFloat16}) {
      const auto options = at::TensorOptions(device).dtype(type);
      for (const bool last : {false, true}) {
        for (const bool silu : {false, true}) {
          // Odd sizes: packs do not fit the area, a chunk is not full.
          at::Tensor x = at::linspace(-3.0, 5.0, int64_t{2} * 64 * 9 * 11, options).reshape({2, 64, 9, 11});
          x = at::cos(x * 50) * 2 + x;
          if (last) x = x.contiguous(at::MemoryFormat::ChannelsLast);
          const at::Tensor weight = at::linspace(0.5, 1.5, 64, options), bias = at::linspace(-1.0, 1.0, 64, options);
          const std::optional<at::Tensor> ours = FusedGroupNorm(x, weight, bias, 32, 1e-5, silu);
          if (!ours.has_value()) return Internal("group normalisation is not done for ", c10::toString(type));
          at::Tensor expected =
              at::group_norm(x.to(at::kFloat), 32, weight.to(at::kFloat), bias.to(at::kFloat), 1e-5, false);
          if (silu) expected = at::silu(expected);
          const double bound = type == at::kFloat ? 1e-5 : type == at::kHalf ? 0.01 : 0.08;
          const double difference = (ours->to(at::kFloat) - expected).abs().max().item<double>();
          if (!(difference <= bound)) {
            return Internal("group normalisation in ", c10::toString(type), last ? ", channels last" : "",
                            silu ? ", with SiLU" : "", ", differs by ", difference, " from libtorch's");
          }
        }
      }
    }
    return OkStatus();
  });
  if (!status.ok()) Open() = Kernels{};
  return status;
}

}  // namespace atelier::engine
