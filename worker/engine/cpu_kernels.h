// What takes several operators of libtorch, in one or two passes over memory: float32 on the CPU. Bytes are the same
// for any number of threads.
#pragma once

#include <ATen/ATen.h>

#include <optional>

namespace atelier::engine {

/// group_norm(x + offset) with SiLU after it if `silu`, of channels-last f32 [B,C,H,W]; weight and bias f32 [C], offset
/// f32 [B,C] or undefined. Nothing when x is not of that kind, or not on the CPU. Thread: any.
std::optional<at::Tensor> CpuGroupNorm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                                       const at::Tensor& offset, int64_t groups, double eps, bool silu);

/// x[..., :n] * gelu(x[..., n:]) of [..., 2n], any type and device. Thread: any.
at::Tensor GatedGelu(const at::Tensor& x);

}  // namespace atelier::engine
