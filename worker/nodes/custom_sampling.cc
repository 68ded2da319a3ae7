// Sampling from parts: noise, guider, sampler and noise levels. Source: spec engine.md 4.12.
#include "worker/nodes/support.h"
#include "worker/sampling/guider.h"

namespace atelier::nodes {
namespace {

using engine::Guider;
using engine::NoiseSource;
using engine::SamplerType;
using engine::Sigmas;

struct SamplerCustom {
  Model model;
  bool add_noise = true;
  uint64_t noise_seed = 0;
  double cfg = 8.0;
  Conditioning positive, negative;
  SamplerType sampler;
  Sigmas sigmas;
  Latent latent_image;

  static void Describe(NodeSchema<SamplerCustom>& s) {
    s.Name("SamplerCustom")
        .Category("sampling/custom_sampling")
        .Description("Samples a latent with a sampler and noise levels of one's own.");
    s.Input<&SamplerCustom::model>("model").Tooltip("The model to sample with.");
    s.Input<&SamplerCustom::add_noise>("add_noise").Default(true).Tooltip("Off: the latent is noisy already.");
    s.Input<&SamplerCustom::noise_seed>("noise_seed")
        .Default(0)
        .Range(0, UINT64_MAX)
        .Seed()
        .Tooltip("Seed of the noise.");
    s.Input<&SamplerCustom::cfg>("cfg")
        .Default(8.0)
        .Range(0.0, 100.0)
        .Step(0.1)
        .Tooltip("How strongly to follow the positive conditioning; 1 ignores the negative one.");
    s.Input<&SamplerCustom::positive>("positive").Tooltip("What the result should show.");
    s.Input<&SamplerCustom::negative>("negative").Tooltip("What the result should avoid.");
    s.Input<&SamplerCustom::sampler>("sampler").Tooltip("How the run walks down the noise levels.");
    s.Input<&SamplerCustom::sigmas>("sigmas").Tooltip("The noise levels.");
    s.Input<&SamplerCustom::latent_image>("latent_image").Tooltip("The latent to start from.");
    s.Output<Latent>("output");
    s.Output<Latent>("denoised_output");
  }
  StatusOr<std::tuple<Latent, Latent>> Run(NodeContext& ctx) const {
    Guider guider;
    guider.model = model;
    guider.positive = positive;
    guider.negative = negative;
    guider.cfg = cfg;
    const NoiseSource noise{add_noise ? std::optional(noise_seed) : std::nullopt};
    ASSIGN_OR_RETURN(engine::CustomRun run,
                     engine::RunCustom(guider, noise, sampler, sigmas.values, latent_image, noise_seed, ctx));
    return std::make_tuple(std::move(run.output), std::move(run.denoised));
  }
};
ATELIER_REGISTER_NODE(SamplerCustom);

struct SamplerCustomAdvanced {
  NoiseSource noise;
  Guider guider;
  SamplerType sampler;
  Sigmas sigmas;
  Latent latent_image;

  static void Describe(NodeSchema<SamplerCustomAdvanced>& s) {
    s.Name("SamplerCustomAdvanced")
        .Category("sampling/custom_sampling")
        .Description("Samples a latent with noise, guider, sampler and noise levels of one's own.");
    s.Input<&SamplerCustomAdvanced::noise>("noise").Tooltip("The noise that is added to the latent.");
    s.Input<&SamplerCustomAdvanced::guider>("guider").Tooltip("The model and the conditionings that lead it.");
    s.Input<&SamplerCustomAdvanced::sampler>("sampler").Tooltip("How the run walks down the noise levels.");
    s.Input<&SamplerCustomAdvanced::sigmas>("sigmas").Tooltip("The noise levels.");
    s.Input<&SamplerCustomAdvanced::latent_image>("latent_image").Tooltip("The latent to start from.");
    s.Output<Latent>("output");
    s.Output<Latent>("denoised_output");
  }
  StatusOr<std::tuple<Latent, Latent>> Run(NodeContext& ctx) const {
    ASSIGN_OR_RETURN(engine::CustomRun run, engine::RunCustom(guider, noise, sampler, sigmas.values, latent_image,
                                                              noise.seed.value_or(0), ctx));
    return std::make_tuple(std::move(run.output), std::move(run.denoised));
  }
};
ATELIER_REGISTER_NODE(SamplerCustomAdvanced);

}  // namespace
}  // namespace atelier::nodes
