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
    s.Input<&SamplerCustom::model>("model");
    s.Input<&SamplerCustom::add_noise>("add_noise").Default(true).Tooltip("Off: the latent is noisy already.");
    s.Input<&SamplerCustom::noise_seed>("noise_seed").Default(0).Range(0, UINT64_MAX).Seed();
    s.Input<&SamplerCustom::cfg>("cfg").Default(8.0).Range(0.0, 100.0).Step(0.1);
    s.Input<&SamplerCustom::positive>("positive");
    s.Input<&SamplerCustom::negative>("negative");
    s.Input<&SamplerCustom::sampler>("sampler");
    s.Input<&SamplerCustom::sigmas>("sigmas");
    s.Input<&SamplerCustom::latent_image>("latent_image");
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
    s.Input<&SamplerCustomAdvanced::noise>("noise");
    s.Input<&SamplerCustomAdvanced::guider>("guider");
    s.Input<&SamplerCustomAdvanced::sampler>("sampler");
    s.Input<&SamplerCustomAdvanced::sigmas>("sigmas");
    s.Input<&SamplerCustomAdvanced::latent_image>("latent_image");
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
