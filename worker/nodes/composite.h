// Pasting of pictures through masks, shared by latents and images.
#pragma once

#include "worker/nodes/support.h"

namespace atelier::nodes {

/// `destination` f32 [B,C,H,W] with `source` f32 [b,C,h,w] over it at (x / multiplier, y / multiplier), clipped to it,
/// where `mask` f32 [n,h',w'] (or [h',w'], scaled bilinearly to the source; undefined: everywhere) is set;
/// `resize_source` scales the source to the destination first. Errors: INVALID_ARGUMENT for other shapes. Source: spec
/// engine.md 7.2. Thread: any.
StatusOr<at::Tensor> CompositeMasked(const at::Tensor& destination, const at::Tensor& source, int64_t x, int64_t y,
                                     const at::Tensor& mask, int64_t multiplier, bool resize_source);

/// Pixels [B,H,W,C] with `channels` channels: what is too much is dropped, what is missing becomes 1 (opaque). Thread:
/// any.
at::Tensor WithChannels(const at::Tensor& pixels, int64_t channels);

}  // namespace atelier::nodes
