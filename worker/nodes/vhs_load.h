// What VideoHelperSuite's loaders share. Source: spec extras.md 4.1, 4.2.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "worker/nodes/media_support.h"

namespace atelier::nodes {

/// The largest number that a script of the editor holds exactly: the upper end of counts.
inline constexpr int64_t kVhsCountMax = 9007199254740991;

/// The presets of the input "format".
std::vector<std::string> VhsLoadFormats();

/// What a preset asks of a load: sides are multiples of `side`, and the number of frames is `rest` modulo `frames`.
struct VhsPreset {
  int64_t side = 1, frames = 1, rest = 0;
  /// Frames to keep of n.
  int64_t Keep(int64_t n) const { return n <= rest ? n : (n - rest) / frames * frames + rest; }
};
/// Errors: INVALID_ARGUMENT for an unknown name.
StatusOr<VhsPreset> FindVhsPreset(const std::string& format);

/// A probed video of the input folder, and what its load has to fit.
struct VhsVideo {
  std::shared_ptr<const std::string> bytes;
  media::VideoInfo source;
  VhsPreset preset;
  int64_t side = 1;  // of what sides are multiples
};

/// What the loaders of videos have in common.
struct VhsVideoInputs {
  std::string video;
  double force_rate = 0;
  int64_t custom_width = 0, custom_height = 0, frame_load_cap = 0;
  std::optional<Vae> vae;
  std::optional<std::string> format;

  /// An error with the file's name; OK stays OK.
  Status Blame(const Status& status) const;
  /// Errors: FindVhsPreset's; NOT_FOUND; INVALID_ARGUMENT naming the file.
  StatusOr<VhsVideo> OpenVideo(NodeContext& ctx) const;
};

/// Declares the inputs of VhsVideoInputs but `video`: rate, size and number of frames; autoencoder and preset.
template <typename Node>
void DescribeVhsFrames(NodeSchema<Node>& s) {
  s.template Input<&Node::force_rate>("force_rate")
      .Default(0)
      .Range(0, 60)
      .Step(1)
      .Tooltip("Frames a second to bring the video to by leaving out or repeating; 0: as it is.");
  s.template Input<&Node::custom_width>("custom_width").Default(0).Range(0, 8192).Tooltip("0: by the aspect.");
  s.template Input<&Node::custom_height>("custom_height").Default(0).Range(0, 8192).Tooltip("0: by the aspect.");
  s.template Input<&Node::frame_load_cap>("frame_load_cap")
      .Default(0)
      .Range(0, kVhsCountMax)
      .Step(1)
      .Tooltip("How many frames at most; 0: all.");
}
template <typename Node>
void DescribeVhsTarget(NodeSchema<Node>& s) {
  s.template Input<&Node::vae>("vae").Tooltip("With it the output is latents.");
  s.template Input<&Node::format>("format")
      .OneOf(VhsLoadFormats())
      .Tooltip("For which model: sides and the number of frames are made to fit.");
}

struct VhsSize {
  int64_t width = 0, height = 0;
};
/// Width and height to load at: custom sizes of 0 follow the source or its aspect; both become multiples of `side`.
/// Errors: INVALID_ARGUMENT when a side would be 0.
StatusOr<VhsSize> VhsLoadSize(int64_t width, int64_t height, int64_t custom_width, int64_t custom_height, int64_t side);

/// frames u8 [F,H,W,3] at this size (lanczos, cut to the middle) as f32 0..1, piece by piece. Errors: the resizer's.
StatusOr<at::Tensor> VhsResize(const at::Tensor& frames, const VhsSize& size);

/// The pictures themselves, or with an autoencoder their latents, encoded in pieces. Errors: the autoencoder's.
StatusOr<Value> VhsPicturesOrLatents(NodeContext& ctx, const at::Tensor& pixels, const std::optional<Vae>& vae);

/// The sound, silent without samples when the file has none. Errors: the decoder's.
StatusOr<Audio> VhsAudio(std::string_view bytes, double start, double seconds);

}  // namespace atelier::nodes
