// Resizing of pictures and latents as the nodes offer it. Source: spec engine.md 7.2.
#pragma once

#include "worker/nodes/support.h"

namespace atelier::nodes {

/// Choices of the image nodes and of the latent nodes, in the reference's order.
std::vector<std::string> ImageResizeMethods();
std::vector<std::string> LatentResizeMethods();
std::vector<std::string> CropMethods();

/// samples f32 [B,C,H,W] (or [B,C,T,H,W]) at width x height; crop "center" first cuts to the new aspect. lanczos works
/// on 8-bit pictures of 1, 3 or 4 channels. Errors: INVALID_ARGUMENT for an unknown method or a size below 1,
/// RESOURCE_EXHAUSTED for a result beyond the limits. Thread: any.
StatusOr<at::Tensor> ResizeSamples(const at::Tensor& samples, int64_t width, int64_t height, const std::string& method,
                                   const std::string& crop);

/// The same for pixels f32 [B,H,W,C].
StatusOr<at::Tensor> ResizePixels(const at::Tensor& pixels, int64_t width, int64_t height, const std::string& method,
                                  const std::string& crop);

}  // namespace atelier::nodes
