#include "worker/sampling/guider.h"

#include "worker/engine/guard.h"
#include "worker/sampling/noise.h"
#include "worker/sampling/sample.h"

namespace atelier::engine {

StatusOr<at::Tensor> GenerateNoise(const NoiseSource& source, const Latent& latent) {
  return Guard([&]() -> StatusOr<at::Tensor> {
    if (!source.seed) return at::zeros(latent.samples.sizes(), at::kFloat);
    return PrepareNoise(latent.samples.sizes(), *source.seed, latent.batch_index);
  });
}

StatusOr<CustomRun> RunCustom(const Guider& guider, const NoiseSource& noise, const SamplerType& sampler,
                              const at::Tensor& sigmas, const Latent& latent, uint64_t seed, NodeContext& ctx) {
  if (!latent.samples.defined() || latent.samples.dim() < 4) return InvalidArgument("latent_image holds no samples");
  if (guider.model.network == nullptr) return Internal("guider without a model");
  if (!sampler.sample) return Internal("sampler without a function");
  if (!sigmas.defined() || sigmas.dim() != 1)
    return InvalidArgument("sigmas are no list of numbers; connect a scheduler");
  Latent start = latent;
  RETURN_IF_ERROR(Guard([&]() -> Status {
    start.samples = FixEmptyLatent(guider.model, latent.samples);
    return OkStatus();
  }));
  SampleRequest request;
  request.model = guider.model;
  request.positive = guider.positive;
  request.negative = guider.negative;
  request.others = guider.others;
  request.guide = guider.guide;
  request.cfg = guider.cfg;
  request.sampler = sampler;
  request.sigmas = sigmas.to(at::kFloat).contiguous();
  request.latent = start.samples;
  request.noise_mask = latent.noise_mask;
  request.seed = seed;
  ASSIGN_OR_RETURN(request.noise, GenerateNoise(noise, start));
  CustomRun run{start, start};
  ASSIGN_OR_RETURN(run.output.samples, SampleLatent(request, ctx, &run.denoised.samples));
  return run;
}

}  // namespace atelier::engine
