// What diffusion transformers share: rotary positions, modulation, patches. Source: spec engine.md 9.2, 9.4.
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "worker/engine/layers.h"

namespace atelier::models {

/// cos and sin of rotary positions, f32 [1,1,tokens,width/2] each.
struct Rope {
  at::Tensor cos, sin;
};

/// Table for positions f32 [tokens, axes]; axis a takes widths[a] of a head's elements, with frequencies
/// theta^(-2i/width). REQUIRES: one even width per axis.
Rope MakeRope(const at::Tensor& positions, const std::vector<int64_t>& widths, double theta = 10000.0);

/// x [B,heads,tokens,width] with each pair (x0, x1) turned by its angle, in float32, back in x's type.
at::Tensor ApplyRope(const at::Tensor& x, const Rope& rope);

/// LayerNorm without parameters over the last dimension, eps 1e-6.
at::Tensor PlainNorm(const at::Tensor& x);

/// x (1 + scale) + shift with shift and scale [B,width] over tokens x [B,T,width].
at::Tensor Modulate(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale);

/// Height and width of x [B,C,...,H,W] padded at the end to multiples of `patch`, going on with the other side's
/// pixels.
at::Tensor PadToPatch(const at::Tensor& x, int64_t patch);

/// NaN to 0 and infinities to the largest float16 when x is float16; other types unchanged.
at::Tensor GuardHalf(const at::Tensor& x);

/// Linear, SiLU, Linear.
struct SiluMlp {
  engine::Linear in, out;
  at::Tensor operator()(const at::Tensor& x) const { return out(at::silu(in(x))); }
};

/// q, k, v [B,heads,tokens,width/heads] of a fused projection [B,tokens,3*width] laid out [3, heads, width/heads].
struct Qkv {
  at::Tensor q, k, v;
};
Qkv SplitQkv(const at::Tensor& fused, int64_t heads);

}  // namespace atelier::models
