// Shift the noise levels of flow models. Source: spec engine.md 4.6.
#include "worker/nodes/support.h"
#include "worker/sampling/model_sampling.h"

namespace atelier::nodes {
namespace {

using engine::ModelSampling;

StatusOr<Model> With(const Model& model, const std::function<std::shared_ptr<const ModelSampling>()>& make) {
  return Guard([&]() -> StatusOr<Model> {
    Model changed = model;
    changed.sampling = make();
    return changed;
  });
}

struct ModelSamplingSD3 {
  Model model;
  double shift = 3.0;

  static void Describe(NodeSchema<ModelSamplingSD3>& s) {
    s.Name("ModelSamplingSD3").Category("advanced/model").Cheap();
    s.Description("Shifts the noise levels of a flow model whose timesteps are levels times 1000 (SD3, Wan).");
    s.Input<&ModelSamplingSD3::model>("model").Tooltip("The model to change.");
    s.Input<&ModelSamplingSD3::shift>("shift")
        .Default(3.0)
        .Range(0.0, 100.0)
        .Step(0.01)
        .Tooltip("Above 1 spends more steps on high noise, as large pictures need.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const {
    return With(model, [this] { return ModelSampling::DiscreteFlow(shift); });
  }
};
ATELIER_REGISTER_NODE(ModelSamplingSD3);

struct ModelSamplingAuraFlow {
  Model model;
  double shift = 1.73;

  static void Describe(NodeSchema<ModelSamplingAuraFlow>& s) {
    s.Name("ModelSamplingAuraFlow").Category("advanced/model").Cheap();
    s.Description("Shifts the noise levels of a flow model whose timesteps are the levels (AuraFlow, Lumina, Qwen).");
    s.Input<&ModelSamplingAuraFlow::model>("model").Tooltip("The model to change.");
    s.Input<&ModelSamplingAuraFlow::shift>("shift")
        .Default(1.73)
        .Range(0.0, 100.0)
        .Step(0.01)
        .Tooltip("Above 1 spends more steps on high noise.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const {
    return With(model, [this] { return ModelSampling::DiscreteFlow(shift, 1.0); });
  }
};
ATELIER_REGISTER_NODE(ModelSamplingAuraFlow);

struct ModelSamplingFlux {
  Model model;
  double max_shift = 1.15, base_shift = 0.5;
  int64_t width = 1024, height = 1024;

  static void Describe(NodeSchema<ModelSamplingFlux>& s) {
    using N = ModelSamplingFlux;
    s.Name("ModelSamplingFlux").Category("advanced/model").Cheap();
    s.Description("Shifts FLUX's noise levels by the size of the picture.");
    s.Input<&N::model>("model").Tooltip("The model to change.");
    s.Input<&N::max_shift>("max_shift").Default(1.15).Range(0.0, 100.0).Step(0.01).Tooltip("At 1024 x 1024 pixels.");
    s.Input<&N::base_shift>("base_shift").Default(0.5).Range(0.0, 100.0).Step(0.01).Tooltip("At 256 x 256 pixels.");
    s.Input<&N::width>("width").Default(1024).Range(16, 16384).Step(8).Tooltip("Pixels.");
    s.Input<&N::height>("height").Default(1024).Range(16, 16384).Step(8).Tooltip("Pixels.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const {
    constexpr double kFew = 256, kMany = 4096;  // image tokens: 16 x 16 pixels each
    const double slope = (max_shift - base_shift) / (kMany - kFew);
    const double tokens = static_cast<double>(width) * static_cast<double>(height) / 256.0;
    const double mu = tokens * slope + (base_shift - slope * kFew);
    return With(model, [mu] { return ModelSampling::Flux(mu); });
  }
};
ATELIER_REGISTER_NODE(ModelSamplingFlux);

}  // namespace
}  // namespace atelier::nodes
