// Convolutions on the CPU over weights that are kept in the order in which oneDNN's kernels read them. libtorch's own
// call puts them into that order anew each time, which takes longer than the sums where the picture is small.
#pragma once

#include <ATen/ATen.h>

namespace atelier::engine {

/// The f32 weight [out,in,k,k] in that order: an opaque tensor that only the two functions below read. `picture`: the
/// sizes [B,in,H,W] for which the order is best, if known; other pictures have the same results, small ones at the
/// price of bringing the weight into another order each time. Throws torch's exceptions.
at::Tensor Packed(const at::Tensor& weight, int64_t stride, int64_t padding, at::OptionalIntArrayRef picture);

/// The weight as it was.
at::Tensor Unpacked(const at::Tensor& packed);

/// The convolution of f32 [B,in,H,W] with a packed weight; bias [out] or undefined. Fast on channels-last input.
at::Tensor PackedConv(const at::Tensor& x, const at::Tensor& packed, const at::Tensor& bias, int64_t stride,
                      int64_t padding);

}  // namespace atelier::engine
