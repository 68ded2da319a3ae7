#include "worker/models/causal.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "worker/models/causal_kernels.h"

namespace atelier::models {
namespace {

constexpr int64_t kPortion = 32768;  // numbers that stay in a processor's cache between the two passes

at::Tensor ChannelsLast(const at::Tensor& x) {
  return x.contiguous(x.dim() == 5 ? at::MemoryFormat::ChannelsLast3d : at::MemoryFormat::ChannelsLast);
}

// On the CPU in float32: each pixel's channels lie side by side, and a portion of pixels is done at a time.
at::Tensor NormaliseOnCpu(const at::Tensor& x, const at::Tensor& scale, bool silu) {
  const at::Tensor in = ChannelsLast(x), out = at::empty_like(in);
  const int64_t channels = x.size(1), rows = x.numel() / channels, portion = std::max<int64_t>(1, kPortion / channels);
  const auto* from = in.const_data_ptr<float>();
  const auto* factors = scale.const_data_ptr<float>();
  auto* to = out.mutable_data_ptr<float>();
  at::parallel_for(0, (rows + portion - 1) / portion, 1, [&](int64_t first, int64_t last) {
    for (int64_t p = first; p < last; ++p) {
      const int64_t at = p * portion, count = std::min(portion, rows - at);
      NormaliseRows(from + at * channels, factors, to + at * channels, count, channels);
      if (!silu) continue;
      at::Tensor part = at::from_blob(to + at * channels, {count * channels}, out.options());
      at::silu_(part);
    }
  });
  return out;
}

bool OnCpu(const at::Tensor& x) {
  return x.device().is_cpu() && x.scalar_type() == at::kFloat && (x.dim() == 4 || x.dim() == 5) && x.numel() > 0;
}

}  // namespace

at::Tensor CausalConv::operator()(const at::Tensor& x, FrameCache& cache) const {
  if (history == 0) return conv(x);
  at::Tensor& kept = cache[slot];
  if (!kept.defined()) {
    std::vector<int64_t> shape = x.sizes().vec();
    shape[2] = history;
    kept = ChannelsLast(at::zeros(shape, x.options()));
  }
  const at::Tensor joined = at::cat({kept, ChannelsLast(x)}, 2);
  kept = joined.narrow(2, joined.size(2) - history, history).clone(at::MemoryFormat::ChannelsLast3d);
  return conv(joined);
}

CausalConv TakeCausal(CausalBuilder& b, const std::string& name, int64_t in, int64_t out, int64_t frames,
                      int64_t side) {
  CausalConv layer;
  layer.conv = b.layers.TakeConv3d(name, in, out, {frames, side, side});
  layer.conv.padding = {0, side / 2, side / 2};
  layer.history = frames - 1;
  layer.slot = b.slots++;
  return layer;
}

at::Tensor ChannelNorm::operator()(const at::Tensor& x) const {
  const at::Tensor scale = engine::Cast(gamma, x.scalar_type()) * std::sqrt(static_cast<double>(x.size(1)));
  if (OnCpu(x)) return NormaliseOnCpu(x, scale.contiguous(), /*silu=*/false);
  return x / at::linalg_vector_norm(x, 2, at::IntArrayRef{1}, true).clamp_min(1e-12) * scale;
}

at::Tensor ChannelNorm::WithSilu(const at::Tensor& x) const {
  if (OnCpu(x)) {
    const at::Tensor scale = engine::Cast(gamma, x.scalar_type()) * std::sqrt(static_cast<double>(x.size(1)));
    return NormaliseOnCpu(x, scale.contiguous(), /*silu=*/true);
  }
  at::Tensor y = (*this)(x);
  return at::silu_(y);
}

ChannelNorm TakeChannelNorm(CausalBuilder& b, const std::string& name, int64_t channels, int64_t dims) {
  return {dims == 3 ? b.layers.Take(name + ".gamma", {channels, 1, 1})
                    : b.layers.Take(name + ".gamma", {channels, 1, 1, 1})};
}

at::Tensor AsPictures(const at::Tensor& video) { return video.transpose(1, 2).flatten(0, 1); }

at::Tensor AsVideo(const at::Tensor& pictures, int64_t videos) {
  return pictures.unflatten(0, {videos, -1}).transpose(1, 2);
}

}  // namespace atelier::models
