// What several super-resolution architectures share: windows of a map, their attention, tails that enlarge.
//
// Maps are [B,H,W,C] unless said; a window's tokens are in row-major order. Source: spec extras.md 5.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "worker/engine/layers.h"
#include "worker/models/family.h"

namespace atelier::models {

/// Height and width.
struct Extent {
  int64_t h = 0, w = 0;
};

/// 1 + the largest number that follows `prefix` in any name; 0 when there is none. At most 10000.
int64_t SequenceLength(const engine::WeightSource& w, std::string_view prefix);

/// Whether the file has `prefix` + each of `names`.
bool HasAll(const engine::WeightSource& w, std::string_view prefix, std::initializer_list<std::string_view> names);

/// The side of a square of that many elements; 0 when it is no square.
int64_t SquareSide(int64_t elements);

/// Which last layer this is: `channels` = c n^2 with c the first of (in, 3, 4, 1) that fits. Gives n, 0 when none fits
/// or c is not 3.
int64_t ScaleOfChannels(int64_t channels, int64_t in);

/// kRequired when any tensor's name ends with `suffix`, else kNone: for layouts with that bias in all blocks or in
/// none.
engine::Bias BiasOfAll(const engine::WeightSource& weights, std::string_view suffix);

/// Cross-correlation of each channel with a kernel of its own; weight [C,1,k,k]. x [B,C,H,W].
struct DepthwiseConv {
  engine::Param weight, bias;
  at::Tensor operator()(const at::Tensor& x) const;
};
DepthwiseConv TakeDepthwise(engine::LayerBuilder& b, const std::string& name, int64_t channels, int64_t kernel = 3,
                            engine::Bias bias = engine::Bias::kRequired);

/// Batch normalisation by the statistics in the file, eps 1e-5. x [B,C,H,W].
struct BatchNorm {
  engine::Param weight, bias, mean, variance;
  at::Tensor operator()(const at::Tensor& x) const;
};
BatchNorm TakeBatchNorm(engine::LayerBuilder& b, const std::string& name, int64_t channels);

/// fc2(GELU(fc1 x)).
struct Mlp {
  engine::Linear fc1, fc2;
  at::Tensor operator()(const at::Tensor& x) const;
};
Mlp TakeMlp(engine::LayerBuilder& b, const std::string& name, int64_t width);

/// The convolution behind a group of blocks: one 3x3, or 3x3, 1x1, 3x3 through a quarter of the channels, as the file
/// has it. x [B,C,H,W].
struct GroupConv {
  engine::Conv2d one, two, three;
  at::Tensor operator()(const at::Tensor& x) const;
};
GroupConv TakeGroupConv(engine::LayerBuilder& b, const std::string& name, int64_t channels);

/// The tail "pixelshuffle": conv_before_upsample, then steps of convolution and pixel shuffle, then conv_last.
struct PixelShuffleTail {
  engine::Conv2d before, last;
  std::vector<engine::Conv2d> steps;
  std::vector<int64_t> factors;
  int64_t scale = 1;
  at::Tensor operator()(const at::Tensor& x) const;
};
/// Takes the tail for images of 3 channels behind a body of `channels`.
PixelShuffleTail TakePixelShuffleTail(engine::LayerBuilder& b, int64_t channels);

/// The mean that these networks take away, f32 [1,3,1,1] on x's device.
at::Tensor ImageMean(const at::Tensor& x);

/// x [B,C,H,W] reflected at the right and bottom to multiples of `multiple`.
at::Tensor ReflectToMultiple(const at::Tensor& x, int64_t multiple);

/// [B,H,W,C] to [B*windows, h*w, C]; the sides are multiples of the window's.
at::Tensor ToWindows(const at::Tensor& x, Extent window);
/// The reverse.
at::Tensor FromWindows(const at::Tensor& windows, Extent window, Extent map);

/// For shifted windows: 0 for tokens of the same region of the map, -100 for others. [windows, n, n]
at::Tensor ShiftMask(Extent map, Extent window, Extent shift, at::Device device);

/// Row of a table over offsets (query - key) for each pair of tokens of a window, long [n, n] on the CPU.
at::Tensor RelativeIndex(Extent window);

/// A table [rows, heads] spread by an index [n, m] to [heads, n, m].
at::Tensor SpreadBias(const at::Tensor& table, const at::Tensor& index);

/// softmax(q k^T d^-1/2 + bias + mask) v per window and head, in portions that bound memory. q [W,n,C], k and v
/// [W,m,C]; bias [heads,n,m] or undefined; mask [windows of one picture,n,n] or undefined. Returns [W,n,C].
at::Tensor AttendWindows(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads,
                         const at::Tensor& bias, const at::Tensor& mask);

/// Self-attention in square windows of `side`, shifted by half a side when `shifted`, with a learnt table of biases.
struct WindowAttention {
  engine::Linear qkv, proj;
  engine::Param table;
  int64_t heads = 1, side = 8;
  at::Tensor operator()(const at::Tensor& x, bool shifted) const;
};
WindowAttention TakeWindowAttention(engine::LayerBuilder& b, const std::string& name, int64_t width, int64_t side);

}  // namespace atelier::models
