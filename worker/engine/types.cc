#include "worker/engine/types.h"

namespace atelier::engine {
namespace {

// One value a channel, shaped to meet `like` [B,C,...].
at::Tensor PerChannel(const std::vector<double>& values, const at::Tensor& like) {
  std::vector<int64_t> shape(static_cast<size_t>(like.dim()), 1);
  shape[1] = static_cast<int64_t>(values.size());
  return at::tensor(values, at::kDouble).to(like.options()).view(shape);
}

}  // namespace

at::Tensor LatentFormat::ProcessIn(const at::Tensor& latent) const {
  if (mean.empty()) return (latent - shift) * scale;
  return (latent - PerChannel(mean, latent)) * scale / PerChannel(deviation, latent);
}

at::Tensor LatentFormat::ProcessOut(const at::Tensor& latent) const {
  if (mean.empty()) return latent / scale + shift;
  return latent * PerChannel(deviation, latent) / scale + PerChannel(mean, latent);
}

}  // namespace atelier::engine
