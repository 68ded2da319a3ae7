// Control networks during a sampling run. Source: spec engine.md 8.2, 4.10.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "worker/engine/network_hooks.h"
#include "worker/engine/types.h"

namespace atelier::engine {

/// A prompt's places in a picture: stands in a chain of applied controls, and acts inside the network instead of adding
/// residuals. Thread: one at a time.
class GroundingNetwork : public ControlNetwork {
 public:
  /// Adds what acts on a latent of height x width. Throws torch's exceptions.
  virtual void AddHooks(NetworkHooks& hooks, int64_t height, int64_t width) const = 0;

  StatusOr<std::vector<at::Tensor>> Prepare(const ControlPicture&, int64_t, int64_t,
                                            const LatentFormat&) const override {
    return std::vector<at::Tensor>();
  }
  ControlResiduals Residuals(const std::vector<at::Tensor>&, const at::Tensor&, const at::Tensor&,
                             const ModelCallInputs&) const override {
    return {};
  }
};

/// The last of a chain whose network is a GroundingNetwork, which counts alone; null when there is none.
const AppliedControl* GroundingOf(const AppliedControl* control);

/// One applied control and those before it, for one run. Thread: one at a time.
class ControlRun {
 public:
  /// `previous` may be null. Errors: INVALID_ARGUMENT when the control network does not fit the model.
  static StatusOr<std::shared_ptr<ControlRun>> Make(const AppliedControl& control, const Model& model,
                                                    std::shared_ptr<ControlRun> previous);

  /// The residuals of the whole chain for x f32 [B,C,h,w], not scaled, at one level; none where no control is in its
  /// range. The batch is made of inputs.kinds.size() equal parts, each of which gets the pictures from the first on.
  /// Throws torch's exceptions, and their like with the status' text when a picture does not fit.
  ControlResiduals Evaluate(const at::Tensor& x, float sigma, const ModelCallInputs& inputs);

  /// `hooks` (may be null) with what the chain does inside the network for x; nothing when it does nothing there.
  /// Throws torch's exceptions.
  std::optional<NetworkHooks> Hooks(const NetworkHooks* hooks, const at::Tensor& x) const;

 private:
  ControlRun() = default;
  const std::vector<at::Tensor>& Prepared(int64_t height, int64_t width, int64_t items, int64_t parts);

  std::shared_ptr<const ControlNetwork> network_;
  ControlPicture picture_;
  double strength_ = 1.0, start_sigma_ = 0, end_sigma_ = 0;
  Model model_;
  std::shared_ptr<ControlRun> previous_;
  std::vector<int64_t> prepared_for_;                // height, width, items, parts
  std::vector<at::Tensor> derived_;                  // of the picture for that height and width
  std::vector<at::Tensor> prepared_;                 // with that many items
  std::shared_ptr<const ControlNetwork> grounding_;  // of the chain, or null
};

}  // namespace atelier::engine
