// What networks of all architectures share: how one is made, and what a diffusion network is called with.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <utility>

#include "worker/engine/guard.h"
#include "worker/engine/types.h"
#include "worker/engine/weights.h"

namespace atelier::models {

/// A `Network` made with `args` that has taken its layers from `weights`. Errors: its Build()'s. Thread: any.
template <typename Interface, typename Network, typename... Args>
StatusOr<std::shared_ptr<const Interface>> BuildNetwork(const engine::WeightSource& weights, Args&&... args) {
  return engine::Guard([&]() -> StatusOr<std::shared_ptr<const Interface>> {
    auto network = std::make_shared<Network>(std::forward<Args>(args)...);
    RETURN_IF_ERROR(network->Build(weights));
    return std::shared_ptr<const Interface>(std::move(network));
  });
}

/// `input` with what the conditioning adds behind its channels. Throws torch's exceptions, as those below. Thread: any.
at::Tensor JoinedInput(const at::Tensor& input, const engine::ModelCallInputs& inputs);

/// Throws unless `joined` has this many dimensions and channels.
void CheckChannels(const at::Tensor& joined, int64_t dims, int64_t channels);

/// Throws unless there is text conditioning of this width.
void CheckContext(const engine::ModelCallInputs& inputs, int64_t width);

}  // namespace atelier::models
