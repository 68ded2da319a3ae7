#include "worker/sampling/sample.h"

#include <cmath>

#include "common/base/log.h"
#include "worker/engine/guard.h"
#include "worker/engine/model_cache.h"
#include "worker/sampling/conditioning.h"
#include "worker/sampling/hooks.h"
#include "worker/sampling/model_sampling.h"
#include "worker/sampling/noise.h"
#include "worker/sampling/preview.h"
#include "worker/sampling/schedule.h"

namespace atelier::engine {
namespace {

// The mask at the latent's resolution, one channel and item for each of the latent's. Masks of a video without a
// dimension for time are one for each of its frames.
at::Tensor PrepareMask(const at::Tensor& mask, const at::Tensor& latent) {
  at::Tensor m = mask.to(at::kFloat);
  if (latent.dim() == 5) {
    if (m.dim() < 5) m = m.reshape({1, 1, -1, m.size(-2), m.size(-1)});
    m = at::upsample_trilinear3d(m.narrow(1, 0, 1), latent.sizes().slice(2), false);
    m = m.repeat({1, latent.size(1), 1, 1, 1});
    const int64_t items = latent.size(0);
    if (m.size(0) != items) m = m.repeat({(items + m.size(0) - 1) / m.size(0), 1, 1, 1, 1}).narrow(0, 0, items);
    return m.to(latent.device());
  }
  m = m.reshape({-1, 1, m.size(-2), m.size(-1)});
  m = at::upsample_bilinear2d(m, {latent.size(-2), latent.size(-1)}, false);
  const int64_t items = latent.size(0);
  if (m.size(0) != items) m = m.repeat({(items + m.size(0) - 1) / m.size(0), 1, 1, 1}).narrow(0, 0, items);
  m = m.repeat({1, latent.size(1), 1, 1});
  return m.to(latent.device());
}

bool IsClose(double a, double b, double relative) {
  return std::fabs(a - b) <= relative * std::max(std::fabs(a), std::fabs(b));
}

// What happens inside Guard(): torch may throw here.
StatusOr<at::Tensor> Run(const SampleRequest& request, NodeContext& ctx, at::Tensor* last_denoised) {
  const ModelSampling& sampling = *request.model.sampling;
  const at::Device device = request.model.network->device();
  const LatentFormat& format = request.model.latent_format;
  const int64_t dims = 2 + format.dims;
  if (request.latent.dim() != dims)
    return InvalidArgument("latent has ", request.latent.dim(), " dimensions, the model takes ", dims);
  if (request.latent.size(1) != format.channels)
    return InvalidArgument("latent has ", request.latent.size(1), " channels, the model takes ", format.channels);
  if (request.noise.sizes() != request.latent.sizes()) return Internal("noise and latent differ in shape");
  std::vector<float> sigmas(request.sigmas.data_ptr<float>(),
                            request.sigmas.data_ptr<float>() + request.sigmas.numel());

  at::Tensor latent = request.latent.to(device, request.noise.scalar_type());
  const at::Tensor noise = request.noise.to(device);
  if (latent.count_nonzero().item<int64_t>() > 0) latent = format.ProcessIn(latent);

  at::Tensor mask, keep, mask_noise;
  if (request.noise_mask.defined()) {
    mask = PrepareMask(request.noise_mask, latent);
    keep = 1.0 - mask;
    mask_noise = noise;
    if (const uint64_t offset = request.sampler.traits.mask_noise_seed_offset; offset != 0) {
      at::Generator generator = MakeGenerator(at::kCPU, request.seed + offset);
      mask_noise = Randn(noise.sizes(), generator, at::kCPU).to(device);
    }
  }

  std::vector<CondList> lists(2 + request.others.size());
  CondRun cond_run{latent.to(at::kFloat), noise.to(at::kFloat), mask, CondKind::kPositive, format};
  const HookRun hook_run{
      request.model, request.seed, request.noise, sigmas,
      [&](const Conditioning& conditioning, CondKind kind) -> StatusOr<std::shared_ptr<const CondList>> {
        CondRun other = cond_run;
        other.kind = kind;
        ASSIGN_OR_RETURN(CondList list, PrepareConds(conditioning, request.model, other));
        return std::make_shared<const CondList>(std::move(list));
      }};
  ASSIGN_OR_RETURN(const Model model, WithHooks(request.model, hook_run));
  const bool use_negative = request.guide || request.sampler.traits.needs_negative || NeedsNegative(model, request.cfg);
  ASSIGN_OR_RETURN(lists[0], PrepareConds(request.positive, model, cond_run));
  cond_run.kind = CondKind::kNegative;
  ASSIGN_OR_RETURN(lists[1], PrepareConds(request.negative, model, cond_run));
  cond_run.kind = CondKind::kOther;
  for (size_t i = 0; i < request.others.size(); ++i) {
    ASSIGN_OR_RETURN(lists[2 + i], PrepareConds(request.others[i], model, cond_run));
  }
  MatchAreas(lists);
  RETURN_IF_ERROR(PrepareControls(lists, model));

  at::Tensor negative;
  const RunHooks::Step guided_step = [&](const at::Tensor& x, double sigma) {
    std::vector<const CondList*> wanted;
    for (const CondList& list : lists) wanted.push_back(&list);
    if (!use_negative) wanted[1] = nullptr;
    const std::vector<at::Tensor> parts = EvaluateConds(model, wanted, x, sigma);
    auto guide = [&](const at::Tensor& toward, const at::Tensor& from, double scale) {
      GuidanceCall call{model, x, sigma, scale, toward, from, use_negative, {}, &lists[0], &lists[1]};
      ApplyGuidance(call);
      negative = call.negative;
      return call.denoised;
    };
    if (!request.guide) return guide(parts[0], parts[1], request.cfg);
    Prediction0 mixed = request.guide(x, parts, guide);
    negative = mixed.negative;
    return mixed.denoised;
  };
  auto guided = [&](const at::Tensor& x, double sigma) {
    const at::Tensor denoised = RunStep(model, x, sigma, guided_step);
    return Prediction0{denoised, negative};
  };
  auto denoise = [&](const at::Tensor& x, double sigma) -> StatusOr<Prediction0> {
    if (ctx.cancelled()) return Cancelled("cancelled");
    if (!mask.defined()) return guided(x, sigma);
    const at::Tensor level = at::scalar_tensor(sigma, x.options());
    const at::Tensor kept =
        request.model.masked_is_clean ? latent : sampling.NoiseScaling(level, mask_noise, latent, false);
    at::Tensor open = mask, closed = keep;
    if (model.running != nullptr && model.running->mask) {
      open = model.running->mask(mask, sigma);
      closed = 1.0 - open;
    }
    Prediction0 prediction = guided(x * open + kept * closed, sigma);
    prediction.denoised = prediction.denoised * open + latent * closed;
    return prediction;
  };
  at::Tensor last;
  auto report = [&](int64_t step, int64_t steps, const at::Tensor&, const at::Tensor& denoised) {
    last = denoised;
    return ctx.Step(step + 1, steps, [&] { return PreviewJpeg(denoised, format.colors); });
  };

  const float first = sigmas.front();
  const bool max_denoise = IsClose(sampling.sigma_max(), first, 1e-5) || first > sampling.sigma_max();
  at::Tensor x = sampling.NoiseScaling(at::scalar_tensor(first, latent.options()), noise, latent, max_denoise);
  float end = sigmas.back();
  if (sigmas.size() > 1) {
    SampleRun run(x, sigmas, sampling, request.seed, denoise, report);
    ASSIGN_OR_RETURN(x, request.sampler.sample(run));
    end = run.sigmas.back();
  }
  x = sampling.InverseNoiseScaling(end, x);
  auto leave = [&format](const at::Tensor& t) { return format.ProcessOut(t.to(at::kFloat)).to(at::kCPU).contiguous(); };
  const at::Tensor result = leave(x);
  if (last_denoised != nullptr) *last_denoised = last.defined() ? leave(last) : result;
  return result;
}

}  // namespace

StatusOr<at::Tensor> SampleLatent(const SampleRequest& request, NodeContext& ctx, at::Tensor* denoised) {
  if (request.model.network == nullptr || request.model.sampling == nullptr)
    return Internal("model without network or sampling");
  if (request.sigmas.numel() == 0) {
    if (denoised != nullptr) *denoised = request.latent;
    return request.latent;
  }
  StatusOr<at::Tensor> result = Guard([&] { return Run(request, ctx, denoised); });
  // Models of earlier nodes may have taken what it needs; all noise is drawn anew from the seed.
  if (!result.ok() && result.status().code() == StatusCode::kResourceExhausted &&
      TheEngine().residency()->UnloadAll() > 1) {
    LogWarning("memory ran out while sampling, it is begun again without the other models: ", Message(result.status()));
    result = Guard([&] { return Run(request, ctx, denoised); });
  }
  return result;
}

at::Tensor FixEmptyLatent(const Model& model, const at::Tensor& latent) {
  at::Tensor fixed = latent;
  const int64_t channels = model.latent_format.channels;
  if (fixed.size(1) != channels && fixed.count_nonzero().item<int64_t>() == 0) {
    std::vector<int64_t> shape = fixed.sizes().vec();
    shape[1] = channels;
    fixed = at::zeros(shape, fixed.options());
  }
  if (model.latent_format.dims == 3 && fixed.dim() == 4) fixed = fixed.unsqueeze(2);
  return fixed;
}

StatusOr<at::Tensor> RunSigmas(const ModelSampling& sampling, const SamplerTraits& traits, const std::string& scheduler,
                               int64_t steps, double denoise) {
  auto levels = [&](int64_t n) -> StatusOr<at::Tensor> {
    ASSIGN_OR_RETURN(at::Tensor sigmas, ScheduleSigmas(sampling, scheduler, traits.discard_penultimate ? n + 1 : n));
    if (traits.discard_penultimate && sigmas.numel() >= 2)
      sigmas = at::cat({sigmas.slice(0, 0, -2), sigmas.slice(0, -1)});
    return sigmas;
  };
  return Guard([&]() -> StatusOr<at::Tensor> {
    if (denoise > 0.9999) return levels(steps);
    if (!(denoise > 0)) return at::empty({0}, at::kFloat);
    const double total = static_cast<double>(steps) / denoise;
    if (total > 1e6)
      return InvalidArgument("denoise is ", denoise, ", too small for ", steps, " steps; use 0 or a larger value");
    ASSIGN_OR_RETURN(const at::Tensor sigmas, levels(static_cast<int64_t>(total)));
    return sigmas.slice(0, std::max<int64_t>(0, sigmas.numel() - steps - 1)).contiguous();
  });
}

StatusOr<Latent> RunKSampler(const Model& model, const Conditioning& positive, const Conditioning& negative,
                             const Latent& latent, const KSamplerSettings& settings, NodeContext& ctx) {
  if (!latent.samples.defined() || latent.samples.dim() < 4) return InvalidArgument("latent_image holds no samples");
  if (model.network == nullptr || model.sampling == nullptr) return Internal("model without network or sampling");
  SampleRequest request;
  request.model = model;
  request.positive = positive;
  request.negative = negative;
  request.cfg = settings.cfg;
  request.sampler = FindSampler(settings.sampler_name);
  request.seed = settings.seed;
  request.noise_mask = latent.noise_mask;

  ASSIGN_OR_RETURN(at::Tensor sigmas, RunSigmas(*model.sampling, request.sampler.traits, settings.scheduler,
                                                settings.steps, settings.denoise));
  Latent result = latent;
  Status prepared = Guard([&]() -> Status {
    request.latent = FixEmptyLatent(model, latent.samples);
    result.samples = request.latent;
    if (settings.end_step && *settings.end_step < sigmas.numel() - 1) {
      sigmas = sigmas.slice(0, 0, *settings.end_step + 1).clone();
      if (settings.full_denoise) sigmas[-1] = 0;
    }
    if (settings.start_step) {
      if (*settings.start_step < sigmas.numel() - 1) {
        sigmas = sigmas.slice(0, settings.start_step);
      } else {
        sigmas = sigmas.slice(0, 0, 0);
      }
    }
    request.sigmas = sigmas.contiguous();
    if (!settings.add_noise) {
      request.noise = at::zeros(request.latent.sizes(), at::kFloat);
      return OkStatus();
    }
    ASSIGN_OR_RETURN(request.noise, PrepareNoise(request.latent.sizes(), settings.seed, latent.batch_index));
    return OkStatus();
  });
  RETURN_IF_ERROR(prepared);
  ASSIGN_OR_RETURN(result.samples, SampleLatent(request, ctx));
  return result;
}

}  // namespace atelier::engine
