// Takes noise levels apart and changes them. Source: spec engine.md 4.12.
#include <algorithm>
#include <cmath>

#include "worker/nodes/support.h"
#include "worker/sampling/model_sampling.h"

namespace atelier::nodes {
namespace {

using engine::Sigmas;

constexpr const char* kSigmasCategory = "sampling/custom_sampling/sigmas";

Status CheckSigmas(const Sigmas& sigmas) {
  if (!sigmas.values.defined() || sigmas.values.dim() != 1)
    return InvalidArgument("sigmas are no list of numbers; connect a scheduler");
  return OkStatus();
}

// Python's sigmas[from:to] with both ends inside the list.
Sigmas Slice(const Sigmas& sigmas, int64_t from, int64_t to) {
  const int64_t size = sigmas.values.size(0);
  from = std::clamp<int64_t>(from, 0, size);
  to = std::clamp<int64_t>(to, from, size);
  return {sigmas.values.slice(0, from, to).clone()};
}

struct SplitSigmas {
  Sigmas sigmas;
  int64_t step = 0;

  static void Describe(NodeSchema<SplitSigmas>& s) {
    s.Name("SplitSigmas").Category(kSigmasCategory).Description("Splits noise levels after a number of steps.");
    s.Input<&SplitSigmas::sigmas>("sigmas").Tooltip("The noise levels.");
    s.Input<&SplitSigmas::step>("step").Default(0).Range(0, 10000).Tooltip("Steps of the first part.");
    s.Output<Sigmas>("high_sigmas");
    s.Output<Sigmas>("low_sigmas");
  }
  StatusOr<std::tuple<Sigmas, Sigmas>> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSigmas(sigmas));
    const int64_t size = sigmas.values.size(0);
    return Guard([&] { return std::make_tuple(Slice(sigmas, 0, step + 1), Slice(sigmas, step, size)); });
  }
};
ATELIER_REGISTER_NODE(SplitSigmas);

struct SplitSigmasDenoise {
  Sigmas sigmas;
  double denoise = 1.0;

  static void Describe(NodeSchema<SplitSigmasDenoise>& s) {
    s.Name("SplitSigmasDenoise")
        .Category(kSigmasCategory)
        .Description("Splits noise levels so that a share of the steps is last.");
    s.Input<&SplitSigmasDenoise::sigmas>("sigmas").Tooltip("The noise levels.");
    s.Input<&SplitSigmasDenoise::denoise>("denoise").Default(1.0).Range(0.0, 1.0).Step(0.01).Tooltip(
        "Share of the steps that is kept, counted from the end.");
    s.Output<Sigmas>("high_sigmas");
    s.Output<Sigmas>("low_sigmas");
  }
  StatusOr<std::tuple<Sigmas, Sigmas>> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSigmas(sigmas));
    const int64_t size = sigmas.values.size(0), steps = std::max<int64_t>(size - 1, 0);
    const int64_t low = RoundHalfEven(static_cast<double>(steps) * denoise);
    // No steps below: Python's [:-0] is empty.
    const int64_t high_end = low == 0 ? 0 : size - low;
    return Guard([&] { return std::make_tuple(Slice(sigmas, 0, high_end), Slice(sigmas, size - low - 1, size)); });
  }
};
ATELIER_REGISTER_NODE(SplitSigmasDenoise);

struct FlipSigmas {
  Sigmas sigmas;

  static void Describe(NodeSchema<FlipSigmas>& s) {
    s.Name("FlipSigmas").Category(kSigmasCategory).Description("Turns noise levels around, to add noise step by step.");
    s.Input<&FlipSigmas::sigmas>("sigmas").Tooltip("The noise levels.");
    s.Output<Sigmas>("SIGMAS");
  }
  StatusOr<Sigmas> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSigmas(sigmas));
    return Guard([&] {
      Sigmas flipped{sigmas.values.flip(0).contiguous()};
      if (flipped.values.size(0) > 0 && flipped.values[0].item<float>() == 0) flipped.values[0] = 0.0001;
      return flipped;
    });
  }
};
ATELIER_REGISTER_NODE(FlipSigmas);

struct SetFirstSigma {
  Sigmas sigmas;
  double sigma = 136.0;

  static void Describe(NodeSchema<SetFirstSigma>& s) {
    s.Name("SetFirstSigma").Category(kSigmasCategory).Description("Replaces the first noise level.");
    s.Input<&SetFirstSigma::sigmas>("sigmas").Tooltip("The noise levels.");
    s.Input<&SetFirstSigma::sigma>("sigma").Default(136.0).Range(0.0, 20000.0).Step(0.001).Tooltip("The new level.");
    s.Output<Sigmas>("SIGMAS");
  }
  StatusOr<Sigmas> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSigmas(sigmas));
    if (sigmas.values.size(0) == 0) return InvalidArgument("sigmas are empty, there is no first one to set");
    return Guard([&] {
      Sigmas changed{sigmas.values.clone()};
      changed.values[0] = sigma;
      return changed;
    });
  }
};
ATELIER_REGISTER_NODE(SetFirstSigma);

struct ExtendIntermediateSigmas {
  Sigmas sigmas;
  int64_t steps = 2;
  double start_at_sigma = -1.0, end_at_sigma = 12.0;
  std::string spacing = "linear";

  static void Describe(NodeSchema<ExtendIntermediateSigmas>& s) {
    using N = ExtendIntermediateSigmas;
    s.Name("ExtendIntermediateSigmas")
        .Category(kSigmasCategory)
        .Description("Puts more noise levels between the given ones.");
    s.Input<&N::sigmas>("sigmas").Tooltip("The noise levels.");
    s.Input<&N::steps>("steps").Default(2).Range(1, 100).Tooltip("How many steps are made of each.");
    s.Input<&N::start_at_sigma>("start_at_sigma")
        .Default(-1.0)
        .Range(-1.0, 20000.0)
        .Step(0.01)
        .Tooltip("Only levels up to this one; -1: all.");
    s.Input<&N::end_at_sigma>("end_at_sigma")
        .Default(12.0)
        .Range(0.0, 20000.0)
        .Step(0.01)
        .Tooltip("Only levels down to this one.");
    s.Input<&N::spacing>("spacing")
        .OneOf({"linear", "cosine", "sine"})
        .Tooltip("How the new levels lie between the old.");
    s.Output<Sigmas>("SIGMAS");
  }
  StatusOr<Sigmas> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSigmas(sigmas));
    if (steps < 1) return InvalidArgument("steps is ", steps, ", expected 1 or more");
    RETURN_IF_ERROR(CheckTensorSize("sigmas", {sigmas.values.size(0), steps}));
    return Guard([&] {
      const double start = start_at_sigma < 0 ? INFINITY : start_at_sigma;
      const at::Tensor levels = sigmas.values.to(at::kCPU, at::kFloat).contiguous();
      const float* s = levels.const_data_ptr<float>();
      std::vector<float> extended;
      for (int64_t i = 0; i < levels.size(0); ++i) {
        extended.push_back(s[i]);
        if (i + 1 == levels.size(0) || s[i] > start || s[i] < end_at_sigma) continue;
        for (int64_t k = 1; k < steps; ++k) {
          const double x = static_cast<double>(k) / static_cast<double>(steps), angle = x * M_PI / 2;
          const double share = spacing == "linear" ? x : spacing == "cosine" ? std::sin(angle) : 1 - std::cos(angle);
          extended.push_back(static_cast<float>(s[i] + share * (static_cast<double>(s[i + 1]) - s[i])));
        }
      }
      return Sigmas{at::tensor(extended, at::kFloat)};
    });
  }
};
ATELIER_REGISTER_NODE(ExtendIntermediateSigmas);

struct SamplingPercentToSigma {
  Model model;
  double sampling_percent = 0.0;
  bool return_actual_sigma = false;

  static void Describe(NodeSchema<SamplingPercentToSigma>& s) {
    using N = SamplingPercentToSigma;
    s.Name("SamplingPercentToSigma")
        .Category(kSigmasCategory)
        .Description("The noise level after a share of a full run.");
    s.Input<&N::model>("model").Tooltip("The model to sample with.");
    s.Input<&N::sampling_percent>("sampling_percent")
        .Default(0.0)
        .Range(0.0, 1.0)
        .Step(0.0001)
        .Tooltip("Share of a full run.");
    s.Input<&N::return_actual_sigma>("return_actual_sigma")
        .Default(false)
        .Tooltip("At 0 and 1 the model's own limits, not the values that stand for always and never.");
    s.Output<double>("sigma_value");
  }
  StatusOr<double> Run(NodeContext&) const {
    if (model.sampling == nullptr) return Internal("model without sampling");
    return Guard([&]() -> StatusOr<double> {
      if (return_actual_sigma && sampling_percent == 0) return model.sampling->sigma_max();
      if (return_actual_sigma && sampling_percent == 1) return model.sampling->sigma_min();
      return model.sampling->PercentToSigma(sampling_percent);
    });
  }
};
ATELIER_REGISTER_NODE(SamplingPercentToSigma);

}  // namespace
}  // namespace atelier::nodes
