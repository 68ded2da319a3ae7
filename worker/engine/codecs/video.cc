// VIDEO: tensors `image` (as IMAGE has it) and `waveform`, json {fps, sample_rate}; or `file`, the bytes of a
// container. VHS_VIDEOINFO: json alone.
#include "worker/engine/video.h"

#include <cstring>

#include "common/base/registry.h"
#include "worker/engine/codecs/blob.h"

namespace atelier::engine {
namespace {

struct VideoCodec {
  using Type = Video;
  static StatusOr<std::string> Encode(const Video& video, std::string_view) {
    if (video.file != nullptr) {
      at::Tensor file = at::empty({static_cast<int64_t>(video.file->size())}, at::kByte);
      std::memcpy(file.mutable_data_ptr<uint8_t>(), video.file->data(), video.file->size());
      return WriteBlob("VIDEO", {{"file", file}});
    }
    const at::Tensor pixels = video.images.pixels.to(at::kFloat);
    const at::Tensor bytes = (pixels * 255.0).round().clamp(0, 255).to(at::kByte);
    TensorMap tensors{{"image", at::equal(bytes.to(at::kFloat) / 255.0, pixels) ? bytes : pixels}};
    Json json{{"fps", video.fps}};
    if (video.audio) {
      tensors.emplace("waveform", video.audio->waveform);
      json["sample_rate"] = video.audio->sample_rate;
    }
    return WriteBlob("VIDEO", tensors, json);
  }
  static StatusOr<Video> Decode(const Blob& blob) {
    Video video;
    if (const auto file = blob.tensors.find("file"); file != blob.tensors.end()) {
      const at::Tensor& bytes = file->second;
      if (bytes.scalar_type() != at::kByte) return InvalidArgument("the \"file\" of a VIDEO blob has to be U8");
      video.file = std::make_shared<const std::string>(reinterpret_cast<const char*>(bytes.const_data_ptr<uint8_t>()),
                                                       static_cast<size_t>(bytes.numel()));
      return video;
    }
    ASSIGN_OR_RETURN(at::Tensor pixels, blob.Get("image"));
    if (pixels.dim() != 4) return InvalidArgument("a VIDEO blob needs 4 dimensions [F,H,W,C], not ", pixels.dim());
    video.images.pixels = pixels.scalar_type() == at::kByte ? pixels.to(at::kFloat) / 255.0 : pixels;
    const auto number = [&](const char* key) { return blob.json.contains(key) && blob.json[key].is_number(); };
    if (!number("fps")) return InvalidArgument("a VIDEO blob needs \"fps\"");
    video.fps = blob.json["fps"].get<double>();
    if (blob.tensors.contains("waveform")) {
      if (!number("sample_rate")) return InvalidArgument("a VIDEO blob with sound needs \"sample_rate\"");
      video.audio = Audio{blob.tensors.at("waveform"), blob.json["sample_rate"].get<int64_t>()};
    }
    return video;
  }
};

struct VideoInfoCodec {
  using Type = VideoInfo;
  static StatusOr<std::string> Encode(const VideoInfo& v, std::string_view) {
    return WriteBlob(
        "VHS_VIDEOINFO", {},
        Json::array({v.source_fps, v.source_frame_count, v.source_duration, v.source_width, v.source_height,
                     v.loaded_fps, v.loaded_frame_count, v.loaded_duration, v.loaded_width, v.loaded_height}));
  }
  static StatusOr<VideoInfo> Decode(const Blob& blob) {
    if (!blob.json.is_array() || blob.json.size() != 10)
      return InvalidArgument("a VHS_VIDEOINFO blob needs a list of 10 numbers");
    for (const Json& item : blob.json)
      if (!item.is_number()) return InvalidArgument("a VHS_VIDEOINFO blob needs a list of 10 numbers");
    const auto real = [&](size_t i) { return blob.json[i].get<double>(); };
    const auto whole = [&](size_t i) { return blob.json[i].get<int64_t>(); };
    return VideoInfo{real(0), real(1), real(2), whole(3), whole(4), real(5), whole(6), real(7), whole(8), whole(9)};
  }
};

const bool kVideoRegistered = [] {
  auto& registry = Registry<BlobCodec>::Get();
  registry.Add("VIDEO", 0, TensorCodec<VideoCodec>());
  registry.Add("VHS_VIDEOINFO", 0, TensorCodec<VideoInfoCodec>());
  return true;
}();

}  // namespace
}  // namespace atelier::engine
