// What the nodes of videos and sound share: the way between tensors and worker/media.
#pragma once

#include <string>
#include <vector>

#include "worker/engine/video.h"
#include "worker/media/decoder.h"
#include "worker/media/encoder.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {

using engine::SavedFiles;
using engine::Video;
using engine::VideoInfo;

/// A socket for pictures, or for latents with an autoencoder beside them.
struct ImageOrLatent {
  Value value;
};

/// Item `index` of f32 [B,H,W,C], 0..1, as bytes; `deep`: 16 bits each, little endian. `rounded`: v * max + 0.5, else
/// v * max, both cut off after clamping. Source: spec extras.md 4.3, engine.md 11.3. Throws torch's exceptions.
std::vector<uint8_t> FrameBytes(const at::Tensor& pixels, int64_t index, bool deep, bool rounded);

/// All frames of `video` in a batch, [F,H,W,3] bytes. Errors: the decoder's, INVALID_ARGUMENT when there is no frame,
/// RESOURCE_EXHAUSTED beyond limits::kTensorBytesMax. Thread: any.
StatusOr<at::Tensor> DecodeAllFrames(NodeContext& ctx, std::string_view bytes);

/// One frame as bytes [1,H,W,3].
at::Tensor FrameTensor(const media::VideoFrame& frame);

/// The sound of the first item for an encoder. Errors: INVALID_ARGUMENT for another shape than [B,C,n] or no samples.
StatusOr<media::AudioSamples> ToSamples(const Audio& audio);
/// Sound as [1,C,n].
Audio ToAudio(const media::AudioSamples& samples);
/// Whether there is a sample in it.
bool HasSound(const Audio& audio);

/// A file for the master: `extension` with the dot.
OutputFile MediaFile(std::string prefix, std::string extension, std::string bytes);

}  // namespace atelier::nodes

namespace atelier {
template <>
struct SocketTraits<nodes::ImageOrLatent> {
  static constexpr std::string_view kName = "IMAGE,LATENT";
};
}  // namespace atelier
