// RES4LYF's sampler node, for the solvers that the plain sampler names have. Source: spec res4lyf.md 8.
#include <algorithm>
#include <cmath>

#include "worker/nodes/support.h"
#include "worker/sampling/model_sampling.h"
#include "worker/sampling/noise.h"
#include "worker/sampling/sample.h"
#include "worker/sampling/samplers/res4lyf.h"
#include "worker/sampling/schedule.h"

namespace atelier::nodes {
namespace {

// What the node's third output stands for: nothing beyond the defaults.
struct ClownsharkOptions {};

}  // namespace
}  // namespace atelier::nodes

namespace atelier {
template <>
struct SocketTraits<nodes::ClownsharkOptions> {
  static constexpr std::string_view kName = "OPTIONS";
};
}  // namespace atelier

namespace atelier::nodes {
namespace {

using engine::Sigmas;

struct ClownsharKSampler_Beta {
  std::optional<Model> model;
  std::optional<Conditioning> positive, negative;
  std::optional<Latent> latent_image;
  std::optional<Sigmas> sigmas;
  std::optional<Value> guides, options;
  double eta = 0.5;
  std::string sampler_name = "multistep/res_2m", scheduler = "beta57";
  int64_t steps = 30, steps_to_run = -1;
  double denoise = 1.0, cfg = 5.5;
  uint64_t seed = 0;
  std::string sampler_mode = "standard";
  bool bongmath = true;

  static void Describe(NodeSchema<ClownsharKSampler_Beta>& s) {
    using N = ClownsharKSampler_Beta;
    s.Name("ClownsharKSampler")
        .Category("RES4LYF/samplers")
        .Description("Samples with an exponential or linear Runge-Kutta solver that may replace noise in each step.");
    s.Input<&N::eta>("eta")
        .Default(0.5)
        .Range(-100.0, 100.0)
        .Step(0.01)
        .Tooltip("Share of noise replaced in each step.");
    s.Input<&N::sampler_name>("sampler_name")
        .OneOf({"multistep/res_2m", "multistep/res_3m", "multistep/deis_2m", "multistep/deis_3m", "exponential/res_2s",
                "exponential/res_3s", "exponential/res_5s", "exponential/res_6s", "linear/euler"})
        .Default("multistep/res_2m")
        .Tooltip("The algorithm.");
    s.Input<&N::scheduler>("scheduler")
        .OneOf(engine::ScheduleNames())
        .Default("beta57")
        .Tooltip("How the levels are spaced.");
    s.Input<&N::steps>("steps").Default(30).Range(1, 10000).Tooltip("How many steps.");
    s.Input<&N::steps_to_run>("steps_to_run").Default(-1).Range(-1, 10000).Tooltip("-1: all.");
    s.Input<&N::denoise>("denoise")
        .Default(1.0)
        .Range(-10000, 10000)
        .Step(0.01)
        .Tooltip("Below 0: all levels are scaled by its size.");
    s.Input<&N::cfg>("cfg")
        .Default(5.5)
        .Range(-100.0, 100.0)
        .Step(0.01)
        .Tooltip("How strongly to follow the positive conditioning; 1 ignores the negative one.");
    s.Input<&N::seed>("seed").Default(0).Range(0, UINT64_MAX).Seed().Tooltip("Seed of the noise.");
    s.Input<&N::sampler_mode>("sampler_mode")
        .OneOf({"unsample", "standard", "resample"})
        .Default("standard")
        .Tooltip("Only standard is built.");
    s.Input<&N::bongmath>("bongmath").Default(true).Tooltip("Fits each step's start anew to its noised stages.");
    s.Input<&N::model>("model").Tooltip("The model to sample with.");
    s.Input<&N::positive>("positive").Tooltip("What the result should show.");
    s.Input<&N::negative>("negative").Tooltip("What the result should avoid.");
    s.Input<&N::latent_image>("latent_image").Tooltip("The latent to start from.");
    s.Input<&N::sigmas>("sigmas").Tooltip("The noise levels.");
    s.Input<&N::guides>("guides").Type("GUIDES").Tooltip("Not built; leave it open.");
    s.Input<&N::options>("options").Type("OPTIONS").Tooltip("Not built; leave it open.");
    s.Output<Latent>("output");
    s.Output<Latent>("denoised");
    s.Output<ClownsharkOptions>("options");
  }

  // What of the reference's node is not built. Source: spec res4lyf.md 8 describes only the rest.
  Status CheckSupported() const {
    if (!model) return InvalidArgument("the input model is not connected");
    if (!latent_image) return InvalidArgument("the input latent_image is not connected");
    if (sampler_mode != "standard")
      return InvalidArgument("sampler_mode is \"", sampler_mode, "\", only \"standard\" is built");
    if (steps_to_run != -1) return InvalidArgument("steps_to_run is ", steps_to_run, ", only -1 (all) is built");
    if (cfg < 0) return InvalidArgument("cfg is ", cfg, ", expected 0 or more");
    if (sigmas || guides || options)
      return InvalidArgument("the inputs sigmas, guides and options are not built; disconnect them");
    return OkStatus();
  }

  StatusOr<at::Tensor> Levels() const {
    if (denoise >= 0) return engine::RunSigmas(*model->sampling, {}, scheduler, steps, std::min(denoise, 1.0));
    ASSIGN_OR_RETURN(const at::Tensor full, engine::RunSigmas(*model->sampling, {}, scheduler, steps, 1.0));
    return Guard([&] { return (full.to(at::kDouble) * -denoise).to(at::kFloat).contiguous(); });
  }

  StatusOr<std::tuple<Latent, Latent, ClownsharkOptions>> Run(NodeContext& ctx) const {
    RETURN_IF_ERROR(CheckSupported());
    RETURN_IF_ERROR(CheckSamples("latent_image", *latent_image));
    if (model->sampling == nullptr) return Internal("model without sampling");
    engine::SampleRequest request;
    request.model = *model;
    if (positive) request.positive = *positive;
    if (negative) request.negative = *negative;
    request.cfg = cfg;
    request.seed = seed;
    request.sampler = engine::RkSampler({.kind = sampler_name.substr(sampler_name.rfind('/') + 1),
                                         .eta = eta,
                                         .eta_substep = eta,
                                         .bongmath = bongmath,
                                         .step_seed = seed + 1,
                                         .substep_seed = seed + 1 + 10000});
    ASSIGN_OR_RETURN(request.sigmas, Levels());

    Latent output = *latent_image, denoised = *latent_image;
    std::vector<at::Tensor> outputs, predictions;
    at::Tensor start, mask;
    RETURN_IF_ERROR(Guard([&]() -> Status {
      start = engine::FixEmptyLatent(*model, latent_image->samples);
      mask = latent_image->noise_mask;
      // Of a video the items of a mask with fewer dimensions are frames.
      if (mask.defined() && start.dim() == 4) mask = RepeatToBatch(mask, start.size(0));
      return OkStatus();
    }));
    for (int64_t i = 0; i < start.size(0); ++i) {
      RETURN_IF_ERROR(Guard([&]() -> Status {
        request.latent = start.narrow(0, i, 1);
        const bool own = mask.defined() && mask.size(0) == start.size(0) && (start.dim() == 4 || mask.dim() == 5);
        request.noise_mask = own ? mask.narrow(0, i, 1) : mask;
        at::Generator generator = engine::MakeGenerator(at::kCPU, seed + static_cast<uint64_t>(i));
        const at::Tensor noise = engine::NormalizedNoise(request.latent.sizes(), generator, at::kCPU);
        request.noise = noise - noise.mean();
        return OkStatus();
      }));
      predictions.emplace_back();
      ASSIGN_OR_RETURN(at::Tensor sampled, engine::SampleLatent(request, ctx, &predictions.back()));
      outputs.push_back(std::move(sampled));
    }
    RETURN_IF_ERROR(Guard([&]() -> Status {
      output.samples = at::cat(outputs, 0);
      denoised.samples = at::cat(predictions, 0);
      return OkStatus();
    }));
    return std::make_tuple(std::move(output), std::move(denoised), ClownsharkOptions{});
  }
};
ATELIER_REGISTER_NODE(ClownsharKSampler_Beta);

}  // namespace
}  // namespace atelier::nodes
