// What the planner puts around nodes that treat frames one by one: where a window comes in, and where windows become a
// batch again. docs/frames.md.
#include "worker/engine/frame_source.h"
#include "worker/nodes/frame_reader.h"

namespace atelier::nodes {
namespace {

using engine::FrameFile;

struct FrameWindow {
  std::optional<FrameFile> source;
  std::optional<Image> image;
  int64_t start = 0, count = 0;

  static void Describe(NodeSchema<FrameWindow>& s) {
    s.Name("Frame Window").Category("image/video").Internal();
    s.Description("The frames of one window; made by the planner.");
    s.Input<&FrameWindow::source>("source").Tooltip("An opened video.");
    s.Input<&FrameWindow::image>("image").Tooltip("Or the frames themselves.");
    s.Input<&FrameWindow::start>("start").Hidden();
    s.Input<&FrameWindow::count>("count").Hidden();
    s.Output<Image>("IMAGE").Output<int64_t>("count");
  }
  StatusOr<std::tuple<Image, int64_t>> Run(NodeContext&) const {
    if (image.has_value()) {
      RETURN_IF_ERROR(CheckPixels("image", *image));
      return std::tuple(*image, image->pixels.size(0));
    }
    if (!source.has_value() || source->source == nullptr) return InvalidArgument("no video is connected");
    return Guard([&]() -> StatusOr<std::tuple<Image, int64_t>> {
      ASSIGN_OR_RETURN(const at::Tensor frames, source->source->Read(start, count));
      const int64_t got = frames.defined() ? frames.size(0) : 0;
      if (count > 0 && got != count)
        return Internal("frames ", start, " to ", start + count - 1, " were expected, ", got, " are there");
      return std::tuple(Image{frames}, got);
    });
  }
};
ATELIER_REGISTER_NODE(FrameWindow);

struct FrameBatch {
  Value images;

  static void Describe(NodeSchema<FrameBatch>& s) {
    s.Name("Frame Batch").Category("image/video").Internal();
    s.Description("Windows of frames as one batch again; made by the planner.");
    s.Input<&FrameBatch::images>("images").Type("IMAGE").Tooltip("The windows.");
    DeclareFrames(s, {.role = "sink", .input = "images"});
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext& ctx) const {
    return Guard([&]() -> StatusOr<Image> {
      ASSIGN_OR_RETURN(FrameReader reader, FrameReader::Open("images", images));
      std::vector<at::Tensor> frames;
      for (int64_t i = 0;; ++i) {
        if (ctx.cancelled()) return Cancelled("cancelled");
        ASSIGN_OR_RETURN(const at::Tensor frame, reader.At(i));
        if (!frame.defined()) break;
        const at::Tensor& f = reader.first();
        RETURN_IF_ERROR(CheckTensorSize("batch", {i + 1, f.size(1), f.size(2), f.size(3)}));
        frames.push_back(frame);
      }
      if (frames.empty()) return InvalidArgument("input \"images\": there is no picture");
      return Image{at::cat(frames, 0)};
    });
  }
};
ATELIER_REGISTER_NODE(FrameBatch);

}  // namespace
}  // namespace atelier::nodes
