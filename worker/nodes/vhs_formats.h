// The formats of VHS_VideoCombine and the widgets that each of them has. Source: spec extras.md 4.3.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "worker/media/encoder.h"

namespace atelier::nodes {

/// Widgets that only some formats have; absent: the format's own default.
struct VhsWidgets {
  std::optional<std::string> pix_fmt, profile, level, coder, context, slices, slicecrc, dither, input_color_depth;
  std::optional<int64_t> crf, gop_size, bitrate;
  std::optional<bool> megabit, save_metadata, trim_to_audio, lossless;
};

/// How a format is written. Size, rate and channels of `video` are the caller's.
struct VhsFormat {
  media::VideoSettings video;
  media::AudioSettings audio;  // no encoder: the format has no sound
  std::string extension;       // with the dot
  bool metadata = false;       // prompt and workflow go into the file
  bool trim_to_audio = false;
  bool sequence = false;  // a file for each picture
  bool loops = true;      // FFmpeg's loop filter may stand before
};

/// Names in the reference's order.
std::vector<std::string> VhsFormats();

/// `loops`: loop_count, of gif and webp files. Errors: INVALID_ARGUMENT for an unknown name or a widget's value that
/// the format does not have. Thread: any.
StatusOr<VhsFormat> FindVhsFormat(const std::string& name, const VhsWidgets& widgets, bool alpha, int64_t loops);

}  // namespace atelier::nodes
