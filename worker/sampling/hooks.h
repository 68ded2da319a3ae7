// What nodes change about sampling with a model: guidance and the network's inside. A model carries makers of hooks; a
// run makes its own, so that what a hook remembers never outlives the run. Source: spec engine.md 4.10 "Hook points".
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "worker/engine/network_hooks.h"
#include "worker/engine/types.h"
#include "worker/sampling/conditioning.h"

namespace atelier::engine {

/// One step of guidance. All tensors f32 [B,C,...] in model space on the sampling device.
struct GuidanceCall {
  const Model& model;
  at::Tensor x;
  double sigma = 0;
  double cfg = 1;
  at::Tensor positive, negative;  // predictions; negative is 0 when guidance needs none
  bool has_negative = true;
  at::Tensor denoised;  // after guidance
  const CondList* positive_list = nullptr;
  const CondList* negative_list = nullptr;

  /// Another prediction of a list at `at_x`, with `network` in place of the model's own hooks.
  at::Tensor Again(const CondList& list, CondKind kind, const at::Tensor& at_x, const NetworkHooks& network) const;
  /// The model's own network hooks.
  const NetworkHooks& network() const;
};

/// The hooks of one run.
struct RunHooks {
  NetworkHooks network;
  std::vector<std::function<void(GuidanceCall&)>> before;             // may change positive and negative
  std::function<at::Tensor(const GuidanceCall&)> guide;               // in place of classifier-free guidance
  std::vector<std::function<at::Tensor(const GuidanceCall&)>> after;  // give the new `denoised`
  bool always_negative = false;                                       // also when cfg is 1
  /// A step: the guided prediction of x at a level.
  using Step = std::function<at::Tensor(const at::Tensor& x, double sigma)>;
  std::vector<std::function<at::Tensor(const at::Tensor& x, double sigma, const Step&)>> around_step;
  /// The noise mask of a call, f32 [B,C,...], from the run's; null: the run's.
  std::function<at::Tensor(const at::Tensor& mask, double sigma)> mask;
};

/// What a maker of hooks may look at. Valid during the call.
struct HookRun {
  const Model& model;
  uint64_t seed = 0;
  at::Tensor noise;                  // f32, the run's initial noise
  const std::vector<float>& sigmas;  // levels of the run
  /// A conditioning made ready for this run. Errors: PrepareConds'.
  std::function<StatusOr<std::shared_ptr<const CondList>>(const Conditioning&, CondKind)> prepare;

  /// A generator in the state that the reference's global one has when the run starts, for hooks that draw.
  at::Generator DrawAfterNoise() const;
  at::Generator DrawAfterNoise(const at::Device& device) const;
};

/// The model with its hooks in force. Errors: those of the makers.
StatusOr<Model> WithHooks(const Model& model, const HookRun& run);

/// The model with one more maker.
Model WithHook(const Model& model, Hook hook);
/// The same of a hook that remembers nothing.
Model WithNetworkHook(const Model& model, std::function<void(NetworkHooks&)> change);
Model WithPreGuidance(const Model& model, std::function<void(GuidanceCall&)> before);
Model WithGuidance(const Model& model, std::function<at::Tensor(const GuidanceCall&)> guide);
Model WithPostGuidance(const Model& model, std::function<at::Tensor(const GuidanceCall&)> after);

/// Whether the negative list has to be evaluated.
bool NeedsNegative(const Model& model, double cfg);

/// `step` at x with the hooks around steps.
at::Tensor RunStep(const Model& model, const at::Tensor& x, double sigma, const RunHooks::Step& step);

/// Guidance with the hooks of `call.model`: of positive and negative into call.denoised. The one place where
/// predictions are guided.
void ApplyGuidance(GuidanceCall& call);

}  // namespace atelier::engine
