// What autoencoders of pictures and of videos share. Source: spec engine.md 6.1, 6.2.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <memory>
#include <string_view>

#include "common/base/status.h"
#include "worker/engine/model_cache.h"
#include "worker/engine/residency.h"
#include "worker/engine/types.h"
#include "worker/models/saving.h"

namespace atelier::models {

/// Pictures [B,H,W,C] as f32 [B,H',W',3] in -1..1, cropped in the middle to multiples of `ratio`. Errors:
/// INVALID_ARGUMENT for another shape or pictures that are too small. Thread: any.
StatusOr<at::Tensor> VaePixels(const at::Tensor& pixels, int64_t ratio);

/// f32 of any shape in -1..1 as 0..1. Thread: any.
at::Tensor VaeColours(const at::Tensor& y);

/// Errors: INVALID_ARGUMENT unless latents are [B,channels,h,w]. Thread: any.
Status CheckPictureLatents(const at::Tensor& latents, int64_t channels);

/// A part of an autoencoder: f32 [B,C,h,w] on the CPU to f32 [B,C',h',w'] on any device. Throws torch's exceptions.
using PictureMap = std::function<at::Tensor(const at::Tensor&)>;

/// `run` of one item of x [B,...] at a time, on the CPU: the result is the same and memory stays bounded by one image.
at::Tensor PerItem(const at::Tensor& x, const PictureMap& run);

/// The average of three tilings of x [B,C,h,w], of high, wide and square tiles; `run` multiplies sizes by `scale` and
/// gives `channels`. Source: spec engine.md 6.3.
StatusOr<at::Tensor> ThreeTilings(const at::Tensor& x, const engine::VaeTiles& tiles, double scale, int64_t channels,
                                  const PictureMap& run);

/// What `whole` makes. When memory runs out in it all but `params` is unloaded and it is tried again; when it still
/// runs out, or there was nothing to unload, what `tiled` makes, and a warning says so, with `doing` ("encoding an
/// image") and `done` ("encoded"). Thread: as those two.
StatusOr<at::Tensor> WholeOrTiled(std::string_view doing, std::string_view done, engine::Residency& residency,
                                  const engine::ParamSet& params, const std::function<at::Tensor()>& whole,
                                  const std::function<StatusOr<at::Tensor>()>& tiled);

/// An autoencoder of single pictures: whole or in tiles, one picture at a time. A network says how one is made.
class PictureAutoencoder : public engine::Autoencoder, public StoredAutoencoder {
 public:
  PictureAutoencoder(engine::Engine& engine, engine::WeightSource weights);

  const engine::WeightSource& weights() const override { return weights_; }
  int64_t ratio() const override { return ratio_; }
  int64_t channels() const override { return z_; }
  StatusOr<at::Tensor> Encode(const at::Tensor& pixels) const override;
  StatusOr<at::Tensor> Decode(const at::Tensor& latents) const override;
  StatusOr<at::Tensor> EncodeTiled(const at::Tensor& pixels, const engine::VaeTiles& tiles) const override;
  StatusOr<at::Tensor> DecodeTiled(const at::Tensor& latents, const engine::VaeTiles& tiles) const override;

 protected:
  /// Pictures or tiles of them f32 [B,3,H,W] in -1..1 to latents f32 [B,channels,H/ratio,W/ratio], and back. Throw
  /// torch's exceptions.
  virtual at::Tensor EncodeRaw(const at::Tensor& image) const = 0;
  virtual at::Tensor DecodeRaw(const at::Tensor& latent) const = 0;
  /// x as the layers take it, once the weights are there.
  at::Tensor Prepare(const at::Tensor& x) const;

  mutable engine::ParamSet params_;
  int64_t z_ = 4, ratio_ = 8;

 private:
  std::shared_ptr<engine::Residency> residency_;
  engine::WeightSource weights_;
};

}  // namespace atelier::models
