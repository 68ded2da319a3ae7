#include "worker/models/unet_conditioning.h"

#include <cmath>

#include "worker/engine/layers.h"

namespace atelier::models {
namespace {

using engine::CondEntry;
using engine::CondRun;
using engine::ModelCallInputs;

// An empty picture in model space. Source: spec engine.md 4.11.
constexpr double kGrey[] = {0.8223, -0.6876, 0.6364, 0.1380};

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
  if (pooled == nullptr)
    return InvalidArgument("the conditioning has no pooled output, which this model needs; use its own text encoder");
  const at::Tensor embedded = engine::SinusoidalEmbedding(at::tensor(values, at::kFloat), 256).view({1, -1});
  return at::cat({pooled->to(at::kFloat), embedded.expand({pooled->size(0), -1})}, 1).to(device);
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
