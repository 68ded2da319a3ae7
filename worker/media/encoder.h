// Pictures and sound to container files in memory. The same input gives the same bytes on every machine: the number of
// an encoder's threads is fixed, and no time, version or random id goes in.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "worker/media/decoder.h"

namespace atelier::media {

/// How pictures become a file.
struct VideoSettings {
  std::string muxer;                                // FFmpeg's name: "mp4", "webm", "mov", "matroska", "gif"
  std::string encoder;                              // "libx264", "libx265", "libvpx-vp9", "libsvtav1", "prores_ks", ...
  std::string pixel_format;                         // of the file: "yuv420p", ...
  std::map<std::string, std::string> options;       // of the encoder: "crf", "preset", ...
  std::map<std::string, std::string> file_options;  // of the container: "loop" of gif and webp
  std::string tag;                                  // four letters for the codec in the file, or the usual ones
  double fps = 24;
  int width = 0, height = 0;  // of the pictures fed
  int channels = 3;           // 3 RGB, 4 RGBA
  bool deep = false;          // 16 bits a channel (little endian) instead of 8
  bool bt709 = false;         // limited-range BT.709, and marked so
  std::string filters;        // before the conversion, FFmpeg's notation; made by our own code, never text of a user
};

/// Takes pictures one after another. Thread: one at a time.
class VideoEncoder {
 public:
  /// Errors: INVALID_ARGUMENT (size, rate, pixel format or an option that the encoder does not take),
  /// FAILED_PRECONDITION when this FFmpeg lacks encoder or container.
  static StatusOr<std::unique_ptr<VideoEncoder>> Open(const VideoSettings& settings);
  virtual ~VideoEncoder() = default;
  /// A picture of height rows of width pixels, rows one after the other. Errors: INVALID_ARGUMENT for another number of
  /// bytes; RESOURCE_EXHAUSTED (memory, or the file beyond limits::kBlobBytesMax).
  virtual Status Add(const uint8_t* data, size_t bytes) = 0;
  /// The file. Call once. Errors: as Add; INVALID_ARGUMENT when there was no picture.
  virtual StatusOr<std::string> Finish() = 0;
};

/// How sound is kept.
struct AudioSettings {
  std::string muxer;                           // for files of sound alone: "flac", "mp3", "opus", "wav"
  std::string encoder;                         // "aac", "libopus", "libvorbis", "flac", "libmp3lame", "pcm_s16le"
  int64_t bit_rate = 0;                        // 0: the encoder's own
  int sample_rate = 0;                         // 0: that of the samples, or the nearest that the encoder takes
  std::map<std::string, std::string> options;  // of the encoder
};

/// A file of sound alone. Errors: INVALID_ARGUMENT, FAILED_PRECONDITION, RESOURCE_EXHAUSTED. Thread: any.
StatusOr<std::string> EncodeAudio(const AudioSamples& audio, const AudioSettings& settings);

/// The video file with a track of sound beside its pictures, which are copied as they are. `shortest`: pictures that
/// begin after the end of the sound are left out. `muxer` as in VideoSettings. Errors: as EncodeAudio. Thread: any.
StatusOr<std::string> AddAudioTrack(std::string_view video, const std::string& muxer, const AudioSamples& audio,
                                    const AudioSettings& settings, bool shortest);

}  // namespace atelier::media
