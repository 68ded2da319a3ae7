// Skip layer guidance: away from what a transformer says without some of its blocks. Source: spec engine.md 12.3, 12.4
// (nodes_slg, nodes_sd3).
#include <cctype>
#include <set>

#include "worker/nodes/support.h"
#include "worker/sampling/hooks.h"
#include "worker/sampling/model_sampling.h"

namespace atelier::nodes {
namespace {

using engine::GuidanceCall;

// The numbers in a text; whatever stands between them separates.
std::set<int64_t> Numbers(const std::string& text) {
  std::set<int64_t> numbers;
  for (size_t i = 0; i < text.size();) {
    if (std::isdigit(static_cast<unsigned char>(text[i])) == 0) {
      ++i;
      continue;
    }
    int64_t number = 0;
    for (; i < text.size() && std::isdigit(static_cast<unsigned char>(text[i])) != 0; ++i)
      number = std::min<int64_t>(number * 10 + (text[i] - '0'), 1 << 20);
    numbers.insert(number);
  }
  return numbers;
}

engine::NetworkHooks Without(const GuidanceCall& call, const std::set<int64_t>& double_blocks,
                             const std::set<int64_t>& single_blocks) {
  engine::NetworkHooks hooks = call.network();
  hooks.skip_double.insert(double_blocks.begin(), double_blocks.end());
  hooks.skip_single.insert(single_blocks.begin(), single_blocks.end());
  return hooks;
}

template <typename N>
void DescribeSkipWindow(NodeSchema<N>& s, double from, double to) {
  s.template Input<&N::start_percent>("start_percent")
      .Default(from)
      .Range(0.0, 1.0)
      .Step(0.001)
      .Tooltip("From this part of the run on.");
  s.template Input<&N::end_percent>("end_percent")
      .Default(to)
      .Range(0.0, 1.0)
      .Step(0.001)
      .Tooltip("Up to this part of the run.");
}

template <typename N>
void DescribeSkippedLayers(NodeSchema<N>& s) {
  s.template Input<&N::double_layers>("double_layers")
      .Default("7, 8, 9")
      .Tooltip("Blocks of two streams to leave out.");
  s.template Input<&N::single_layers>("single_layers").Default("7, 8, 9").Tooltip("Blocks of one stream to leave out.");
}

Model Guided(const Model& model, const std::set<int64_t>& double_blocks, const std::set<int64_t>& single_blocks,
             double scale, const engine::SigmaWindow& window, double rescale) {
  if (double_blocks.empty() && single_blocks.empty()) return model;
  return engine::WithPostGuidance(model, [=](const GuidanceCall& call) {
    if (scale <= 0 || !window.Holds(call.sigma)) return call.denoised;
    const at::Tensor skipped = call.Again(*call.positive_list, engine::CondKind::kPositive, call.x,
                                          Without(call, double_blocks, single_blocks));
    at::Tensor result = call.denoised + (call.positive - skipped) * scale;
    if (rescale != 0) {
      const at::Tensor factor = call.positive.std() / result.std() * rescale + (1 - rescale);
      result = result * factor;
    }
    return result;
  });
}

struct SkipLayerGuidanceDiT {
  Model model;
  std::string double_layers = "7, 8, 9", single_layers = "7, 8, 9";
  double scale = 3.0, start_percent = 0.01, end_percent = 0.15, rescaling_scale = 0.0;

  static void Describe(NodeSchema<SkipLayerGuidanceDiT>& s) {
    s.Category("advanced/guidance").Cheap().Description("Guides away from what the model says without some blocks.");
    using N = SkipLayerGuidanceDiT;
    s.Input<&N::model>("model").Tooltip("The model, a transformer.");
    DescribeSkippedLayers(s);
    s.Input<&N::scale>("scale").Default(3.0).Range(0.0, 10.0).Step(0.1).Tooltip("How strongly.");
    DescribeSkipWindow(s, 0.01, 0.15);
    s.Input<&N::rescaling_scale>("rescaling_scale")
        .Default(0.0)
        .Range(0.0, 10.0)
        .Step(0.01)
        .Tooltip("How much the deviation is brought back to the positive prediction's.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const {
    return Guided(model, Numbers(double_layers), Numbers(single_layers), scale,
                  engine::SigmaWindow(*model.sampling, start_percent, end_percent), rescaling_scale);
  }
};
ATELIER_REGISTER_NODE(SkipLayerGuidanceDiT);

struct SkipLayerGuidanceSD3 {
  Model model;
  std::string layers = "7, 8, 9";
  double scale = 3.0, start_percent = 0.01, end_percent = 0.15;

  static void Describe(NodeSchema<SkipLayerGuidanceSD3>& s) {
    s.Category("advanced/guidance").Cheap().Description("Guides away from what SD3 says without some blocks.");
    using N = SkipLayerGuidanceSD3;
    s.Input<&N::model>("model").Tooltip("The model.");
    s.Input<&N::layers>("layers").Default("7, 8, 9").Tooltip("Blocks to leave out.");
    s.Input<&N::scale>("scale").Default(3.0).Range(0.0, 10.0).Step(0.1).Tooltip("How strongly.");
    DescribeSkipWindow(s, 0.01, 0.15);
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const {
    return Guided(model, Numbers(layers), {}, scale, engine::SigmaWindow(*model.sampling, start_percent, end_percent),
                  0);
  }
};
ATELIER_REGISTER_NODE(SkipLayerGuidanceSD3);

struct SkipLayerGuidanceDiTSimple {
  Model model;
  std::string double_layers = "7, 8, 9", single_layers = "7, 8, 9";
  double start_percent = 0.0, end_percent = 1.0;

  static void Describe(NodeSchema<SkipLayerGuidanceDiTSimple>& s) {
    s.Category("advanced/guidance").Cheap().Description("Leaves blocks out of the negative prediction only.");
    using N = SkipLayerGuidanceDiTSimple;
    s.Input<&N::model>("model").Tooltip("The model, a transformer.");
    DescribeSkippedLayers(s);
    DescribeSkipWindow(s, 0.0, 1.0);
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const {
    const std::set<int64_t> double_blocks = Numbers(double_layers), single_blocks = Numbers(single_layers);
    if (double_blocks.empty() && single_blocks.empty()) return model;
    const engine::SigmaWindow window(*model.sampling, start_percent, end_percent);
    return engine::WithPreGuidance(model, [=](GuidanceCall& call) {
      if (!call.has_negative || !window.Holds(call.sigma)) return;
      call.negative = call.Again(*call.negative_list, engine::CondKind::kNegative, call.x,
                                 Without(call, double_blocks, single_blocks));
    });
  }
};
ATELIER_REGISTER_NODE(SkipLayerGuidanceDiTSimple);

}  // namespace
}  // namespace atelier::nodes
