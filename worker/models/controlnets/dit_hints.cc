#include "worker/models/controlnets/dit_hints.h"

#include <algorithm>
#include <set>

namespace atelier::models {

void AddStackedLayer(std::vector<StackedTensor>& tensors, const std::string& own,
                     const std::vector<std::string>& parts) {
  for (const char* suffix : {".weight", ".bias"}) {
    StackedTensor& tensor = tensors.emplace_back();
    tensor.own = own + suffix;
    for (const std::string& part : parts) tensor.parts.push_back(part + suffix);
  }
}

engine::WeightSource Stacked(const engine::WeightSource& file, const std::vector<StackedTensor>& tensors) {
  engine::WeightSource::Tensors result = file.tensors();
  engine::WeightSource::Extras extras;
  for (const auto& [name, tensor] : file.tensors()) {
    if (const engine::WeightExtras* extra = file.ExtrasOf(name)) extras.emplace(name, *extra);
  }
  std::set<std::string> used;
  for (const StackedTensor& tensor : tensors) {
    const auto there = [&file](const std::string& part) { return file.Has(part); };
    if (!std::ranges::all_of(tensor.parts, there)) continue;
    used.insert(tensor.parts.begin(), tensor.parts.end());
    if (tensor.parts.size() == 1) {
      result[tensor.own] = file.Find(tensor.parts[0]);
      if (const engine::WeightExtras* extra = file.ExtrasOf(tensor.parts[0])) extras[tensor.own] = *extra;
      continue;
    }
    const bool plain =
        std::ranges::none_of(tensor.parts, [&file](const std::string& part) { return file.ExtrasOf(part) != nullptr; });
    std::vector<at::Tensor> rows;
    for (const std::string& part : tensor.parts)
      rows.push_back(plain ? file.Find(part) : file.Value(part, at::Device(at::kCPU)));
    result[tensor.own] = at::cat(rows, 0);
  }
  const std::set<std::string> own = [&tensors] {
    std::set<std::string> names;
    for (const StackedTensor& tensor : tensors) names.insert(tensor.own);
    return names;
  }();
  for (const std::string& name : used) {
    if (own.contains(name)) continue;
    result.erase(name);
    extras.erase(name);
  }
  return engine::WeightSource(file.file(), std::move(result), std::move(extras));
}

StatusOr<at::Tensor> HintLatents(const engine::ControlPicture& picture, int64_t height, int64_t width,
                                 const engine::LatentFormat& format, int64_t channels) {
  const bool mask_channel = channels == format.channels + 1;
  if (channels != format.channels && !mask_channel)
    return InvalidArgument("the control network takes pictures of ", channels,
                           " latent channels, the model's latents have ", format.channels,
                           "; use one that is made for this model");
  if (picture.autoencoder == nullptr)
    return InvalidArgument("this control network looks at latents; connect the autoencoder to the node's vae input");
  const int64_t ratio = picture.autoencoder->ratio();
  at::Tensor pixels = picture.pixels.narrow(3, 0, std::min<int64_t>(3, picture.pixels.size(3)));
  at::Tensor keep;
  if (mask_channel) {
    if (!picture.mask.defined())
      return InvalidArgument(
          "this control network paints a part of a picture anew; use ControlNetInpaintingAliMamaApply with a mask");
    keep = 1.0 - picture.mask.to(at::kFloat).unsqueeze(3);  // as a picture of one channel
    at::Tensor rounded = at::upsample_bilinear2d(keep.permute({0, 3, 1, 2}), {pixels.size(1), pixels.size(2)}, false);
    rounded = rounded.round().permute({0, 2, 3, 1});
    if (rounded.size(0) != pixels.size(0)) rounded = rounded.narrow(0, 0, 1);
    pixels = pixels * rounded;
  }
  ASSIGN_OR_RETURN(const at::Tensor hint, HintPixels(pixels, height * ratio, width * ratio, 0));
  ASSIGN_OR_RETURN(const at::Tensor encoded, picture.autoencoder->Encode(hint.permute({0, 2, 3, 1}).contiguous()));
  at::Tensor latents = format.ProcessIn(encoded.to(at::kFloat));
  if (latents.dim() == 5) latents = latents.select(2, 0);
  if (!mask_channel) return latents;
  ASSIGN_OR_RETURN(at::Tensor mask, HintPixels(keep, latents.size(2), latents.size(3), 1));
  if (mask.size(0) != latents.size(0))
    mask = mask.repeat({(latents.size(0) + mask.size(0) - 1) / mask.size(0), 1, 1, 1}).narrow(0, 0, latents.size(0));
  return at::cat({latents, mask}, 1);
}

std::vector<at::Tensor> SpreadResiduals(const std::vector<at::Tensor>& residuals, size_t blocks, bool each) {
  std::vector<at::Tensor> spread;
  if (residuals.empty()) return spread;
  const size_t repeats = (blocks + residuals.size() - 1) / residuals.size();
  for (size_t i = 0; i < blocks && i < residuals.size() * repeats; ++i)
    spread.push_back(residuals[each ? i / repeats : i % residuals.size()]);
  return spread;
}

}  // namespace atelier::models
