// The C interface of libatelier_cuda.so, our own CUDA kernels. It knows pointers, sizes and a stream, no libtorch: the
// worker opens the library at run time (worker/engine/cuda_kernels.h) and does without it where it is absent.
#pragma once

#include <cstdint>

extern "C" {

/// Raised with any change of this header; a library of another number is not used.
enum { kAtelierCudaAbi = 1 };

/// Element types of tensors.
enum AtelierCudaType : int32_t { kAtelierCudaFloat = 0, kAtelierCudaHalf = 1, kAtelierCudaBFloat16 = 2 };

/// y = x normalised over groups of channels, times weight plus bias, then, if `silu`, y * sigmoid(y). Sums are in
/// float32, their order depends on the sizes of one sample alone; y is rounded to `type` before the SiLU, as by two
/// operations.
struct AtelierGroupNorm {
  int32_t device;         // its index
  int32_t type;           // AtelierCudaType of input, output, weight and bias
  int32_t channels_last;  // 0: [batch,channels,area] in memory; 1: [batch,area,channels]
  int32_t silu;           // 0 or 1
  int64_t batch, channels, area, groups;
  double eps;
  const void* input;
  const void* weight;  // [channels], or null for ones
  const void* bias;    // [channels], or null for zeros
  void* output;        // may be the input
  float* workspace;    // as many floats as atelier_cuda_group_norm_workspace says
  void* stream;        // cudaStream_t
};

/// kAtelierCudaAbi as the library was built. Needs no GPU.
int32_t atelier_cuda_abi(void);

/// Floats of workspace for a call of these sizes (pointers are not looked at), or -1 when the kernels do not do it:
/// groups that do not divide the channels, a sample of 2^31 elements, more than 1024 channels in a group. Needs no GPU.
int64_t atelier_cuda_group_norm_workspace(const AtelierGroupNorm* call);

/// Queues the work on the stream. 0, or a cudaError_t; -1 as above. Thread: any.
int32_t atelier_cuda_group_norm(const AtelierGroupNorm* call);

/// The text of a cudaError_t. Static.
const char* atelier_cuda_error(int32_t code);
}
