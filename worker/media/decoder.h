// Frames and sound of a container file in memory. Hostile bytes give a Status; sizes are checked before memory is
// taken; nothing outside the bytes is opened. A worker has it done in a process that may do nothing else
// (docs/security.md, "Media").
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/image/image_u8.h"

namespace atelier::media {

/// From now on each file is decoded in a process of its own (common/media/process.h), and one is kept waiting; false,
/// as at first: in the calling process. Thread: any.
void DecodeInProcesses(bool yes);

struct VideoInfo {
  int width = 0, height = 0;  // as shown: turned by the file's orientation
  double fps = 0;             // of the container
  double average_fps = 0;
  int64_t frames = 0;  // as the container says, else by its length
  double seconds = 0;
  bool alpha = false;
  std::string codec;  // "h264", ...
};
struct AudioInfo {
  int channels = 0;
  int sample_rate = 0;  // Hz
};
struct MediaInfo {
  std::string container;  // FFmpeg's names: "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", ...
  double seconds = 0;
  std::optional<VideoInfo> video;
  std::optional<AudioInfo> audio;
};

/// What the file holds. Errors: INVALID_ARGUMENT (no mp4, mov, mkv, webm, avi, gif, wav, mp3, flac or ogg; damaged),
/// RESOURCE_EXHAUSTED (pictures beyond limits::kImagePixelsMax). Thread: any.
StatusOr<MediaInfo> Probe(std::string_view bytes);

/// One picture of a video; rows lie one after the other. Bytes of a pixel: 3 (RGB), or 8 (RGBA, 16 bits each, little
/// endian).
struct VideoFrame {
  int width = 0, height = 0;
  std::vector<uint8_t> data;
};

struct VideoDecodeOptions {
  bool deep = false;    // RGBA of 16 bits each with the file's transparency, instead of RGB of 8
  bool upright = true;  // turned as the file says
  double start = 0;     // seconds; what lies before is left out
  std::string filters;  // FFmpeg's notation; made by our own code, never text of a user
};

/// The frames of a file's video, one after another. Thread: one at a time.
class VideoDecoder {
 public:
  /// `bytes` has to outlive the object. Errors: as Probe; INVALID_ARGUMENT when there is no video.
  static StatusOr<std::unique_ptr<VideoDecoder>> Open(std::string_view bytes, const VideoDecodeOptions& options = {});
  virtual ~VideoDecoder() = default;
  /// False at the end; damaged frames are left out. Errors: INVALID_ARGUMENT (nothing could be decoded, or the size
  /// changes), RESOURCE_EXHAUSTED.
  virtual StatusOr<bool> Next(VideoFrame& frame) = 0;
  /// Goes over a frame without converting it; false at the end.
  virtual StatusOr<bool> Skip() = 0;
};

/// Samples -1..1, channel after channel: `samples` has channels * count of them.
struct AudioSamples {
  int channels = 0;
  int sample_rate = 0;
  std::vector<float> samples;
  int64_t count() const { return channels == 0 ? 0 : static_cast<int64_t>(samples.size()) / channels; }
};

/// The sound from `start` seconds on for `seconds` (0: to the end), at the file's own rate. Nothing when the file has
/// no sound. Errors: as Probe; RESOURCE_EXHAUSTED beyond limits::kTensorBytesMax. Thread: any.
StatusOr<std::optional<AudioSamples>> DecodeAudio(std::string_view bytes, double start = 0, double seconds = 0);

}  // namespace atelier::media
