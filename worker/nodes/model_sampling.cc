// Other parameterisations for a model. Source: spec engine.md 4.6 "Nodes".
#include "worker/sampling/model_sampling.h"

#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

using engine::ModelSampling;
using engine::Prediction;

struct ModelSamplingDiscrete {
  Model model;
  std::string sampling;
  bool zsnr = false;

  static void Describe(NodeSchema<ModelSamplingDiscrete>& s) {
    s.Name("ModelSamplingDiscrete")
        .Category("advanced/model")
        .Cheap()
        .Description("Says what a model of 1000 timesteps predicts.");
    s.Input<&ModelSamplingDiscrete::model>("model").Tooltip("The model.");
    s.Input<&ModelSamplingDiscrete::sampling>("sampling")
        .OneOf({"eps", "v_prediction", "lcm", "x0", "img_to_img"})
        .Tooltip("What its output stands for.");
    s.Input<&ModelSamplingDiscrete::zsnr>("zsnr").Default(false).Tooltip(
        "For models whose last timestep is pure noise.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const {
    return Guard([&] {
      engine::DiscreteOptions options;
      options.zero_terminal_snr = zsnr;
      Model changed = model;
      if (sampling == "lcm") {
        changed.sampling = ModelSampling::Lcm(options);
      } else {
        const Prediction prediction = sampling == "v_prediction" ? Prediction::kV
                                      : sampling == "x0"         ? Prediction::kX0
                                      : sampling == "img_to_img" ? Prediction::kImageToImage
                                                                 : Prediction::kEps;
        changed.sampling = ModelSampling::Discrete(prediction, options);
      }
      return changed;
    });
  }
};
ATELIER_REGISTER_NODE(ModelSamplingDiscrete);

// Errors: INVALID_ARGUMENT unless 0 < low < high.
Status CheckLevels(double low, double high) {
  if (low > 0 && low < high) return OkStatus();
  return InvalidArgument("sigma_min is ", low, " and sigma_max ", high, "; expected 0 < sigma_min < sigma_max");
}

template <typename N>
void DescribeEdmLevels(NodeSchema<N>& s, double high, double low) {
  s.template Input<&N::sigma_max>("sigma_max")
      .Default(high)
      .Range(0.0, 1000.0)
      .Step(0.001)
      .Tooltip("The highest noise level.");
  s.template Input<&N::sigma_min>("sigma_min")
      .Default(low)
      .Range(0.0, 1000.0)
      .Step(0.001)
      .Tooltip("The lowest noise level.");
}

struct ModelSamplingContinuousEDM {
  Model model;
  std::string sampling;
  double sigma_max = 120.0, sigma_min = 0.002;

  static void Describe(NodeSchema<ModelSamplingContinuousEDM>& s) {
    s.Name("ModelSamplingContinuousEDM")
        .Category("advanced/model")
        .Cheap()
        .Description("Says what a model of continuous noise levels predicts.");
    s.Input<&ModelSamplingContinuousEDM::model>("model").Tooltip("The model.");
    s.Input<&ModelSamplingContinuousEDM::sampling>("sampling")
        .OneOf({"v_prediction", "edm", "edm_playground_v2.5", "eps", "cosmos_rflow"})
        .Tooltip("What its output stands for.");
    DescribeEdmLevels(s, 120.0, 0.002);
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckLevels(sigma_min, sigma_max));
    return Guard([&] {
      Model changed = model;
      const bool playground = sampling == "edm_playground_v2.5";
      if (sampling == "cosmos_rflow") {
        changed.sampling = ModelSampling::CosmosFlow(sigma_min, sigma_max);
      } else if (sampling == "edm" || playground) {
        changed.sampling = ModelSampling::ContinuousEdm(Prediction::kEdm, sigma_min, sigma_max, 0.5);
      } else {
        changed.sampling =
            ModelSampling::ContinuousEdm(sampling == "eps" ? Prediction::kEps : Prediction::kV, sigma_min, sigma_max);
      }
      if (playground) {
        changed.latent_format.scale = 0.5;
        changed.latent_format.mean = {-1.6574, 1.886, -1.383, 2.5155};
        changed.latent_format.deviation = {8.4927, 5.9022, 6.5498, 5.2299};
      }
      return changed;
    });
  }
};
ATELIER_REGISTER_NODE(ModelSamplingContinuousEDM);

struct ModelSamplingContinuousV {
  Model model;
  std::string sampling;
  double sigma_max = 500.0, sigma_min = 0.03;

  static void Describe(NodeSchema<ModelSamplingContinuousV>& s) {
    s.Name("ModelSamplingContinuousV")
        .Category("advanced/model")
        .Cheap()
        .Description("For models that predict velocity at continuous angles.");
    s.Input<&ModelSamplingContinuousV::model>("model").Tooltip("The model.");
    s.Input<&ModelSamplingContinuousV::sampling>("sampling")
        .OneOf({"v_prediction"})
        .Tooltip("What its output stands for.");
    DescribeEdmLevels(s, 500.0, 0.03);
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckLevels(sigma_min, sigma_max));
    return Guard([&] {
      Model changed = model;
      changed.sampling = ModelSampling::ContinuousV(Prediction::kV, sigma_min, sigma_max);
      return changed;
    });
  }
};
ATELIER_REGISTER_NODE(ModelSamplingContinuousV);

struct ModelSamplingStableCascade {
  Model model;
  double shift = 2.0;

  static void Describe(NodeSchema<ModelSamplingStableCascade>& s) {
    s.Name("ModelSamplingStableCascade")
        .Category("advanced/model")
        .Cheap()
        .Description("The noise levels of Stable Cascade.");
    s.Input<&ModelSamplingStableCascade::model>("model").Tooltip("The model.");
    s.Input<&ModelSamplingStableCascade::shift>("shift")
        .Default(2.0)
        .Range(0.0, 100.0)
        .Step(0.01)
        .Tooltip("Above 1 for pictures larger than the model was trained on.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const {
    if (shift <= 0) return InvalidArgument("shift is ", shift, ", expected a number above 0");
    return Guard([&] {
      Model changed = model;
      changed.sampling = ModelSampling::StableCascade(shift);
      return changed;
    });
  }
};
ATELIER_REGISTER_NODE(ModelSamplingStableCascade);

}  // namespace
}  // namespace atelier::nodes
