// Our own CUDA kernels (worker/engine/cuda), out of a library that is opened when there is a GPU. Where it is absent or
// does not do a call, libtorch's operators do.
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <string>

#include "common/base/status.h"

namespace atelier::engine {

/// Where the build and deploy/gpu-bundle put the library: libatelier_cuda.so beside the running program.
std::string CudaKernelsPath();

/// Opens the library; calls of this process use it from then on. Errors: NOT_FOUND when the file is absent (built
/// without nvcc), FAILED_PRECONDITION when it does not open or is of another build. Needs no GPU. Thread: main, before
/// others compute.
Status OpenCudaKernels(const std::string& path);

/// Compares each kernel with libtorch's operators on small tensors on `device`; on a difference or an error the library
/// is closed to further calls. Errors: INTERNAL, saying what differs; FAILED_PRECONDITION when no library is open.
Status CheckCudaKernels(const at::Device& device);

/// Whether calls go to the library.
bool HasCudaKernels();

/// group_norm(x) [B,C,...] in x's layout, with SiLU after it if `silu`; weight and bias [C] of x's type or undefined.
/// Nothing when x is not on a GPU, the library is not open, or does not do these sizes, types or strides.
/// Thread: any.
std::optional<at::Tensor> FusedGroupNorm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                                         int64_t groups, double eps, bool silu);

}  // namespace atelier::engine
