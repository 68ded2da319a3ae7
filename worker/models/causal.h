// What video autoencoders are made of: convolutions that look back in time and remember the frames they need, so that a
// video goes through in pieces and memory stays bounded by one of them. Source: spec engine.md 9.3 "VAE 2.1".
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "worker/engine/layers.h"

namespace atelier::models {

/// What the layers of one network remember between pieces of a video. Made anew for each video.
class FrameCache {
 public:
  explicit FrameCache(size_t slots) : slots_(slots) {}
  /// The memory of one layer, undefined before the first piece.
  at::Tensor& operator[](size_t slot) { return slots_[slot]; }
  /// Whether this is the video's first piece.
  bool first() const { return first_; }
  void EndPiece() { first_ = false; }

 private:
  std::vector<at::Tensor> slots_;
  bool first_ = true;
};

/// Takes layers and gives each one that remembers a slot of its own.
struct CausalBuilder {
  engine::LayerBuilder& layers;
  size_t slots = 0;
};

/// 3-D convolution of [B,C,T,H,W] that sees frames of the past only: those of earlier pieces, before the first one
/// zeros. Rows and columns keep their number.
struct CausalConv {
  engine::Conv3d conv;
  int64_t history = 0;  // frames: kernel - 1
  size_t slot = 0;
  at::Tensor operator()(const at::Tensor& x, FrameCache& cache) const;
};
/// Kernel of frames, rows and columns, all odd; strides are 1.
CausalConv TakeCausal(CausalBuilder& b, const std::string& name, int64_t in, int64_t out, int64_t frames, int64_t side);

/// x / |x| * sqrt(C) * gamma, |x| over the channels of [B,C,...].
struct ChannelNorm {
  engine::Param gamma;  // [C,1,1] or [C,1,1,1]
  at::Tensor operator()(const at::Tensor& x) const;
  /// The same with SiLU after it.
  at::Tensor WithSilu(const at::Tensor& x) const;
};
/// `dims` of gamma: 3 for images, 4 for videos.
ChannelNorm TakeChannelNorm(CausalBuilder& b, const std::string& name, int64_t channels, int64_t dims);

/// [B,C,T,H,W] as a batch of pictures [B*T,C,H,W], and back.
at::Tensor AsPictures(const at::Tensor& video);
at::Tensor AsVideo(const at::Tensor& pictures, int64_t videos);

}  // namespace atelier::models
