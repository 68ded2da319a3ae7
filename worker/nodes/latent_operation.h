// Operations on latents that nodes hand on, to be applied to a latent or to predictions while sampling.
#pragma once

#include <functional>

#include "worker/nodes/support.h"

namespace atelier::nodes {

/// A LATENT_OPERATION handle: f32 [B,C,h,w] to the same shape; may throw c10::Error for a latent that is too small.
struct LatentOperation {
  std::function<at::Tensor(const at::Tensor& latent)> apply;
};

}  // namespace atelier::nodes

namespace atelier {
template <>
struct SocketTraits<nodes::LatentOperation> {
  static constexpr std::string_view kName = "LATENT_OPERATION";
};
}  // namespace atelier
