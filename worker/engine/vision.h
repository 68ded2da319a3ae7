// The engine's values of vision encoders: CLIP_VISION, CLIP_VISION_OUTPUT, STYLE_MODEL. Source: spec engine.md 8.3.
#pragma once

#include <ATen/ATen.h>

#include <memory>

#include "common/graph/node.h"

namespace atelier::engine {

/// What a vision encoder sees in B pictures, f32 on the CPU. image_embeds [B,P]; last_hidden [B,T,D] after all layers,
/// penultimate [B,T,D] before the last one.
struct VisionOutput {
  at::Tensor image_embeds, last_hidden, penultimate;
};

/// A network that describes pictures. Thread: one at a time.
class VisionEncoder {
 public:
  virtual ~VisionEncoder() = default;
  /// pixels: f32 [B,H,W,C], 0..1, C >= 3. crop: cut to a square about the centre, else squeezed. Errors:
  /// INVALID_ARGUMENT.
  virtual StatusOr<VisionOutput> Encode(const at::Tensor& pixels, bool crop) const = 0;
};

/// A CLIP_VISION handle.
struct ClipVision {
  std::shared_ptr<const VisionEncoder> encoder;
};

/// A network that turns what a vision encoder sees into tokens of a prompt. Thread: one at a time.
class StyleNetwork {
 public:
  virtual ~StyleNetwork() = default;
  /// f32 [B,n,W] on the CPU. Errors: INVALID_ARGUMENT when the encoder's width differs.
  virtual StatusOr<at::Tensor> Tokens(const VisionOutput& seen) const = 0;
};

/// A STYLE_MODEL handle.
struct StyleModel {
  std::shared_ptr<const StyleNetwork> network;
};

}  // namespace atelier::engine

namespace atelier {
template <>
struct SocketTraits<engine::ClipVision> {
  static constexpr std::string_view kName = "CLIP_VISION";
};
template <>
struct SocketTraits<engine::VisionOutput> {
  static constexpr std::string_view kName = "CLIP_VISION_OUTPUT";
};
template <>
struct SocketTraits<engine::StyleModel> {
  static constexpr std::string_view kName = "STYLE_MODEL";
};
}  // namespace atelier
