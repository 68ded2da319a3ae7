// Group normalisation with or without SiLU in three launches: moments of chunks, their sum as one factor and one
// summand per channel, and y = x * factor + summand. ATen's own makes an NCHW copy of what convolutions left channels
// last and takes another pass for the SiLU.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "worker/engine/cuda/kernels.h"

namespace {

constexpr int kThreads = 256;
constexpr int kMaxChunks = 256;
constexpr int64_t kChunkRows = 64;        // of a channels-last chunk
constexpr int64_t kChunkElements = 8192;  // of an NCHW chunk

__device__ inline float ToFloat(float x) { return x; }
__device__ inline float ToFloat(__half x) { return __half2float(x); }
__device__ inline float ToFloat(__nv_bfloat16 x) { return __bfloat162float(x); }
template <typename T>
__device__ T Round(float x);
template <>
__device__ inline float Round<float>(float x) {
  return x;
}
template <>
__device__ inline __half Round<__half>(float x) {
  return __float2half_rn(x);
}
template <>
__device__ inline __nv_bfloat16 Round<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

template <typename T, int V>
struct alignas(sizeof(T) * V) Pack {
  T v[V];
};

/// Count, mean and sum of squared differences from it: sums that do not cancel (Chan et al.).
struct Moments {
  float n, mean, m2;
};

__device__ inline Moments Merge(const Moments& a, const Moments& b) {
  const float n = a.n + b.n;
  if (n == 0.0f) return a;
  const float d = b.mean - a.mean, part = b.n / n;
  return {n, a.mean + d * part, a.m2 + b.m2 + d * d * a.n * part};
}

template <int V>
__device__ inline Moments Of(const float* x) {
  float sum = 0.0f, m2 = 0.0f;
  for (int i = 0; i < V; ++i) sum += x[i];
  const float mean = sum / V;
  for (int i = 0; i < V; ++i) m2 += (x[i] - mean) * (x[i] - mean);
  return {static_cast<float>(V), mean, m2};
}

// NCHW: a group is `size` elements in a row. Block (chunk, sample and group).
template <typename T, int V>
__global__ void __launch_bounds__(kThreads)
    MomentsOfRows(const T* input, int64_t size, int64_t per_chunk, Moments* partial) {
  __shared__ Moments shared[kThreads];
  const int tid = static_cast<int>(threadIdx.x);
  const T* x = input + static_cast<int64_t>(blockIdx.y) * size;
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * per_chunk;
  const int64_t end = begin + per_chunk < size ? begin + per_chunk : size;
  Moments mine{0.0f, 0.0f, 0.0f};
  for (int64_t i = begin + static_cast<int64_t>(tid) * V; i < end; i += static_cast<int64_t>(kThreads) * V) {
    const Pack<T, V> pack = *reinterpret_cast<const Pack<T, V>*>(x + i);
    float values[V];
    for (int k = 0; k < V; ++k) values[k] = ToFloat(pack.v[k]);
    mine = Merge(mine, Of<V>(values));
  }
  shared[tid] = mine;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (tid < half) shared[tid] = Merge(shared[tid], shared[tid + half]);
  }
  if (tid == 0) partial[static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x] = shared[0];
}

// Channels last: a thread takes P neighbouring channels of a group, every `rows`th pixel of the chunk. Block (chunk,
// sample, some groups) of blockDim.x = their channels / P by blockDim.y = rows threads.
template <typename T, int P>
__global__ void __launch_bounds__(1024) MomentsOfColumns(const T* input, int64_t area, int64_t channels, int64_t groups,
                                                         int64_t per_chunk, Moments* partial) {
  extern __shared__ unsigned char raw[];
  Moments* shared = reinterpret_cast<Moments*>(raw);
  constexpr int kAtOnce = 4;
  const int threads_per_group = static_cast<int>(channels / groups / P);
  const int groups_here = static_cast<int>(blockDim.x) / threads_per_group;
  const int64_t first_group = static_cast<int64_t>(blockIdx.z) * groups_here;
  const int64_t group = first_group + static_cast<int>(threadIdx.x) / threads_per_group;
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * per_chunk;
  const int64_t end = begin + per_chunk < area ? begin + per_chunk : area;
  Moments mine{0.0f, 0.0f, 0.0f};
  if (group < groups) {
    const int64_t channel = first_group * threads_per_group * P + static_cast<int64_t>(threadIdx.x) * P;
    const T* x = input + static_cast<int64_t>(blockIdx.y) * area * channels + channel;
    const int64_t step = blockDim.y;
    int64_t row = begin + threadIdx.y;
    for (; row + (kAtOnce - 1) * step < end; row += kAtOnce * step) {
      float values[kAtOnce * P];
      for (int k = 0; k < kAtOnce; ++k) {
        const Pack<T, P> pack = *reinterpret_cast<const Pack<T, P>*>(x + (row + k * step) * channels);
        for (int p = 0; p < P; ++p) values[k * P + p] = ToFloat(pack.v[p]);
      }
      mine = Merge(mine, Of<kAtOnce * P>(values));
    }
    for (; row < end; row += step) {
      float values[P];
      const Pack<T, P> pack = *reinterpret_cast<const Pack<T, P>*>(x + row * channels);
      for (int p = 0; p < P; ++p) values[p] = ToFloat(pack.v[p]);
      mine = Merge(mine, Of<P>(values));
    }
  }
  const int width = static_cast<int>(blockDim.x);
  const int tid = static_cast<int>(threadIdx.y) * width + static_cast<int>(threadIdx.x);
  shared[tid] = mine;
  __syncthreads();
  if (tid >= groups_here || first_group + tid >= groups) return;
  Moments sum{0.0f, 0.0f, 0.0f};
  for (int r = 0; r < static_cast<int>(blockDim.y); ++r) {
    for (int c = 0; c < threads_per_group; ++c) sum = Merge(sum, shared[r * width + tid * threads_per_group + c]);
  }
  partial[(static_cast<int64_t>(blockIdx.y) * groups + first_group + tid) * gridDim.x + blockIdx.x] = sum;
}

// Block: sample and group. factor and summand: [batch,channels].
template <typename T>
__global__ void Finish(const Moments* partial, int chunks, int64_t groups, int64_t per_group, float eps,
                       const T* weight, const T* bias, float* factor, float* summand) {
  __shared__ Moments shared[32];
  const int tid = static_cast<int>(threadIdx.x);
  const Moments* mine = partial + static_cast<int64_t>(blockIdx.x) * chunks;
  Moments sum{0.0f, 0.0f, 0.0f};
  for (int i = tid; i < chunks; i += 32) sum = Merge(sum, mine[i]);
  shared[tid] = sum;
  for (int half = 16; half > 0; half /= 2) {
    __syncthreads();
    if (tid < half) shared[tid] = Merge(shared[tid], shared[tid + half]);
  }
  __syncthreads();
  const float mean = shared[0].mean, scale = rsqrtf(shared[0].m2 / shared[0].n + eps);
  const int64_t first = static_cast<int64_t>(blockIdx.x) % groups * per_group;
  for (int64_t i = tid; i < per_group; i += 32) {
    const float a = weight != nullptr ? scale * ToFloat(weight[first + i]) : scale;
    const float b = bias != nullptr ? ToFloat(bias[first + i]) : 0.0f;
    const int64_t at = static_cast<int64_t>(blockIdx.x) * per_group + i;
    factor[at] = a;
    summand[at] = b - mean * a;
  }
}

// Sample blockIdx.y, V elements per thread; they share a channel (NCHW) or are V channels of one pixel.
template <typename T, int V, bool kChannelsLast, bool kSilu>
__global__ void __launch_bounds__(kThreads)
    Apply(const T* input, uint32_t channels, uint32_t area, const float* factor, const float* summand, T* output) {
  const uint32_t packs = static_cast<uint32_t>(static_cast<uint64_t>(channels) * area / V);
  const uint32_t index = blockIdx.x * static_cast<uint32_t>(kThreads) + threadIdx.x;
  if (index >= packs) return;
  const uint32_t element = index * V;
  const uint32_t channel = kChannelsLast ? element % channels : element / area;
  const float* a = factor + static_cast<int64_t>(blockIdx.y) * channels + channel;
  const float* b = summand + static_cast<int64_t>(blockIdx.y) * channels + channel;
  const int64_t at = static_cast<int64_t>(blockIdx.y) * channels * area + element;
  Pack<T, V> pack = *reinterpret_cast<const Pack<T, V>*>(input + at);
  for (int k = 0; k < V; ++k) {
    const int c = kChannelsLast ? k : 0;
    pack.v[k] = Round<T>(ToFloat(pack.v[k]) * a[c] + b[c]);
    if (kSilu) {
      const float y = ToFloat(pack.v[k]);
      pack.v[k] = Round<T>(y / (1.0f + expf(-y)));
    }
  }
  *reinterpret_cast<Pack<T, V>*>(output + at) = pack;
}

struct Sizes {
  int64_t per_group = 0, per_chunk = 0;
  int chunks = 0;
};

// False for what the kernels do not do.
bool SizesOf(const AtelierGroupNorm& call, Sizes& sizes) {
  if (call.batch < 1 || call.channels < 1 || call.area < 1 || call.groups < 1 || call.channels % call.groups != 0)
    return false;
  constexpr int64_t kElementsMax = int64_t{1} << 31;
  sizes.per_group = call.channels / call.groups;
  if (sizes.per_group > 1024 || call.channels >= kElementsMax / call.area || call.batch > 65535 / call.groups)
    return false;
  // Not by the batch: a sample comes out the same whoever stands beside it.
  const int64_t length = call.channels_last != 0 ? call.area : call.area * sizes.per_group;
  const int64_t least = call.channels_last != 0 ? kChunkRows : kChunkElements;
  const int64_t chunks = std::min<int64_t>((length + least - 1) / least, kMaxChunks);
  constexpr int64_t kPackMax = 8;
  sizes.per_chunk = ((length + chunks - 1) / chunks + kPackMax - 1) / kPackMax * kPackMax;
  sizes.chunks = static_cast<int>((length + sizes.per_chunk - 1) / sizes.per_chunk);
  return true;
}

bool Aligned(const void* pointer, size_t bytes) { return reinterpret_cast<uintptr_t>(pointer) % bytes == 0; }

template <typename T, int P>
void StartColumns(const AtelierGroupNorm& call, const Sizes& sizes, Moments* partial, cudaStream_t stream) {
  const int64_t per_group = sizes.per_group / P;
  const int64_t here = std::clamp<int64_t>(kThreads / per_group, 1, call.groups);
  const auto width = static_cast<unsigned>(here * per_group);
  const unsigned rows = std::max(1u, 512 / width);
  const dim3 grid(static_cast<unsigned>(sizes.chunks), static_cast<unsigned>(call.batch),
                  static_cast<unsigned>((call.groups + here - 1) / here));
  MomentsOfColumns<T, P><<<grid, dim3(width, rows), width * rows * sizeof(Moments), stream>>>(
      static_cast<const T*>(call.input), call.area, call.channels, call.groups, sizes.per_chunk, partial);
}

template <typename T, int V, bool kChannelsLast>
void StartApply(const AtelierGroupNorm& call, const float* factor, const float* summand, cudaStream_t stream) {
  const int64_t packs = call.channels * call.area / V;
  const dim3 grid(static_cast<unsigned>((packs + kThreads - 1) / kThreads), static_cast<unsigned>(call.batch));
  const auto channels = static_cast<uint32_t>(call.channels), area = static_cast<uint32_t>(call.area);
  const T* input = static_cast<const T*>(call.input);
  T* output = static_cast<T*>(call.output);
  if (call.silu != 0) {
    Apply<T, V, kChannelsLast, true><<<grid, kThreads, 0, stream>>>(input, channels, area, factor, summand, output);
  } else {
    Apply<T, V, kChannelsLast, false><<<grid, kThreads, 0, stream>>>(input, channels, area, factor, summand, output);
  }
}

template <typename T>
void Start(const AtelierGroupNorm& call, const Sizes& sizes) {
  constexpr int kPack = 16 / sizeof(T);
  const auto stream = static_cast<cudaStream_t>(call.stream);
  const int64_t blocks = call.batch * call.groups;
  float* factor = call.workspace;
  float* summand = factor + call.batch * call.channels;
  Moments* partial = reinterpret_cast<Moments*>(summand + call.batch * call.channels);
  const bool packs = (call.channels_last != 0 ? call.channels : call.area) % kPack == 0 && Aligned(call.input, 16) &&
                     Aligned(call.output, 16);
  if (call.channels_last != 0) {
    if (sizes.per_group % 2 == 0 && Aligned(call.input, 2 * sizeof(T))) {
      StartColumns<T, 2>(call, sizes, partial, stream);
    } else {
      StartColumns<T, 1>(call, sizes, partial, stream);
    }
  } else {
    const dim3 grid(static_cast<unsigned>(sizes.chunks), static_cast<unsigned>(blocks));
    const int64_t size = call.area * sizes.per_group;
    const T* input = static_cast<const T*>(call.input);
    if (packs) {
      MomentsOfRows<T, kPack><<<grid, kThreads, 0, stream>>>(input, size, sizes.per_chunk, partial);
    } else {
      MomentsOfRows<T, 1><<<grid, kThreads, 0, stream>>>(input, size, sizes.per_chunk, partial);
    }
  }
  Finish<T><<<static_cast<unsigned>(blocks), 32, 0, stream>>>(
      partial, sizes.chunks, call.groups, sizes.per_group, static_cast<float>(call.eps),
      static_cast<const T*>(call.weight), static_cast<const T*>(call.bias), factor, summand);
  if (call.channels_last != 0) {
    if (packs) {
      StartApply<T, kPack, true>(call, factor, summand, stream);
    } else {
      StartApply<T, 1, true>(call, factor, summand, stream);
    }
  } else {
    if (packs) {
      StartApply<T, kPack, false>(call, factor, summand, stream);
    } else {
      StartApply<T, 1, false>(call, factor, summand, stream);
    }
  }
}

}  // namespace

#define ATELIER_EXPORT extern "C" __attribute__((visibility("default")))

ATELIER_EXPORT int32_t atelier_cuda_abi(void) { return kAtelierCudaAbi; }

ATELIER_EXPORT int64_t atelier_cuda_group_norm_workspace(const AtelierGroupNorm* call) {
  Sizes sizes;
  if (!SizesOf(*call, sizes)) return -1;
  constexpr int64_t kFloatsPerPartial = sizeof(Moments) / sizeof(float);
  return 2 * call->batch * call->channels + call->batch * call->groups * sizes.chunks * kFloatsPerPartial;
}

ATELIER_EXPORT int32_t atelier_cuda_group_norm(const AtelierGroupNorm* call) {
  Sizes sizes;
  if (!SizesOf(*call, sizes)) return -1;
  int before = 0;
  cudaError_t error = cudaGetDevice(&before);
  if (error == cudaSuccess && before != call->device) error = cudaSetDevice(call->device);
  if (error != cudaSuccess) return error;
  switch (call->type) {
    case kAtelierCudaFloat:
      Start<float>(*call, sizes);
      break;
    case kAtelierCudaHalf:
      Start<__half>(*call, sizes);
      break;
    case kAtelierCudaBFloat16:
      Start<__nv_bfloat16>(*call, sizes);
      break;
    default:
      return -1;
  }
  error = cudaGetLastError();
  if (before != call->device) cudaSetDevice(before);
  return error;
}

ATELIER_EXPORT const char* atelier_cuda_error(int32_t code) {
  return cudaGetErrorString(static_cast<cudaError_t>(code));
}
