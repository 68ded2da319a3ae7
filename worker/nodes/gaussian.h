// The square kernels of the blur and sharpen nodes.
#pragma once

#include <ATen/ATen.h>

namespace atelier::nodes {

/// f32 [size,size], sum 1: a Gaussian over -1..1 on both axes, so `sigma` is relative to the radius. REQUIRES: size
/// odd. Source: spec engine.md 11.2. Thread: any.
at::Tensor GaussianKernel(int64_t size, double sigma);

/// f32 [size,size], sum 1: `strength` times the negative Gaussian, with the rest in the centre. Thread: any.
at::Tensor SharpenKernel(int64_t size, double sigma, double strength);

}  // namespace atelier::nodes
