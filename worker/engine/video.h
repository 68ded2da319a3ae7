// VIDEO and what VideoHelperSuite tells about a loaded one. Source: spec engine.md 11.3, extras.md 4.1.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "worker/engine/types.h"

namespace atelier::engine {

/// Either pictures with sound, or the bytes of a container file (then the rest is unset).
struct Video {
  Image images;
  Value windows;  // in the place of images: frames that come in windows (FrameWindows); never leaves its task
  std::optional<Audio> audio;
  double fps = 30;
  std::shared_ptr<const std::string> file;
};

/// A video's figures in its file, and as it was loaded. Times in seconds, sizes in pixels.
struct VideoInfo {
  double source_fps = 0, source_frame_count = 0, source_duration = 0;
  int64_t source_width = 0, source_height = 0;
  double loaded_fps = 0;
  int64_t loaded_frame_count = 0;
  double loaded_duration = 0;
  int64_t loaded_width = 0, loaded_height = 0;
};

/// What a node saved, as VideoHelperSuite hands it on; the names themselves are the master's to give.
struct SavedFiles {
  bool save_output = true;
  std::string prefix;
};

}  // namespace atelier::engine

namespace atelier {
template <>
struct SocketTraits<engine::Video> {
  static constexpr std::string_view kName = "VIDEO";
};
template <>
struct SocketTraits<engine::VideoInfo> {
  static constexpr std::string_view kName = "VHS_VIDEOINFO";
};
template <>
struct SocketTraits<engine::SavedFiles> {
  static constexpr std::string_view kName = "VHS_FILENAMES";
};
}  // namespace atelier
