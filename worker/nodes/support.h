// What node files share: size checks and the way between float tensors and 8-bit pictures.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/graph/node.h"
#include "common/image/image_u8.h"
#include "worker/engine/guard.h"
#include "worker/engine/types.h"

namespace atelier::nodes {

using engine::Audio;
using engine::Clip;
using engine::CondEntry;
using engine::Conditioning;
using engine::Guard;
using engine::Image;
using engine::Latent;
using engine::Mask;
using engine::Model;
using engine::UpscaleModel;
using engine::Vae;

/// Pixels of a picture beside one of its latent, in Stable Diffusion's layout.
inline constexpr int64_t kPixelsPerLatent = 8;

/// OK when an f32 tensor of this shape may be made. Errors: INVALID_ARGUMENT for a negative side, RESOURCE_EXHAUSTED
/// above limits::kTensorBytesMax; `what` names the tensor. Thread: any.
Status CheckTensorSize(std::string_view what, std::initializer_list<int64_t> shape);

/// OK for pixels f32 [B,H,W,C] with B >= 1, C in 1..4. Errors: INVALID_ARGUMENT naming `what` and the shape. Thread:
/// any.
Status CheckPixels(std::string_view what, const Image& image);

/// OK for values f32 [...,H,W] that are not empty. Errors: INVALID_ARGUMENT naming `what`. Thread: any.
Status CheckMask(std::string_view what, const Mask& mask);

/// OK for samples of 4 or 5 dimensions. Errors: INVALID_ARGUMENT. Thread: any.
Status CheckSamples(std::string_view what, const Latent& latent);

/// Item `index` of pixels f32 [B,H,W,C] as trunc(255 v). Errors: QuantizeFloats'. Thread: any.
StatusOr<ImageU8> ToImageU8(const at::Tensor& pixels, int64_t index);

/// v / 255 of pictures of one size as f32 [B,H,W,C]. REQUIRES: at least one picture. Thread: any.
at::Tensor ToPixels(const std::vector<ImageU8>& pictures);

/// "512x768x3" of a shape. Thread: any.
std::string ShapeText(at::IntArrayRef shape);

/// `tensor` repeated or cut on its first dimension to `items`. Thread: any.
at::Tensor RepeatToBatch(const at::Tensor& tensor, int64_t items);

/// Python's round(): the nearest whole number, halves to even. Thread: any.
int64_t RoundHalfEven(double value);

}  // namespace atelier::nodes
