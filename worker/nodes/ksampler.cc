// Samples a latent. Source: spec engine.md 4.9.
#include "worker/nodes/support.h"
#include "worker/sampling/sample.h"
#include "worker/sampling/schedule.h"

namespace atelier::nodes {
namespace {

struct KSampler {
  Model model;
  uint64_t seed = 0;
  int64_t steps = 20;
  double cfg = 8.0;
  std::string sampler_name, scheduler;
  Conditioning positive, negative;
  Latent latent_image;
  double denoise = 1.0;

  static void Describe(NodeSchema<KSampler>& s) {
    s.Name("KSampler").Category("sampling").Description("Removes noise from a latent, guided by two conditionings.");
    s.Input<&KSampler::model>("model").Tooltip("The model.");
    s.Input<&KSampler::seed>("seed").Default(0).Range(0, UINT64_MAX).Seed().Tooltip("Of the noise.");
    s.Input<&KSampler::steps>("steps").Default(20).Range(1, 10000).Tooltip("Number of steps.");
    s.Input<&KSampler::cfg>("cfg")
        .Default(8.0)
        .Range(0.0, 100.0)
        .Step(0.1)
        .Tooltip("How strongly to follow the prompt; 1 ignores the negative one.");
    s.Input<&KSampler::sampler_name>("sampler_name").OneOf(engine::SamplerNames()).Tooltip("The sampler.");
    s.Input<&KSampler::scheduler>("scheduler")
        .OneOf(engine::ScheduleNames())
        .Tooltip("How noise levels are spread over the steps.");
    s.Input<&KSampler::positive>("positive").Tooltip("What to aim at.");
    s.Input<&KSampler::negative>("negative").Tooltip("What to avoid.");
    s.Input<&KSampler::latent_image>("latent_image").Tooltip("The latent to begin with.");
    s.Input<&KSampler::denoise>("denoise").Default(1.0).Range(0.0, 1.0).Step(0.01).Tooltip(
        "Below 1 keeps part of the latent.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext& ctx) const {
    engine::KSamplerSettings settings;
    settings.seed = seed;
    settings.steps = steps;
    settings.cfg = cfg;
    settings.sampler_name = sampler_name;
    settings.scheduler = scheduler;
    settings.denoise = denoise;
    return engine::RunKSampler(model, positive, negative, latent_image, settings, ctx);
  }
};
ATELIER_REGISTER_NODE(KSampler);

struct KSamplerAdvanced {
  Model model;
  std::string add_noise = "enable";
  uint64_t noise_seed = 0;
  int64_t steps = 20;
  double cfg = 8.0;
  std::string sampler_name, scheduler;
  Conditioning positive, negative;
  Latent latent_image;
  int64_t start_at_step = 0, end_at_step = 10000;
  std::string return_with_leftover_noise = "disable";

  static void Describe(NodeSchema<KSamplerAdvanced>& s) {
    s.Name("KSampler (Advanced)").Category("sampling").Description("Runs a part of a sampling schedule.");
    s.Input<&KSamplerAdvanced::model>("model").Tooltip("The model.");
    s.Input<&KSamplerAdvanced::add_noise>("add_noise")
        .OneOf({"enable", "disable"})
        .Tooltip("Whether noise is added first.");
    s.Input<&KSamplerAdvanced::noise_seed>("noise_seed")
        .Default(0)
        .Range(0, UINT64_MAX)
        .Seed()
        .Tooltip("The seed of the noise.");
    s.Input<&KSamplerAdvanced::steps>("steps").Default(20).Range(1, 10000).Tooltip("Number of steps.");
    s.Input<&KSamplerAdvanced::cfg>("cfg")
        .Default(8.0)
        .Range(0.0, 100.0)
        .Step(0.1)
        .Tooltip("How strongly to follow the prompt; 1 ignores the negative one.");
    s.Input<&KSamplerAdvanced::sampler_name>("sampler_name").OneOf(engine::SamplerNames()).Tooltip("The sampler.");
    s.Input<&KSamplerAdvanced::scheduler>("scheduler")
        .OneOf(engine::ScheduleNames())
        .Tooltip("How noise levels are spread over the steps.");
    s.Input<&KSamplerAdvanced::positive>("positive").Tooltip("What to aim at.");
    s.Input<&KSamplerAdvanced::negative>("negative").Tooltip("What to avoid.");
    s.Input<&KSamplerAdvanced::latent_image>("latent_image").Tooltip("The latent to begin with.");
    s.Input<&KSamplerAdvanced::start_at_step>("start_at_step")
        .Default(0)
        .Range(0, 10000)
        .Tooltip("The first step to run.");
    s.Input<&KSamplerAdvanced::end_at_step>("end_at_step")
        .Default(10000)
        .Range(0, 10000)
        .Tooltip("The step to stop before.");
    s.Input<&KSamplerAdvanced::return_with_leftover_noise>("return_with_leftover_noise")
        .OneOf({"disable", "enable"})
        .Tooltip("Whether the rest of the noise stays.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext& ctx) const {
    engine::KSamplerSettings settings;
    settings.seed = noise_seed;
    settings.steps = steps;
    settings.cfg = cfg;
    settings.sampler_name = sampler_name;
    settings.scheduler = scheduler;
    settings.add_noise = add_noise != "disable";
    settings.start_step = start_at_step;
    settings.end_step = end_at_step;
    settings.full_denoise = return_with_leftover_noise != "enable";
    return engine::RunKSampler(model, positive, negative, latent_image, settings, ctx);
  }
};
ATELIER_REGISTER_NODE(KSamplerAdvanced);

}  // namespace
}  // namespace atelier::nodes
