// Layers of CLIP's transformers, of text and of pictures.
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "worker/engine/layers.h"

namespace atelier::text {

enum class ClipActivation { kQuickGelu, kGelu, kGeluTanh };

/// Thread: any.
at::Tensor Activate(const at::Tensor& x, ClipActivation kind);

/// A layer under the names of the transformers package.
struct ClipBlock {
  engine::LayerNorm norm1, norm2;
  engine::Linear q, k, v, out, fc1, fc2;

  /// x f32 [B,T,W]. Thread: any.
  at::Tensor operator()(at::Tensor x, int64_t heads, bool causal, ClipActivation activation) const;
};
/// Takes the layer whose names begin with `at`.
ClipBlock TakeClipBlock(engine::LayerBuilder& b, const std::string& at, int64_t width, double eps = 1e-5);

/// A layer under the names of OpenAI's CLIP, with queries, keys and values in one; its activation is kQuickGelu.
struct FusedClipBlock {
  engine::LayerNorm norm1, norm2;
  engine::Linear qkv, out, fc, proj;

  /// x [B,T,W]. Thread: any.
  at::Tensor operator()(at::Tensor x, int64_t heads) const;
};
/// All layers PREFIX0, PREFIX1 and so on.
std::vector<FusedClipBlock> TakeFusedClipBlocks(engine::LayerBuilder& b, const std::string& prefix, int64_t width);

}  // namespace atelier::text
