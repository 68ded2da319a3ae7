// Noise levels by the size of what is sampled, as LTX-Video has them. Source: spec engine.md 4.6, 9.6;
// Lightricks/LTX-Video (Apache-2.0).
#include <cmath>

#include "worker/nodes/support.h"
#include "worker/sampling/model_sampling.h"

namespace atelier::nodes {
namespace {

using engine::Sigmas;

// Linear in the number of latent pixels (of all frames), from `base` at 1024 to `most` at 4096, which stand in for
// none.
StatusOr<double> ShiftOfSize(const std::optional<Latent>& latent, double base, double most) {
  constexpr double kFew = 1024, kMany = 4096;
  double tokens = kMany;
  if (latent) {
    RETURN_IF_ERROR(CheckSamples("latent", *latent));
    tokens = 1;
    for (int64_t side = 2; side < latent->samples.dim(); ++side)
      tokens *= static_cast<double>(latent->samples.size(side));
  }
  const double slope = (most - base) / (kMany - kFew);
  return tokens * slope + (base - slope * kFew);
}

struct ModelSamplingLTXV {
  Model model;
  double max_shift = 2.05, base_shift = 0.95;
  std::optional<Latent> latent;

  static void Describe(NodeSchema<ModelSamplingLTXV>& s) {
    using N = ModelSamplingLTXV;
    s.Name("ModelSamplingLTXV").Category("advanced/model").Cheap();
    s.Description("Shifts the noise levels of a flow model by the size of the video.");
    s.Input<&N::model>("model").Tooltip("The model to change.");
    s.Input<&N::max_shift>("max_shift").Default(2.05).Range(0.0, 100.0).Step(0.01).Tooltip("At 4096 latent pixels.");
    s.Input<&N::base_shift>("base_shift").Default(0.95).Range(0.0, 100.0).Step(0.01).Tooltip("At 1024 latent pixels.");
    s.Input<&N::latent>("latent").Tooltip("What will be sampled; without it, 4096 latent pixels are taken.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const {
    ASSIGN_OR_RETURN(const double mu, ShiftOfSize(latent, base_shift, max_shift));
    return Guard([&]() -> StatusOr<Model> {
      Model changed = model;
      changed.sampling = engine::ModelSampling::Flux(mu);
      return changed;
    });
  }
};
ATELIER_REGISTER_NODE(ModelSamplingLTXV);

struct LTXVScheduler {
  int64_t steps = 20;
  double max_shift = 2.05, base_shift = 0.95, terminal = 0.1;
  bool stretch = true;
  std::optional<Latent> latent;

  static void Describe(NodeSchema<LTXVScheduler>& s) {
    using N = LTXVScheduler;
    s.Name("LTXVScheduler").Category("sampling/custom_sampling/schedulers").Cheap();
    s.Description("The noise levels of LTX-Video, which depend on the size of what is sampled.");
    s.Input<&N::steps>("steps").Default(20).Range(1, 10000).Tooltip("How many steps.");
    s.Input<&N::max_shift>("max_shift").Default(2.05).Range(0.0, 100.0).Step(0.01).Tooltip("At 4096 latent pixels.");
    s.Input<&N::base_shift>("base_shift").Default(0.95).Range(0.0, 100.0).Step(0.01).Tooltip("At 1024 latent pixels.");
    s.Input<&N::stretch>("stretch").Default(true).Tooltip("Draw the levels out to reach from 1 to terminal.");
    s.Input<&N::terminal>("terminal").Default(0.1).Range(0.0, 0.99).Step(0.01).Tooltip("The last level above 0.");
    s.Input<&N::latent>("latent").Tooltip("What will be sampled; without it, 4096 latent pixels are taken.");
    s.Output<Sigmas>("SIGMAS");
  }
  StatusOr<Sigmas> Run(NodeContext&) const {
    if (steps < 1 || steps > 10000) return InvalidArgument("steps is ", steps, ", expected 1..10000");
    ASSIGN_OR_RETURN(const double shift, ShiftOfSize(latent, base_shift, max_shift));
    return Guard([&] {
      const double e = std::exp(shift);
      at::Tensor sigmas = at::linspace(1.0, 0.0, steps + 1, at::kFloat);
      at::Tensor above = sigmas.narrow(0, 0, steps);
      above.copy_(e / (e + (1 / above - 1)));
      if (const at::Tensor noiseless = 1.0 - above; stretch && noiseless[-1].item<float>() != 0)
        above.copy_(1.0 - noiseless / (noiseless[-1] / (1.0 - terminal)));
      return Sigmas{sigmas};
    });
  }
};
ATELIER_REGISTER_NODE(LTXVScheduler);

}  // namespace
}  // namespace atelier::nodes
