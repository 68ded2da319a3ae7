#include "worker/models/vae_parts.h"

#include <utility>
#include <vector>

#include "common/base/log.h"
#include "worker/engine/guard.h"
#include "worker/engine/tiler.h"

namespace atelier::models {
namespace {

// [B,3,H,W] in -1..1 to [B,H,W,3] in 0..1.
at::Tensor Pixels(const at::Tensor& y) { return VaeColours(y).movedim(1, 3).contiguous(); }

}  // namespace

StatusOr<at::Tensor> VaePixels(const at::Tensor& pixels, int64_t ratio) {
  if (pixels.dim() != 4 || pixels.size(3) < 3) return InvalidArgument("the VAE takes images [B,H,W,3]");
  const int64_t h = pixels.size(1) / ratio * ratio, w = pixels.size(2) / ratio * ratio;
  if (h == 0 || w == 0) {
    return InvalidArgument("an image of ", pixels.size(2), "x", pixels.size(1),
                           " is too small for the VAE, which needs ", ratio, "x", ratio);
  }
  return engine::Guard([&] {
    return pixels.narrow(1, pixels.size(1) % ratio / 2, h)
                   .narrow(2, pixels.size(2) % ratio / 2, w)
                   .narrow(3, 0, 3)
                   .to(at::kFloat) *
               2.0 -
           1.0;
  });
}

at::Tensor VaeColours(const at::Tensor& y) { return ((y + 1.0) / 2.0).clamp(0.0, 1.0); }

Status CheckPictureLatents(const at::Tensor& latents, int64_t channels) {
  if (latents.dim() == 4 && latents.size(1) == channels) return OkStatus();
  return InvalidArgument("the VAE takes latents [B,", channels, ",h,w], not ", latents.dim(), " dimensions with ",
                         latents.dim() > 1 ? latents.size(1) : 0, " channels");
}

at::Tensor PerItem(const at::Tensor& x, const PictureMap& run) {
  std::vector<at::Tensor> out;
  for (int64_t i = 0; i < x.size(0); ++i) out.push_back(run(x.narrow(0, i, 1)).to(at::kCPU));
  return out.size() == 1 ? out[0] : at::cat(out, 0);
}

StatusOr<at::Tensor> ThreeTilings(const at::Tensor& x, const engine::VaeTiles& tiles, double scale, int64_t channels,
                                  const PictureMap& run) {
  at::Tensor sum;
  const int64_t tile = tiles.size;
  const std::pair<int64_t, int64_t> sizes[] = {{tile / 2, tile * 2}, {tile * 2, tile / 2}, {tile, tile}};
  for (const auto& [tile_x, tile_y] : sizes) {
    ASSIGN_OR_RETURN(const at::Tensor part, engine::RunTiled(x, {tile_x, tile_y, tiles.overlap, scale}, channels, run));
    sum = sum.defined() ? sum + part : part;
  }
  return sum / 3.0;
}

StatusOr<at::Tensor> WholeOrTiled(std::string_view doing, std::string_view done, engine::Residency& residency,
                                  const engine::ParamSet& params, const std::function<at::Tensor()>& whole,
                                  const std::function<StatusOr<at::Tensor>()>& tiled) {
  const auto ran_out = [](const StatusOr<at::Tensor>& result) {
    return !result.ok() && result.status().code() == StatusCode::kResourceExhausted;
  };
  StatusOr<at::Tensor> result = engine::Guard([&] { return whole(); });
  // Which other models a worker happens to hold must not decide about the picture.
  if (ran_out(result) && residency.UnloadAll(&params) > 0) result = engine::Guard([&] { return whole(); });
  if (!ran_out(result)) return result;
  LogWarning("memory ran out while ", doing, " at once, it is ", done, " in tiles: ", Message(result.status()));
  return tiled();
}

PictureAutoencoder::PictureAutoencoder(engine::Engine& engine, engine::WeightSource weights)
    : params_(engine.device(), engine::Part::kAutoencoder, engine.residency()),
      residency_(engine.residency()),
      weights_(std::move(weights)) {}

StatusOr<at::Tensor> PictureAutoencoder::Encode(const at::Tensor& pixels) const {
  ASSIGN_OR_RETURN(const at::Tensor x, VaePixels(pixels, ratio_));
  return WholeOrTiled(
      "encoding an image", "encoded", *residency_, params_,
      [&] { return PerItem(x.movedim(3, 1), [&](const at::Tensor& item) { return EncodeRaw(item); }); },
      [&] {
        return EncodeTiled(pixels, {512, 64});
      });
}

StatusOr<at::Tensor> PictureAutoencoder::Decode(const at::Tensor& latents) const {
  RETURN_IF_ERROR(CheckPictureLatents(latents, z_));
  return WholeOrTiled(
      "decoding a latent", "decoded", *residency_, params_,
      [&] { return Pixels(PerItem(latents, [&](const at::Tensor& item) { return DecodeRaw(item); })); },
      [&] {
        return DecodeTiled(latents, {64, 16});
      });
}

StatusOr<at::Tensor> PictureAutoencoder::EncodeTiled(const at::Tensor& pixels, const engine::VaeTiles& tiles) const {
  ASSIGN_OR_RETURN(const at::Tensor x, VaePixels(pixels, ratio_));
  return engine::Guard([&]() -> StatusOr<at::Tensor> {
    return ThreeTilings(x.movedim(3, 1), tiles, 1.0 / static_cast<double>(ratio_), z_,
                        [&](const at::Tensor& t) { return EncodeRaw(t); });
  });
}

StatusOr<at::Tensor> PictureAutoencoder::DecodeTiled(const at::Tensor& latents, const engine::VaeTiles& tiles) const {
  RETURN_IF_ERROR(CheckPictureLatents(latents, z_));
  return engine::Guard([&]() -> StatusOr<at::Tensor> {
    ASSIGN_OR_RETURN(const at::Tensor y, ThreeTilings(latents, tiles, static_cast<double>(ratio_), 3,
                                                      [&](const at::Tensor& t) { return DecodeRaw(t); }));
    return Pixels(y);
  });
}

at::Tensor PictureAutoencoder::Prepare(const at::Tensor& x) const {
  params_.Load();
  return x.to(at::TensorOptions(params_.device()).dtype(params_.compute())).contiguous(at::MemoryFormat::ChannelsLast);
}

}  // namespace atelier::models
