// What the nodes that prepare videos for WAN share. Source: spec engine.md 9.3 "Nodes".
#pragma once

#include "worker/engine/vision.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {

/// Size of a video in pixels and frames: the widgets that nodes inherit.
struct VideoSize {
  int64_t width = 832, height = 480, length = 81, batch_size = 1;
  int64_t latent_frames() const { return (length - 1) / 4 + 1; }

  /// Declares the widgets of N. `step` of the sides in pixels.
  template <typename N>
  static void DescribeSize(NodeSchema<N>& s, const VideoSize& defaults, int64_t step = 16) {
    s.template Input<&N::width>("width")
        .Default(defaults.width)
        .Range(step, 16384)
        .Step(step)
        .Tooltip("Width in pixels.");
    s.template Input<&N::height>("height")
        .Default(defaults.height)
        .Range(step, 16384)
        .Step(step)
        .Tooltip("Height in pixels.");
    s.template Input<&N::length>("length")
        .Default(defaults.length)
        .Range(1, 16384)
        .Step(4)
        .Tooltip("Number of frames, 4n + 1.");
    s.template Input<&N::batch_size>("batch_size").Default(1).Range(1, 4096).Tooltip("How many videos.");
  }
};

/// What the sampler takes: positive, negative, latent.
using PreparedVideo = std::tuple<Conditioning, Conditioning, Latent>;

/// What the nodes that make a PreparedVideo have in common.
struct VideoInputs : VideoSize {
  Conditioning positive, negative;
  Vae vae;

  template <typename N>
  static void DescribeInputs(NodeSchema<N>& s, std::string_view vae_tooltip = "WAN's autoencoder.") {
    s.template Input<&N::positive>("positive").Tooltip("What to aim at.");
    s.template Input<&N::negative>("negative").Tooltip("What to avoid.");
    s.template Input<&N::vae>("vae").Tooltip(vae_tooltip);
    DescribeSize(s, VideoSize{});
  }
  static void DescribeOutputs(NodeDeclaration& s) {
    s.Output<Conditioning>("positive").Output<Conditioning>("negative").Output<Latent>("latent");
  }
};

/// OK for an autoencoder of videos with latents of `channels` (0: any). Errors: INVALID_ARGUMENT naming what is wrong.
Status CheckVideoVae(const Vae& vae, int64_t channels = 0);

/// Zeros f32 [batch, channels, latent frames, height/ratio, width/ratio]. Errors: RESOURCE_EXHAUSTED.
StatusOr<at::Tensor> ZeroVideo(const VideoSize& size, int64_t channels, int64_t ratio);

/// The first `size.length` pictures (the last ones with `from_end`), f32 [n,height,width,3], filling that size. Errors:
/// INVALID_ARGUMENT naming `what`.
StatusOr<at::Tensor> FitFrames(std::string_view what, const Image& pictures, const VideoSize& size,
                               bool from_end = false);

/// A tensor under a key of all entries.
void SetTensor(Conditioning& conditioning, const std::string& key, const at::Tensor& tensor);

/// A tensor behind those that an entry has under `key`: "key.0", "key.1" and so on.
void AppendTensor(CondEntry& entry, const std::string& key, const at::Tensor& tensor);

/// What a vision encoder sees, for networks with image tokens; nothing when null. Errors: INVALID_ARGUMENT.
Status AddVision(Conditioning& positive, Conditioning& negative, const engine::VisionOutput* first,
                 const engine::VisionOutput* second = nullptr);

/// A mask of frames f32 [1,1,4T,h,w] as four channels of latent frames [1,4,T,h,w].
at::Tensor FrameChannels(const at::Tensor& mask);

}  // namespace atelier::nodes
