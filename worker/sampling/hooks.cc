#include "worker/sampling/hooks.h"

#include <cmath>

#include "worker/sampling/noise.h"

namespace atelier::engine {

at::Tensor GuidanceCall::Again(const CondList& list, CondKind kind, const at::Tensor& at_x,
                               const NetworkHooks& network) const {
  Model other = model;
  auto hooks = std::make_shared<RunHooks>();
  hooks->network = network;
  other.running = std::move(hooks);
  if (kind == CondKind::kPositive) return EvaluateConds(other, {&list}, at_x, sigma)[0];
  return EvaluateConds(other, {nullptr, &list}, at_x, sigma)[1];
}

const NetworkHooks& GuidanceCall::network() const {
  static const NetworkHooks none;
  return model.running == nullptr ? none : model.running->network;
}

at::Generator HookRun::DrawAfterNoise() const { return DrawAfterNoise(model.network->device()); }

at::Generator HookRun::DrawAfterNoise(const at::Device& device) const {
  at::Generator generator = MakeGenerator(device, seed);
  // On the CPU the noise came from it.
  if (device.is_cpu()) Randn(noise.sizes(), generator, device);
  return generator;
}

StatusOr<Model> WithHooks(const Model& model, const HookRun& run) {
  if (model.hooks.empty()) return model;
  auto hooks = std::make_shared<RunHooks>();
  for (const Hook& hook : model.hooks) RETURN_IF_ERROR(hook(run, *hooks));
  Model running = model;
  running.running = std::move(hooks);
  return running;
}

Model WithHook(const Model& model, Hook hook) {
  Model hooked = model;
  hooked.hooks.push_back(std::move(hook));
  return hooked;
}

Model WithNetworkHook(const Model& model, std::function<void(NetworkHooks&)> change) {
  return WithHook(model, [change = std::move(change)](const HookRun&, RunHooks& hooks) {
    change(hooks.network);
    return OkStatus();
  });
}

Model WithPreGuidance(const Model& model, std::function<void(GuidanceCall&)> before) {
  return WithHook(model, [before = std::move(before)](const HookRun&, RunHooks& hooks) {
    hooks.before.push_back(before);
    return OkStatus();
  });
}

Model WithGuidance(const Model& model, std::function<at::Tensor(const GuidanceCall&)> guide) {
  return WithHook(model, [guide = std::move(guide)](const HookRun&, RunHooks& hooks) {
    hooks.guide = guide;
    return OkStatus();
  });
}

Model WithPostGuidance(const Model& model, std::function<at::Tensor(const GuidanceCall&)> after) {
  return WithHook(model, [after = std::move(after)](const HookRun&, RunHooks& hooks) {
    hooks.after.push_back(after);
    return OkStatus();
  });
}

bool NeedsNegative(const Model& model, double cfg) {
  if (model.running != nullptr && model.running->always_negative) return true;
  return std::fabs(cfg - 1.0) > 1e-9 * std::max(std::fabs(cfg), 1.0);
}

at::Tensor RunStep(const Model& model, const at::Tensor& x, double sigma, const RunHooks::Step& step) {
  if (model.running == nullptr) return step(x, sigma);
  RunHooks::Step all = step;
  for (const auto& around : model.running->around_step) {
    all = [&around, inner = std::move(all)](const at::Tensor& at_x, double level) {
      return around(at_x, level, inner);
    };
  }
  return all(x, sigma);
}

void ApplyGuidance(GuidanceCall& call) {
  const RunHooks* hooks = call.model.running.get();
  if (hooks != nullptr && !call.negative.defined()) call.negative = at::zeros_like(call.positive);
  if (hooks != nullptr)
    for (const auto& before : hooks->before) before(call);
  if (hooks != nullptr && hooks->guide) {
    call.denoised = hooks->guide(call);
  } else if (call.negative.defined()) {
    call.denoised = call.negative + (call.positive - call.negative) * call.cfg;
  } else {
    call.denoised = call.positive;
  }
  if (hooks != nullptr)
    for (const auto& after : hooks->after) call.denoised = after(call);
}

}  // namespace atelier::engine
