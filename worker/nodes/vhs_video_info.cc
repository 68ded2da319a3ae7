// The figures of a loaded video. Source: spec extras.md 4.4.
#include <cmath>

#include "worker/nodes/media_support.h"

namespace atelier::nodes {
namespace {

constexpr char kVideoInfoCategory[] = "Video Helper Suite 🎥🅥🅗🅢";

// Whole numbers as such: FFmpeg's loader counts frames by the length and may have a part of one.
Value Count(double number) {
  if (number == std::floor(number) && std::abs(number) < 9e15) return internal::ToValue(static_cast<int64_t>(number));
  return internal::ToValue(number);
}

std::vector<Value> Source(const VideoInfo& v) {
  return {internal::ToValue(v.source_fps), Count(v.source_frame_count), internal::ToValue(v.source_duration),
          internal::ToValue(v.source_width), internal::ToValue(v.source_height)};
}

std::vector<Value> Loaded(const VideoInfo& v) {
  return {internal::ToValue(v.loaded_fps), internal::ToValue(v.loaded_frame_count),
          internal::ToValue(v.loaded_duration), internal::ToValue(v.loaded_width), internal::ToValue(v.loaded_height)};
}

void Outputs(NodeDeclaration& s, const std::string& before, const std::string& behind) {
  s.Output<double>(before + "fps" + behind).Output<int64_t>(before + "frame_count" + behind);
  s.Output<double>(before + "duration" + behind).Output<int64_t>(before + "width" + behind);
  s.Output<int64_t>(before + "height" + behind);
}

struct VhsVideoInfo {
  VideoInfo video_info;

  static void Describe(NodeSchema<VhsVideoInfo>& s) {
    s.Name("Video Info 🎥🅥🅗🅢")
        .Category(kVideoInfoCategory)
        .Description("Figures of a video's file and as it was loaded.");
    s.Input<&VhsVideoInfo::video_info>("video_info").Tooltip("From the node that loads the video.");
    Outputs(s, "source_", "🟨");
    Outputs(s, "loaded_", "🟦");
  }
  StatusOr<std::vector<Value>> Run(NodeContext&) const {
    std::vector<Value> values = Source(video_info);
    for (Value& value : Loaded(video_info)) values.push_back(std::move(value));
    return values;
  }
};
ATELIER_REGISTER_NODE_AS(VhsVideoInfo, "VHS_VideoInfo");

struct VhsVideoInfoSource {
  VideoInfo video_info;

  static void Describe(NodeSchema<VhsVideoInfoSource>& s) {
    s.Name("Video Info (Source) 🎥🅥🅗🅢").Category(kVideoInfoCategory).Description("Figures of a video's file.");
    s.Input<&VhsVideoInfoSource::video_info>("video_info").Tooltip("From the node that loads the video.");
    Outputs(s, "", "🟨");
  }
  StatusOr<std::vector<Value>> Run(NodeContext&) const { return Source(video_info); }
};
ATELIER_REGISTER_NODE_AS(VhsVideoInfoSource, "VHS_VideoInfoSource");

struct VhsVideoInfoLoaded {
  VideoInfo video_info;

  static void Describe(NodeSchema<VhsVideoInfoLoaded>& s) {
    s.Name("Video Info (Loaded) 🎥🅥🅗🅢").Category(kVideoInfoCategory).Description("Figures of a video as it was loaded.");
    s.Input<&VhsVideoInfoLoaded::video_info>("video_info").Tooltip("From the node that loads the video.");
    Outputs(s, "", "🟦");
  }
  StatusOr<std::vector<Value>> Run(NodeContext&) const { return Loaded(video_info); }
};
ATELIER_REGISTER_NODE_AS(VhsVideoInfoLoaded, "VHS_VideoInfoLoaded");

}  // namespace
}  // namespace atelier::nodes
