// VideoHelperSuite's loaders that go over a video frame by frame. Source: spec extras.md 4.1.
#include <algorithm>
#include <limits>

#include "common/graph/frames.h"
#include "worker/engine/frame_source.h"
#include "worker/nodes/vhs_load.h"

namespace atelier::nodes {
namespace {

// What of a video is loaded.
struct VhsSelection {
  double frame_time = 0, source_time = 0;
  int64_t cap = 0, skip_first = 0, every_nth = 1;
};

// Goes along the timeline in doubles, as the reference does.
class VhsTimeline {
 public:
  VhsTimeline(const VhsSelection& selection, std::string_view bytes) : selection_(selection), bytes_(bytes) {}

  Status Rewind() {
    ASSIGN_OR_RETURN(decoder_, media::VideoDecoder::Open(bytes_));
    source_ = position_ = timeline_ = taken_ = 0;
    decoded_ = -1;
    t_ = selection_.frame_time;
    return OkStatus();
  }
  // Loaded frames gone over so far.
  int64_t taken() const { return taken_; }

  // The next loaded frame; null at the end.
  StatusOr<const media::VideoFrame*> Next() {
    ASSIGN_OR_RETURN(const bool there, Step(Mode::kRead));
    return there ? &frame_ : nullptr;
  }
  // Goes over the next loaded frame, known to be there if `sure`, else found out; false at the end.
  StatusOr<bool> Skip(bool sure) { return Step(sure ? Mode::kPass : Mode::kTouch); }

 private:
  enum class Mode { kRead, kTouch, kPass };

  StatusOr<bool> Step(Mode mode) {
    if (selection_.cap != 0 && taken_ >= selection_.cap) return false;
    while (true) {
      if (t_ < selection_.frame_time) {
        ++source_;
        t_ += selection_.source_time;
        if (t_ < selection_.frame_time) continue;
      }
      t_ -= selection_.frame_time;
      ++timeline_;
      const int64_t kept = timeline_ - 1 - selection_.skip_first;
      const bool wanted = kept >= 0 && kept % selection_.every_nth == 0;
      bool there = true;
      while (there && position_ < source_) {
        ASSIGN_OR_RETURN(there, decoder_->Skip());
        ++position_;
      }
      if (there && wanted && mode != Mode::kPass && decoded_ != source_) {
        if (mode == Mode::kRead) {
          ASSIGN_OR_RETURN(there, decoder_->Next(frame_));
        } else {
          ASSIGN_OR_RETURN(there, decoder_->Skip());
        }
        position_ = source_ + 1;
        decoded_ = source_;
      }
      if (!there) return false;
      if (!wanted) continue;
      ++taken_;
      return true;
    }
  }

  const VhsSelection selection_;
  const std::string_view bytes_;
  std::unique_ptr<media::VideoDecoder> decoder_;
  media::VideoFrame frame_;
  int64_t source_ = 0, decoded_ = -1;  // the current frame, and the one in frame_
  int64_t position_ = 0;               // frames gone over
  int64_t timeline_ = 0, taken_ = 0;
  double t_ = 0;
};

struct VhsLoadVideo : VhsVideoInputs {
  int64_t skip_first_frames = 0, select_every_nth = 1;

  template <typename Node>
  static void DescribeInputs(NodeSchema<Node>& s) {
    DescribeVhsFrames(s);
    s.template Input<&Node::skip_first_frames>("skip_first_frames")
        .Default(0)
        .Range(0, kVhsCountMax)
        .Step(1)
        .Tooltip("Frames to leave out at the beginning, at the rate asked for.");
    s.template Input<&Node::select_every_nth>("select_every_nth")
        .Default(1)
        .Range(1, kVhsCountMax)
        .Step(1)
        .Tooltip("Of the rest, every which frame.");
    DescribeVhsTarget(s);
  }
  template <typename Node>
  static void DescribeRest(NodeSchema<Node>& s) {
    DescribeInputs(s);
    DeclareFrames(s, {.role = "source"});
    s.template Output<ImageOrLatent>("IMAGE").template Output<int64_t>("frame_count");
    s.template Output<Audio>("audio").template Output<VideoInfo>("video_info");
  }

  struct Opened : VhsVideo {
    VhsSelection selection;

    // Frames of a size as floats at the size asked for.
    StatusOr<at::Tensor> Sized(const at::Tensor& frames, const VhsLoadVideo& node) const {
      ASSIGN_OR_RETURN(const VhsSize size,
                       VhsLoadSize(frames.size(2), frames.size(1), node.custom_width, node.custom_height, side));
      return VhsResize(frames, size);
    }
    Status NoFrames() const {
      return InvalidArgument("no frames generated: skip_first_frames (", selection.skip_first,
                             ") leaves none of the video's; use a smaller number");
    }
    // How many frames there are to load, before the preset cuts them off.
    StatusOr<int64_t> Count(NodeContext& ctx) const {
      VhsTimeline timeline(selection, *bytes);
      RETURN_IF_ERROR(timeline.Rewind());
      while (true) {
        if (ctx.cancelled()) return Cancelled("cancelled");
        ASSIGN_OR_RETURN(const bool there, timeline.Skip(false));
        if (!there) break;
      }
      if (timeline.taken() == 0) return NoFrames();
      return timeline.taken();
    }
  };

  StatusOr<Opened> Open(NodeContext& ctx) const {
    ASSIGN_OR_RETURN(VhsVideo opened, OpenVideo(ctx));
    const double source_time = 1 / opened.source.fps;
    return Opened{std::move(opened),
                  {force_rate == 0 ? source_time : 1 / force_rate, source_time, frame_load_cap, skip_first_frames,
                   select_every_nth}};
  }

  StatusOr<at::Tensor> LoadAll(NodeContext& ctx, const Opened& opened) const {
    VhsTimeline timeline(opened.selection, *opened.bytes);
    RETURN_IF_ERROR(timeline.Rewind());
    std::vector<at::Tensor> frames;
    while (true) {
      if (ctx.cancelled()) return Cancelled("cancelled");
      ASSIGN_OR_RETURN(const media::VideoFrame* frame, timeline.Next());
      if (frame == nullptr) break;
      RETURN_IF_ERROR(
          CheckTensorSize("loaded video", {static_cast<int64_t>(frames.size()) + 1, frame->height, frame->width, 3}));
      frames.push_back(FrameTensor(*frame));
    }
    if (frames.empty()) return opened.NoFrames();
    return at::cat(frames, 0);
  }

  // What is told beside the frames: their number, sound, figures.
  StatusOr<std::vector<Value>> Rest(const Opened& opened, int64_t count, const VhsSize& size) const {
    const auto nth = static_cast<double>(select_every_nth);
    const double frame_time = opened.selection.frame_time;
    ASSIGN_OR_RETURN(Audio audio, VhsAudio(*opened.bytes, static_cast<double>(skip_first_frames) * frame_time,
                                           static_cast<double>(frame_load_cap) * frame_time * nth));
    VideoInfo info;
    info.source_fps = opened.source.fps;
    info.source_frame_count = static_cast<double>(opened.source.frames);
    info.source_duration = info.source_frame_count / info.source_fps;
    info.source_width = opened.source.width;
    info.source_height = opened.source.height;
    info.loaded_fps = 1 / (frame_time * nth);
    info.loaded_frame_count = count;
    info.loaded_duration = static_cast<double>(count) * (frame_time * nth);
    info.loaded_width = size.width;
    info.loaded_height = size.height;
    return std::vector<Value>{internal::ToValue(count), Value::Of<Audio>("AUDIO", std::move(audio)),
                              Value::Of<VideoInfo>("VHS_VIDEOINFO", info)};
  }

  StatusOr<std::vector<Value>> Run(NodeContext& ctx) const {
    return Guard([&]() -> StatusOr<std::vector<Value>> {
      ASSIGN_OR_RETURN(const Opened opened, Open(ctx));
      StatusOr<at::Tensor> loaded = LoadAll(ctx, opened);
      if (!loaded.ok()) return Blame(loaded.status());
      const int64_t count = opened.preset.Keep(loaded->size(0));
      ASSIGN_OR_RETURN(const at::Tensor pixels, opened.Sized(loaded->narrow(0, 0, count), *this));
      ASSIGN_OR_RETURN(Value pictures, VhsPicturesOrLatents(ctx, pixels, vae));
      std::vector<Value> out{std::move(pictures)};
      ASSIGN_OR_RETURN(std::vector<Value> rest, Rest(opened, count, {pixels.size(2), pixels.size(1)}));
      std::move(rest.begin(), rest.end(), std::back_inserter(out));
      return out;
    });
  }
};

// The frames of an opened video, window by window.
class VhsFrames : public engine::FrameSource {
 public:
  // `count`: frames to keep, where that is not all of them.
  VhsFrames(VhsLoadVideo node, VhsLoadVideo::Opened opened, std::optional<int64_t> count)
      : node_(std::move(node)),
        opened_(std::move(opened)),
        count_(count),
        timeline_(opened_.selection, *opened_.bytes) {}

  StatusOr<at::Tensor> Read(int64_t start, int64_t count) override {
    StatusOr<at::Tensor> frames = Load(start, count);
    if (!frames.ok()) return node_.Blame(frames.status());
    if (!frames->defined()) return frames;
    return opened_.Sized(*frames, node_);
  }

 private:
  StatusOr<at::Tensor> Load(int64_t start, int64_t count) {
    if (!begun_ || start < timeline_.taken()) {
      RETURN_IF_ERROR(timeline_.Rewind());
      begun_ = true;
    }
    while (timeline_.taken() < start) {
      ASSIGN_OR_RETURN(const bool there, timeline_.Skip(true));
      if (!there) return at::Tensor();
    }
    std::vector<at::Tensor> frames;
    while (count == 0 || static_cast<int64_t>(frames.size()) < count) {
      if (count_ && timeline_.taken() >= *count_) break;
      ASSIGN_OR_RETURN(const media::VideoFrame* frame, timeline_.Next());
      if (frame == nullptr) break;
      if (count == 0) count = FramesPerWindow(frame->height, frame->width, kTakenWindowBytes);
      frames.push_back(FrameTensor(*frame));
    }
    if (frames.empty()) return start == 0 ? StatusOr<at::Tensor>(opened_.NoFrames()) : at::Tensor();
    return at::cat(frames, 0);
  }

  const VhsLoadVideo node_;
  const VhsLoadVideo::Opened opened_;
  const std::optional<int64_t> count_;
  VhsTimeline timeline_;
  bool begun_ = false;
};

// The planner's half of a loader: opens the video.
struct VhsLoadVideoOpen : VhsLoadVideo {
  static void Describe(NodeSchema<VhsLoadVideoOpen>& s) { DescribeOpen(s); }
  template <typename Node>
  static void DescribeOpen(NodeSchema<Node>& s) {
    s.Name("Load Video Open").Category("Video Helper Suite 🎥🅥🅗🅢").Internal();
    s.Description("Opens a video to read it window by window; made by the planner.");
    s.template Input<&Node::video>("video").FromFolder("input").Type("STRING").Tooltip("A file of the input folder.");
    DescribeInputs(s);
    s.template Output<engine::FrameFile>("FRAME_FILE");
  }
  StatusOr<engine::FrameFile> Run(NodeContext& ctx) const {
    return Guard([&]() -> StatusOr<engine::FrameFile> {
      ASSIGN_OR_RETURN(Opened opened, Open(ctx));
      std::optional<int64_t> count;
      if (opened.preset.frames > 1) {
        const StatusOr<int64_t> all = opened.Count(ctx);
        if (!all.ok()) return Blame(all.status());
        count = opened.preset.Keep(*all);
      }
      return engine::FrameFile{std::make_shared<VhsFrames>(*this, std::move(opened), count)};
    });
  }
};
ATELIER_REGISTER_NODE_AS(VhsLoadVideoOpen, "VHS_LoadVideoOpen");

struct VhsLoadVideoPathOpen : VhsLoadVideoOpen {
  static void Describe(NodeSchema<VhsLoadVideoPathOpen>& s) { DescribeOpen(s); }
};
ATELIER_REGISTER_NODE_AS(VhsLoadVideoPathOpen, "VHS_LoadVideoPathOpen");

// The other half: what is told beside the frames, and how many windows they make.
struct VhsLoadVideoRest : VhsLoadVideo {
  static void Describe(NodeSchema<VhsLoadVideoRest>& s) { DescribeBeside(s); }
  template <typename Node>
  static void DescribeBeside(NodeSchema<Node>& s) {
    s.Name("Load Video Rest").Category("Video Helper Suite 🎥🅥🅗🅢").Internal();
    s.Description("What a video holds beside its frames; made by the planner.");
    s.template Input<&Node::video>("video").FromFolder("input").Type("STRING").Tooltip("A file of the input folder.");
    DescribeInputs(s);
    s.template Output<std::string>("extent").template Output<int64_t>("frame_count");
    s.template Output<Audio>("audio").template Output<VideoInfo>("video_info");
  }
  StatusOr<std::vector<Value>> Run(NodeContext& ctx) const {
    return Guard([&]() -> StatusOr<std::vector<Value>> {
      ASSIGN_OR_RETURN(const Opened opened, Open(ctx));
      const StatusOr<int64_t> all = opened.Count(ctx);
      if (!all.ok()) return Blame(all.status());
      const int64_t count = opened.preset.Keep(*all);
      ASSIGN_OR_RETURN(const VhsSize size, VhsLoadSize(opened.source.width, opened.source.height, custom_width,
                                                       custom_height, opened.side));
      const int64_t window = FramesPerWindow(opened.source.height, opened.source.width);
      std::vector<Value> out{internal::ToValue(Cat(count, " ", window))};
      ASSIGN_OR_RETURN(std::vector<Value> rest, Rest(opened, count, size));
      std::move(rest.begin(), rest.end(), std::back_inserter(out));
      return out;
    });
  }
};
ATELIER_REGISTER_NODE_AS(VhsLoadVideoRest, "VHS_LoadVideoRest");

struct VhsLoadVideoPathRest : VhsLoadVideoRest {
  static void Describe(NodeSchema<VhsLoadVideoPathRest>& s) { DescribeBeside(s); }
};
ATELIER_REGISTER_NODE_AS(VhsLoadVideoPathRest, "VHS_LoadVideoPathRest");

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
