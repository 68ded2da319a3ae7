// What autoencoders of pictures and of videos share. Source: spec engine.md 6.1, 6.2.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <string_view>

#include "common/base/status.h"
#include "worker/engine/residency.h"

namespace atelier::models {

/// Pictures [B,H,W,C] as f32 [B,H',W',3] in -1..1, cropped in the middle to multiples of `ratio`. Errors:
/// INVALID_ARGUMENT for another shape or pictures that are too small. Thread: any.
StatusOr<at::Tensor> VaePixels(const at::Tensor& pixels, int64_t ratio);

/// f32 of any shape in -1..1 as 0..1. Thread: any.
at::Tensor VaeColours(const at::Tensor& y);

/// What `whole` makes, or `tiled` when memory runs out in it: then all but `params` is unloaded and a warning says so,
/// with `doing` ("encoding an image") and `done` ("encoded"). Thread: as those two.
StatusOr<at::Tensor> WholeOrTiled(std::string_view doing, std::string_view done, engine::Residency& residency,
                                  const engine::ParamSet& params, const std::function<at::Tensor()>& whole,
                                  const std::function<StatusOr<at::Tensor>()>& tiled);

}  // namespace atelier::models
