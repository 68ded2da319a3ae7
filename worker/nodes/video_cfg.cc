// Guidance whose strength differs from frame to frame. Source: spec engine.md 12.3, 12.4 (nodes_video_model).
#include "worker/nodes/support.h"
#include "worker/sampling/hooks.h"

namespace atelier::nodes {
namespace {

// `strengths` f32 [B], one a frame.
at::Tensor Guided(const engine::GuidanceCall& call, const at::Tensor& strengths) {
  std::vector<int64_t> shape(static_cast<size_t>(call.x.dim()), 1);
  shape[0] = call.x.size(0);
  return call.negative + strengths.view(shape) * (call.positive - call.negative);
}

struct VideoLinearCFGGuidance {
  Model model;
  double min_cfg = 1.0;

  static void Describe(NodeSchema<VideoLinearCFGGuidance>& s) {
    s.Name("VideoLinearCFGGuidance")
        .Category("sampling/video_models")
        .Cheap()
        .Description("Guidance that grows from the first frame to the last.");
    s.Input<&VideoLinearCFGGuidance::model>("model").Tooltip("The model.");
    s.Input<&VideoLinearCFGGuidance::min_cfg>("min_cfg")
        .Default(1.0)
        .Range(0.0, 100.0)
        .Step(0.5)
        .Tooltip("Strength at the first frame; the sampler's holds at the last.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const {
    return engine::WithGuidance(model, [low = min_cfg](const engine::GuidanceCall& call) {
      return Guided(call, at::linspace(low, call.cfg, call.x.size(0), call.x.options()));
    });
  }
};
ATELIER_REGISTER_NODE(VideoLinearCFGGuidance);

struct VideoTriangleCFGGuidance {
  Model model;
  double min_cfg = 1.0;

  static void Describe(NodeSchema<VideoTriangleCFGGuidance>& s) {
    s.Name("VideoTriangleCFGGuidance")
        .Category("sampling/video_models")
        .Cheap()
        .Description("Guidance that is strongest in the middle of a video.");
    s.Input<&VideoTriangleCFGGuidance::model>("model").Tooltip("The model.");
    s.Input<&VideoTriangleCFGGuidance::min_cfg>("min_cfg")
        .Default(1.0)
        .Range(0.0, 100.0)
        .Step(0.5)
        .Tooltip("Strength at both ends; the sampler's holds in the middle.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const {
    return engine::WithGuidance(model, [low = min_cfg](const engine::GuidanceCall& call) {
      const at::Tensor place = at::linspace(0, 1, call.x.size(0), call.x.options());
      const at::Tensor height = (place - (place + 0.5).floor()).abs() * 2;
      return Guided(call, height * (call.cfg - low) + low);
    });
  }
};
ATELIER_REGISTER_NODE(VideoTriangleCFGGuidance);

}  // namespace
}  // namespace atelier::nodes
