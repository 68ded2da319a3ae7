// VideoHelperSuite's loaders that leave rate, place and size to FFmpeg's filters, with 16 bits a channel and a mask.
// Source: spec extras.md 4.2.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "worker/nodes/vhs_load.h"

namespace atelier::nodes {
namespace {

// Of start_time: before this many seconds it is jumped there and time begins anew, the rest is played.
constexpr double kPlayedSeconds = 4;
constexpr int64_t kNoMaskSide = 64;

struct VhsLoadVideoFFmpeg : VhsVideoInputs {
  double start_time = 0;

  template <typename Node>
  static void DescribeRest(NodeSchema<Node>& s) {
    DescribeVhsFrames(s);
    s.template Input<&Node::start_time>("start_time")
        .Default(0)
        .Range(0, kVhsCountMax)
        .Step(0.001)
        .Tooltip("Seconds of the video to leave out at the beginning.");
    DescribeVhsTarget(s);
    s.template Output<ImageOrLatent>("IMAGE").template Output<Mask>("mask");
    s.template Output<Audio>("audio").template Output<VideoInfo>("video_info");
  }

  // FFmpeg's filters for the rate, the beginning and the size.
  StatusOr<std::string> Filters(const media::VideoInfo& source, int64_t side) const {
    std::string filters;
    const auto add = [&](const std::string& filter) { filters += Cat(filters.empty() ? "" : ",", filter); };
    if (force_rate > 0) add(Cat("fps=fps=", force_rate));
    if (custom_width > 0 || custom_height > 0) {
      ASSIGN_OR_RETURN(const VhsSize size, VhsLoadSize(source.width, source.height, custom_width, custom_height, side));
      const auto w = static_cast<double>(source.width), h = static_cast<double>(source.height);
      const double aspect = static_cast<double>(size.width) / static_cast<double>(size.height);
      if (std::abs(w * aspect - h) >= 1)
        add(aspect > w / h ? Cat("crop=", w, ":", w / aspect) : Cat("crop=", h * aspect, ":", h));
      add(Cat("scale=", size.width, ":", size.height));
    }
    if (start_time > 0) add(Cat("trim=start=", std::min(start_time, kPlayedSeconds)));
    return filters;
  }

  struct Loaded {
    std::vector<at::Tensor> pixels, alpha;  // f32 [1,H,W,3] and [1,H,W]
  };

  StatusOr<Loaded> Load(NodeContext& ctx, std::string_view bytes, const media::VideoInfo& source,
                        const std::string& filters) const {
    media::VideoDecodeOptions options;
    options.deep = true;
    options.start = std::max(0.0, start_time - kPlayedSeconds);
    options.filters = filters;
    ASSIGN_OR_RETURN(const auto decoder, media::VideoDecoder::Open(bytes, options));
    Loaded loaded;
    media::VideoFrame frame;
    for (int64_t count = 0; frame_load_cap == 0 || count < frame_load_cap; ++count) {
      if (ctx.cancelled()) return Cancelled("cancelled");
      ASSIGN_OR_RETURN(const bool got, decoder->Next(frame));
      if (!got) break;
      RETURN_IF_ERROR(CheckTensorSize("loaded video", {count + 1, frame.height, frame.width, 4}));
      const at::Tensor raw = at::empty({1, frame.height, frame.width, 4}, at::kUInt16);
      std::memcpy(raw.mutable_data_ptr<uint16_t>(), frame.data.data(), frame.data.size());
      const at::Tensor rgba = raw.to(at::kFloat).div_(65535.0);
      loaded.pixels.push_back(rgba.slice(3, 0, 3).contiguous());
      if (source.alpha) loaded.alpha.push_back(1.0 - rgba.select(3, 3));
    }
    if (loaded.pixels.empty())
      return InvalidArgument("no frames generated: nothing of the video lies behind start_time (", start_time,
                             " s); use a smaller one");
    return loaded;
  }

  VideoInfo Info(const media::VideoInfo& source, int64_t count, const at::Tensor& pixels) const {
    VideoInfo info;
    info.source_fps = source.fps;
    info.source_duration = std::round(source.seconds * 100) / 100;
    info.source_frame_count = source.fps * info.source_duration;
    info.source_width = source.width;
    info.source_height = source.height;
    info.loaded_fps = force_rate > 0 ? force_rate : source.fps;
    info.loaded_frame_count = count;
    info.loaded_duration = static_cast<double>(count) * (1 / info.loaded_fps);
    info.loaded_width = pixels.size(2);
    info.loaded_height = pixels.size(1);
    return info;
  }

  StatusOr<std::vector<Value>> Run(NodeContext& ctx) const {
    return Guard([&]() -> StatusOr<std::vector<Value>> {
      ASSIGN_OR_RETURN(const VhsVideo opened, OpenVideo(ctx));
      const media::VideoInfo& source = opened.source;
      ASSIGN_OR_RETURN(const std::string filters, Filters(source, opened.side));
      const StatusOr<Loaded> loaded = Load(ctx, *opened.bytes, source, filters);
      if (!loaded.ok()) return Blame(loaded.status());
      const int64_t count = opened.preset.Keep(static_cast<int64_t>(loaded->pixels.size()));
      const at::Tensor pixels = at::cat(loaded->pixels, 0).narrow(0, 0, count);
      const at::Tensor mask = source.alpha ? at::cat(loaded->alpha, 0).narrow(0, 0, count)
                                           : at::zeros({count, kNoMaskSide, kNoMaskSide}, at::kFloat);
      ASSIGN_OR_RETURN(Value pictures, VhsPicturesOrLatents(ctx, pixels, vae));
      const VideoInfo info = Info(source, count, pixels);
      ASSIGN_OR_RETURN(Audio audio,
                       VhsAudio(*opened.bytes, start_time, static_cast<double>(frame_load_cap) / info.loaded_fps));
      return std::vector<Value>{std::move(pictures), Value::Of<Mask>("MASK", Mask{mask}),
                                Value::Of<Audio>("AUDIO", std::move(audio)),
                                Value::Of<VideoInfo>("VHS_VIDEOINFO", info)};
    });
  }
};

struct VhsLoadVideoFFmpegUpload : VhsLoadVideoFFmpeg {
  using T = VhsLoadVideoFFmpegUpload;
  static void Describe(NodeSchema<T>& s) {
    s.Name("Load Video FFmpeg (Upload) 🎥🅥🅗🅢").Category("Video Helper Suite 🎥🅥🅗🅢");
    s.Description("Reads the frames of a video of the input folder with 16 bits a channel, and its transparency.");
    s.Input<&T::video>("video").FromFolder("input").Tooltip("A file of the input folder.");
    DescribeRest(s);
  }
};
ATELIER_REGISTER_NODE_AS(VhsLoadVideoFFmpegUpload, "VHS_LoadVideoFFmpeg");

struct VhsLoadVideoFFmpegPath : VhsLoadVideoFFmpeg {
  using T = VhsLoadVideoFFmpegPath;
  static void Describe(NodeSchema<T>& s) {
    s.Name("Load Video FFmpeg (Path) 🎥🅥🅗🅢").Category("Video Helper Suite 🎥🅥🅗🅢");
    s.Description("The same, of a video that is named by its path below the input folder.");
    s.Input<&T::video>("video").FromFolder("input").Type("STRING").Tooltip("A path below the input folder.");
    DescribeRest(s);
  }
};
ATELIER_REGISTER_NODE_AS(VhsLoadVideoFFmpegPath, "VHS_LoadVideoFFmpegPath");

}  // namespace
}  // namespace atelier::nodes
