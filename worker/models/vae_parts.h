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

/// What `whole` makes. When memory runs out in it all but `params` is unloaded and it is tried again; when it still
/// runs out, or there was nothing to unload, what `tiled` makes, and a warning says so, with `doing` ("encoding an
/// image") and `done` ("encoded"). Thread: as those two.
StatusOr<at::Tensor> WholeOrTiled(std::string_view doing, std::string_view done, engine::Residency& residency,
                                  const engine::ParamSet& params, const std::function<at::Tensor()>& whole,
                                  const std::function<StatusOr<at::Tensor>()>& tiled);

}  // namespace atelier::models
