// VideoHelperSuite's loaders that go over a video frame by frame. Source: spec extras.md 4.1.
#include <algorithm>
#include <limits>

#include "worker/nodes/vhs_load.h"

namespace atelier::nodes {
namespace {

constexpr int64_t kCountMax = 9007199254740991;

struct VhsLoadVideo {
  std::string video;
  double force_rate = 0;
  int64_t custom_width = 0, custom_height = 0, frame_load_cap = 0, skip_first_frames = 0, select_every_nth = 1;
  std::optional<Vae> vae;
  std::optional<std::string> format;

  template <typename Node>
  static void DescribeRest(NodeSchema<Node>& s) {
    s.template Input<&Node::force_rate>("force_rate")
        .Default(0)
        .Range(0, 60)
        .Step(1)
        .Tooltip("Frames a second to bring the video to by leaving out or repeating; 0: as it is.");
    s.template Input<&Node::custom_width>("custom_width").Default(0).Range(0, 8192).Tooltip("0: by the aspect.");
    s.template Input<&Node::custom_height>("custom_height").Default(0).Range(0, 8192).Tooltip("0: by the aspect.");
    s.template Input<&Node::frame_load_cap>("frame_load_cap")
        .Default(0)
        .Range(0, kCountMax)
        .Step(1)
        .Tooltip("How many frames at most; 0: all.");
    s.template Input<&Node::skip_first_frames>("skip_first_frames")
        .Default(0)
        .Range(0, kCountMax)
        .Step(1)
        .Tooltip("Frames to leave out at the beginning, at the rate asked for.");
    s.template Input<&Node::select_every_nth>("select_every_nth")
        .Default(1)
        .Range(1, kCountMax)
        .Step(1)
        .Tooltip("Of the rest, every which frame.");
    s.template Input<&Node::vae>("vae").Tooltip("With it the output is latents.");
    s.template Input<&Node::format>("format")
        .OneOf(VhsLoadFormats())
        .Tooltip("For which model: sides and the number of frames are made to fit.");
    s.template Output<ImageOrLatent>("IMAGE").template Output<int64_t>("frame_count");
    s.template Output<Audio>("audio").template Output<VideoInfo>("video_info");
  }

  struct Loaded {
    at::Tensor frames;  // u8
    media::VideoInfo source;
    double frame_time = 0;
  };

  // Goes along the timeline in doubles, as the reference does.
  StatusOr<Loaded> Load(NodeContext& ctx, std::string_view bytes) const {
    ASSIGN_OR_RETURN(const media::MediaInfo info, media::Probe(bytes));
    if (!info.video.has_value()) return InvalidArgument("the file has no video");
    Loaded loaded;
    loaded.source = *info.video;
    if (!(loaded.source.fps > 0)) return InvalidArgument("the file does not say how many frames a second it has");
    const double source_time = 1 / loaded.source.fps;
    loaded.frame_time = force_rate == 0 ? source_time : 1 / force_rate;
    ASSIGN_OR_RETURN(const auto decoder, media::VideoDecoder::Open(bytes));
    std::vector<at::Tensor> frames;
    media::VideoFrame frame;
    int64_t source = 0, decoded = -1;  // the current frame, and the one in `frame`
    int64_t position = 0;              // frames gone over
    int64_t timeline = 0;
    double t = loaded.frame_time;
    while (frame_load_cap == 0 || static_cast<int64_t>(frames.size()) < frame_load_cap) {
      if (ctx.cancelled()) return Cancelled("cancelled");
      if (t < loaded.frame_time) {
        ++source;
        t += source_time;
        if (t < loaded.frame_time) continue;
      }
      t -= loaded.frame_time;
      ++timeline;
      const int64_t kept = timeline - 1 - skip_first_frames;
      const bool wanted = kept >= 0 && kept % select_every_nth == 0;
      bool there = true;
      while (there && position < source) {
        ASSIGN_OR_RETURN(there, decoder->Skip());
        ++position;
      }
      if (there && wanted && decoded != source) {
        ASSIGN_OR_RETURN(there, decoder->Next(frame));
        position = source + 1;
        decoded = source;
      }
      if (!there) break;
      if (!wanted) continue;
      RETURN_IF_ERROR(
          CheckTensorSize("loaded video", {static_cast<int64_t>(frames.size()) + 1, frame.height, frame.width, 3}));
      frames.push_back(FrameTensor(frame));
    }
    if (frames.empty())
      return InvalidArgument("no frames generated: skip_first_frames (", skip_first_frames,
                             ") leaves none of the video's; use a smaller number");
    loaded.frames = at::cat(frames, 0);
    return loaded;
  }

  StatusOr<std::vector<Value>> Run(NodeContext& ctx) const {
    ASSIGN_OR_RETURN(const VhsPreset preset, FindVhsPreset(format.value_or("None")));
    ASSIGN_OR_RETURN(const std::string bytes, ctx.InputFile(video));
    return Guard([&]() -> StatusOr<std::vector<Value>> {
      StatusOr<Loaded> loaded = Load(ctx, bytes);
      if (!loaded.ok()) return Annotate(loaded.status(), Cat("input file \"", video, "\""));
      const int64_t count = preset.Keep(loaded->frames.size(0));
      const bool encodes = vae.has_value() && vae->autoencoder != nullptr;
      ASSIGN_OR_RETURN(const VhsSize size,
                       VhsLoadSize(loaded->frames.size(2), loaded->frames.size(1), custom_width, custom_height,
                                   encodes ? vae->autoencoder->ratio() : preset.side));
      ASSIGN_OR_RETURN(const at::Tensor pixels, VhsResize(loaded->frames.narrow(0, 0, count), size));
      ASSIGN_OR_RETURN(Value pictures, VhsPicturesOrLatents(ctx, pixels, vae));
      const auto nth = static_cast<double>(select_every_nth);
      ASSIGN_OR_RETURN(Audio audio, VhsAudio(bytes, static_cast<double>(skip_first_frames) * loaded->frame_time,
                                             static_cast<double>(frame_load_cap) * loaded->frame_time * nth));
      VideoInfo info;
      info.source_fps = loaded->source.fps;
      info.source_frame_count = static_cast<double>(loaded->source.frames);
      info.source_duration = info.source_frame_count / info.source_fps;
      info.source_width = loaded->source.width;
      info.source_height = loaded->source.height;
      const double loaded_frame_time = loaded->frame_time * nth;
      info.loaded_fps = 1 / loaded_frame_time;
      info.loaded_frame_count = count;
      info.loaded_duration = static_cast<double>(count) * loaded_frame_time;
      info.loaded_width = size.width;
      info.loaded_height = size.height;
      return std::vector<Value>{std::move(pictures), internal::ToValue(count),
                                Value::Of<Audio>("AUDIO", std::move(audio)),
                                Value::Of<VideoInfo>("VHS_VIDEOINFO", info)};
    });
  }
};

struct VhsLoadVideoUpload : VhsLoadVideo {
  static void Describe(NodeSchema<VhsLoadVideoUpload>& s) {
    s.Name("Load Video (Upload) 🎥🅥🅗🅢").Category("Video Helper Suite 🎥🅥🅗🅢");
    s.Description("Reads the frames of a video of the input folder.");
    s.Input<&VhsLoadVideoUpload::video>("video").FromFolder("input").Tooltip("A file of the input folder.");
    DescribeRest(s);
  }
};
ATELIER_REGISTER_NODE_AS(VhsLoadVideoUpload, "VHS_LoadVideo");

struct VhsLoadVideoPath : VhsLoadVideo {
  static void Describe(NodeSchema<VhsLoadVideoPath>& s) {
    s.Name("Load Video (Path) 🎥🅥🅗🅢").Category("Video Helper Suite 🎥🅥🅗🅢");
    s.Description("Reads the frames of a video that is named by its path below the input folder.");
    s.Input<&VhsLoadVideoPath::video>("video").FromFolder("input").Type("STRING").Tooltip(
        "A path below the input folder.");
    DescribeRest(s);
  }
};
ATELIER_REGISTER_NODE_AS(VhsLoadVideoPath, "VHS_LoadVideoPath");

}  // namespace
}  // namespace atelier::nodes
