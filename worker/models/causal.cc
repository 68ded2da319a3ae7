#include "worker/models/causal.h"

#include <cmath>

namespace atelier::models {

at::Tensor CausalConv::operator()(const at::Tensor& x, FrameCache& cache) const {
  if (history == 0) return conv(x);
  at::Tensor& kept = cache[slot];
  if (!kept.defined()) {
    std::vector<int64_t> shape = x.sizes().vec();
    shape[2] = history;
    kept = at::zeros(shape, x.options());
  }
  const at::Tensor joined = at::cat({kept, x}, 2);
  kept = joined.narrow(2, joined.size(2) - history, history).clone();
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
  const at::Tensor length = at::linalg_vector_norm(x, 2, at::IntArrayRef{1}, true).clamp_min(1e-12);
  const at::Tensor scale = engine::Cast(gamma, x.scalar_type()) * std::sqrt(static_cast<double>(x.size(1)));
  return x / length * scale;
}

at::Tensor ChannelNorm::WithSilu(const at::Tensor& x) const {
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
