#include "worker/media/info_message.h"

namespace atelier::media {

Json HeadOf(const MediaInfo& info) {
  Json head{{"kind", "info"}, {"container", info.container}, {"seconds", info.seconds}};
  if (info.video.has_value())
    head["video"] = {{"width", info.video->width},   {"height", info.video->height},
                     {"fps", info.video->fps},       {"average_fps", info.video->average_fps},
                     {"frames", info.video->frames}, {"seconds", info.video->seconds},
                     {"alpha", info.video->alpha},   {"codec", info.video->codec}};
  if (info.audio.has_value())
    head["audio"] = {{"channels", info.audio->channels}, {"sample_rate", info.audio->sample_rate}};
  return head;
}

MediaInfo InfoOf(const Json& head) {
  MediaInfo info;
  info.container = head.at("container").get<std::string>();
  info.seconds = head.at("seconds").get<double>();
  if (head.contains("video")) {
    const Json& video = head["video"];
    info.video = VideoInfo{video.at("width").get<int>(),      video.at("height").get<int>(),
                           video.at("fps").get<double>(),     video.at("average_fps").get<double>(),
                           video.at("frames").get<int64_t>(), video.at("seconds").get<double>(),
                           video.at("alpha").get<bool>(),     video.at("codec").get<std::string>()};
  }
  if (head.contains("audio"))
    info.audio = AudioInfo{head["audio"].at("channels").get<int>(), head["audio"].at("sample_rate").get<int>()};
  return info;
}

}  // namespace atelier::media
