#include "worker/models/unet_conditioning.h"

#include <algorithm>
#include <cmath>

#include "worker/engine/layers.h"
#include "worker/sampling/model_sampling.h"
#include "worker/sampling/noise.h"

namespace atelier::models {
namespace {

using engine::CondEntry;
using engine::CondRun;
using engine::ModelCallInputs;

// An empty picture in model space. Source: spec engine.md 4.11.
constexpr double kGrey[] = {0.8223, -0.6876, 0.6364, 0.1380};

constexpr const char* kUnclip = "unclip_conditioning";

}  // namespace

const at::Tensor* TensorOf(const CondEntry& entry, const char* key) {
  const auto it = entry.tensors.find(key);
  return it == entry.tensors.end() || !it->second.defined() ? nullptr : &it->second;
}

at::Tensor FitLatent(at::Tensor t, const at::Tensor& like) {
  const int64_t height = like.size(-2), width = like.size(-1);
  if (t.size(-2) != height || t.size(-1) != width) {
    const double old_aspect = static_cast<double>(t.size(-1)) / static_cast<double>(t.size(-2));
    const double new_aspect = static_cast<double>(width) / static_cast<double>(height);
    int64_t x = 0, y = 0;
    if (old_aspect > new_aspect) {
      const auto w = static_cast<double>(t.size(-1));
      x = static_cast<int64_t>(std::nearbyint((w - w * (new_aspect / old_aspect)) / 2));
    } else if (old_aspect < new_aspect) {
      const auto h = static_cast<double>(t.size(-2));
      y = static_cast<int64_t>(std::nearbyint((h - h * (old_aspect / new_aspect)) / 2));
    }
    t = t.narrow(-2, y, t.size(-2) - 2 * y).narrow(-1, x, t.size(-1) - 2 * x);
    t = at::upsample_bilinear2d(t, {height, width}, false);
  }
  const int64_t items = like.size(0);
  if (t.size(0) != items) t = t.repeat({(items + t.size(0) - 1) / t.size(0), 1, 1, 1}).narrow(0, 0, items);
  return t;
}

double OptionOr(const CondEntry& entry, const char* key, double fallback) {
  const auto it = entry.options.find(key);
  return it == entry.options.end() || !it->is_number() ? fallback : it->get<double>();
}

StatusOr<at::Tensor> SizeVector(const CondEntry& entry, const std::vector<double>& values, const at::Device& device) {
  const at::Tensor* pooled = TensorOf(entry, "pooled_output");
  ASSIGN_OR_RETURN(at::Tensor described, UnclipVector(entry, {}));
  if (described.defined()) {
    if (pooled != nullptr && described.size(1) < pooled->size(1))
      return InvalidArgument("the pictures' descriptions have ", described.size(1), " numbers, the model takes ",
                             pooled->size(1), "; use the vision encoder it was made for");
    if (pooled != nullptr) described = described.narrow(1, 0, pooled->size(1));
    pooled = &described;
  }
  if (pooled == nullptr)
    return InvalidArgument("the conditioning has no pooled output, which this model needs; use its own text encoder");
  const at::Tensor embedded = engine::SinusoidalEmbedding(at::tensor(values, at::kFloat), 256).view({1, -1});
  return at::cat({pooled->to(at::kFloat), embedded.expand({pooled->size(0), -1})}, 1).to(device);
}

bool IsUnclip(const UNetShape& shape) {
  return shape.linear_projection && shape.context_width == 1024 &&
         (shape.vector_width == 1536 || shape.vector_width == 2048);
}

void AddUnclip(CondEntry& entry, const at::Tensor& image_embeds, double strength, double noise_augmentation) {
  Json& list = entry.options[kUnclip];
  if (!list.is_array()) list = Json::array();
  entry.tensors[Cat(kUnclip, ".", list.size())] = image_embeds;
  list.push_back(Json::array({strength, noise_augmentation}));
}

StatusOr<at::Tensor> UnclipVector(const CondEntry& entry, const UnclipNoise& noise) {
  const auto it = entry.options.find(kUnclip);
  if (it == entry.options.end() || !it->is_array() || it->empty()) return at::Tensor();
  engine::DiscreteOptions schedule;
  schedule.schedule = engine::BetaSchedule::kSquaredCosCapV2;
  const auto levels = engine::ModelSampling::Discrete(engine::Prediction::kEps, schedule);
  at::Generator generator = engine::MakeGenerator(at::kCPU, 0);
  at::Tensor sum;
  for (size_t i = 0; i < it->size(); ++i) {
    const Json& settings = (*it)[i];
    const at::Tensor* described = TensorOf(entry, Cat(kUnclip, ".", i).c_str());
    if (described == nullptr || described->dim() != 2 || !settings.is_array() || settings.size() != 2 ||
        !settings[0].is_number() || !settings[1].is_number())
      return InvalidArgument("conditioning option \"", kUnclip, "\" is malformed");
    if (noise.mean.defined() && noise.mean.numel() != described->size(1))
      return InvalidArgument("the picture's description has ", described->size(1), " numbers, the model takes ",
                             noise.mean.numel(), "; use the vision encoder of the checkpoint");
    const auto level = static_cast<int64_t>(std::nearbyint(std::clamp(settings[1].get<double>(), 0.0, 1.0) * 999));
    // The share of the signal that is left at a level: 1 / (1 + sigma^2).
    const double sigma = levels->sigmas()[level].item<double>();
    const double kept = 1.0 / (1.0 + sigma * sigma);
    at::Tensor x = described->to(at::kFloat);
    if (noise.mean.defined()) x = (x - noise.mean) / noise.deviation;
    x = x * std::sqrt(kept) + engine::Randn(x.sizes(), generator, at::kCPU) * std::sqrt(1 - kept);
    if (noise.mean.defined()) x = x * noise.deviation + noise.mean;
    if (noise.level_width > 0) {
      const at::Tensor at = at::full({x.size(0)}, static_cast<float>(level));
      x = at::cat({x, engine::SinusoidalEmbedding(at, noise.level_width)}, 1);
    }
    x = x.sum(0, true) * settings[0].get<double>();
    sum = sum.defined() ? sum + x : x;
  }
  return sum;
}

at::Tensor InpaintConcat(const CondEntry& entry, const CondRun& run) {
  const at::Tensor& latent = run.latent;
  const auto options = latent.options();
  const at::Tensor* mask = TensorOf(entry, "concat_mask");
  const at::Tensor* picture = TensorOf(entry, "concat_latent_image");
  if (mask == nullptr && run.denoise_mask.defined()) mask = &run.denoise_mask;
  at::Tensor m = at::ones({latent.size(0), 1, latent.size(2), latent.size(3)}, options);
  at::Tensor image;
  if (mask != nullptr) {
    m = mask->to(options);
    if (m.dim() == 2) m = m.unsqueeze(0);
    if (m.dim() == 3) m = m.unsqueeze(1);
    if (m.size(1) > 1) m = m.mean(1, true);
    m = FitLatent(m, latent).round();
    image = picture == nullptr ? latent : FitLatent(run.latent_format.ProcessIn(picture->to(options)), latent);
  } else {
    image = at::tensor(at::ArrayRef<double>(kGrey), options).view({1, 4, 1, 1}).expand_as(latent);
  }
  return at::cat({m, image}, 1);
}

at::Tensor EditConcat(const CondEntry& entry, const CondRun& run) {
  const at::Tensor* picture = TensorOf(entry, "concat_latent_image");
  if (picture == nullptr) return at::zeros_like(run.latent);
  return FitLatent(picture->to(run.latent.options()), run.latent);
}

StatusOr<engine::CondEncoder> WithConcat(int64_t in_channels, const std::string& file, engine::CondEncoder inner) {
  if (in_channels == 4) return inner;
  if (in_channels != 9 && in_channels != 8) {
    return InvalidArgument("file \"", file, "\" is a UNet of ", in_channels,
                           " input channels, expected 4, 8 (editing) or 9 (inpainting); choose another file");
  }
  const auto concat = in_channels == 9 ? InpaintConcat : EditConcat;
  return engine::CondEncoder(
      [concat, inner = std::move(inner)](const CondEntry& entry, const CondRun& run) -> StatusOr<ModelCallInputs> {
        ModelCallInputs inputs;
        if (inner) {
          ASSIGN_OR_RETURN(inputs, inner(entry, run));
        }
        inputs.c_concat = concat(entry, run);
        return inputs;
      });
}

}  // namespace atelier::models
