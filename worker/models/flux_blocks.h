// The blocks of FLUX.1's transformer, for the network itself and its control networks. Source: spec engine.md 9.2.
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "worker/engine/layers.h"
#include "worker/models/dit.h"

namespace atelier::models {

inline constexpr int64_t kFluxPatch = 2, kFluxHeadWidth = 128, kFluxSinusoid = 256;

/// One of the two streams of a double block.
struct FluxStream {
  engine::Linear modulation, qkv, proj, mlp_in, mlp_out;
  engine::RmsNorm query_norm, key_norm;
};
/// Picture and text side by side, attending to each other.
struct FluxDoubleBlock {
  FluxStream image, text;

  /// image [B,T,hidden] and text [B,T',hidden] after the block. active: SiLU of the vector [B,hidden]; rope: of text,
  /// then image; bias [B,1,T'+T,T'+T] is added to the attention's logits, if defined.
  void operator()(at::Tensor& image_tokens, at::Tensor& text_tokens, const at::Tensor& active, const Rope& rope,
                  int64_t heads, const at::Tensor& bias = {}) const;
};
/// Text and picture in one row.
struct FluxSingleBlock {
  engine::Linear modulation, in, out;
  engine::RmsNorm query_norm, key_norm;

  at::Tensor operator()(const at::Tensor& x, const at::Tensor& active, const Rope& rope, int64_t heads,
                        const at::Tensor& bias = {}) const;
};

/// Takes the layers below `at` ("double_blocks.0."). What is missing is told by the builder's status.
FluxDoubleBlock TakeFluxDouble(engine::LayerBuilder& b, const std::string& at, int64_t hidden);
FluxSingleBlock TakeFluxSingle(engine::LayerBuilder& b, const std::string& at, int64_t hidden);
/// "NAME.in_layer" and "NAME.out_layer".
SiluMlp TakeFluxMlp(engine::LayerBuilder& b, const std::string& name, int64_t in, int64_t hidden);

/// The embedding of noise levels or guidance f32 [B], in `options`.
at::Tensor FluxSinusoid(const at::Tensor& value, const at::TensorOptions& options);
/// [B,C,H,W] to [B,tokens,C*4], a token's elements ordered channel, row, column.
at::Tensor FluxPatches(const at::Tensor& x);
/// (index, row, column) of each token, f32 [rows*columns, 3].
at::Tensor FluxIds(int64_t rows, int64_t columns, int64_t index, int64_t row, int64_t column);
/// The table for such positions on `device`.
Rope FluxRope(const at::Tensor& ids, const at::Device& device);

}  // namespace atelier::models
