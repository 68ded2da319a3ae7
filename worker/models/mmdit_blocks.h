// The blocks of SD3's transformer, for the network itself and its control networks. Source: spec engine.md 9.4.
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <string>

#include "worker/engine/layers.h"
#include "worker/models/dit.h"

namespace atelier::models {

inline constexpr int64_t kMmditPatch = 2, kMmditHeadWidth = 64, kMmditSinusoid = 256;

/// Queries, keys and values of one stream.
struct JointAttention {
  engine::Linear qkv, proj;  // proj is absent where the stream ends
  engine::RmsNorm query_norm, key_norm;

  Qkv operator()(const at::Tensor& x, int64_t heads) const;
};

/// One of the two streams of a joint block.
struct JointStream {
  engine::Linear modulation;
  JointAttention attention;
  std::optional<JointAttention> second;  // the image attending to itself beside the joint attention (SD3.5 medium)
  engine::Linear mlp_in, mlp_out;
  bool ends = false;  // the last text stream only lends keys and values
};

/// Picture and text side by side, attending to each other.
struct JointBlock {
  JointStream context, image;

  /// x [B,T,hidden] and the text [B,T',hidden] after the block; the text stays as it is where its stream ends. active:
  /// SiLU of the vector [B,hidden].
  void operator()(at::Tensor& x, at::Tensor& text, const at::Tensor& active, int64_t heads) const;
};

/// Takes the layers below `at` ("joint_blocks.0.x_block."). What is missing is told by the builder's status.
JointStream TakeJointStream(engine::LayerBuilder& b, const std::string& at);
/// "AT.context_block." and "AT.x_block.".
JointBlock TakeJointBlock(engine::LayerBuilder& b, const std::string& at);

/// The part of a square table of positions [1,side*side,hidden] about its centre, [1,rows*columns,hidden].
at::Tensor CentredPositions(const at::Tensor& table, int64_t side, int64_t rows, int64_t columns);

}  // namespace atelier::models
