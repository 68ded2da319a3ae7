// DPM-Solver of fixed and of adaptive steps, over t = -ln sigma. Source: spec engine.md 5.5.
#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "worker/sampling/sampler.h"
#include "worker/sampling/samplers/makers.h"

namespace atelier::engine {
namespace {

float TimeOf(float sigma) { return -std::log(sigma); }
float SigmaAt(float t) { return std::exp(-t); }

float LastLevel(const SampleRun& run) {
  return run.sigmas.back() == 0 ? run.sigmas[run.sigmas.size() - 2] : run.sigmas.back();
}

// The noise predictions of one step; a point asked for twice is evaluated once.
class Step {
 public:
  Step(SampleRun& run, const at::Tensor& x, float s) : run_(run), x_(x), s_(s) {}

  StatusOr<at::Tensor> Eps() { return EpsAt("base", x_, s_); }

  StatusOr<at::Tensor> Order1(float t) {
    ASSIGN_OR_RETURN(const at::Tensor eps, Eps());
    return x_ - SigmaAt(t) * std::expm1(t - s_) * eps;
  }

  StatusOr<at::Tensor> Order2(float t, float r1) {
    ASSIGN_OR_RETURN(const at::Tensor eps, Eps());
    ASSIGN_OR_RETURN(const at::Tensor eps1, First(t, r1));
    const float h = t - s_, scale = SigmaAt(t);
    return x_ - scale * std::expm1(h) * eps - scale / (2 * r1) * std::expm1(h) * (eps1 - eps);
  }

  StatusOr<at::Tensor> Order3(float t) {
    constexpr float kR1 = 1.0f / 3, kR2 = 2.0f / 3;
    ASSIGN_OR_RETURN(const at::Tensor eps, Eps());
    ASSIGN_OR_RETURN(const at::Tensor eps1, First(t, kR1));
    const float h = t - s_, s2 = s_ + kR2 * h;
    const float weight2 = SigmaAt(s2) * (kR2 / kR1) * (std::expm1(kR2 * h) / (kR2 * h) - 1);
    const at::Tensor u2 = x_ - SigmaAt(s2) * std::expm1(kR2 * h) * eps - weight2 * (eps1 - eps);
    ASSIGN_OR_RETURN(const at::Tensor eps2, EpsAt("second", u2, s2));
    const float weight = SigmaAt(t) / kR2 * (std::expm1(h) / h - 1);
    return x_ - SigmaAt(t) * std::expm1(h) * eps - weight * (eps2 - eps);
  }

 private:
  StatusOr<at::Tensor> First(float t, float r1) {
    ASSIGN_OR_RETURN(const at::Tensor eps, Eps());
    const float h = t - s_, s1 = s_ + r1 * h;
    return EpsAt("first " + std::to_string(r1), x_ - SigmaAt(s1) * std::expm1(r1 * h) * eps, s1);
  }
  StatusOr<at::Tensor> EpsAt(const std::string& key, const at::Tensor& x, float s) {
    if (const auto it = known_.find(key); it != known_.end()) return it->second;
    const float sigma = SigmaAt(s);
    ASSIGN_OR_RETURN(const at::Tensor denoised, run_.Denoise(x, sigma));
    return known_[key] = (x - denoised) / sigma;
  }

  SampleRun& run_;
  at::Tensor x_;
  float s_;
  std::map<std::string, at::Tensor> known_;
};

struct DpmFast {
  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    const float from = TimeOf(run.sigmas.front()), to = TimeOf(LastLevel(run));
    const auto evaluations = static_cast<int64_t>(run.steps());
    std::vector<int> orders(static_cast<size_t>(evaluations / 3), 3);
    if (evaluations % 3 == 0)
      orders.back() = 2, orders.push_back(1);
    else
      orders.push_back(static_cast<int>(evaluations % 3));
    const at::Tensor times = at::linspace(from, to, static_cast<int64_t>(orders.size()) + 1, at::kFloat);
    for (size_t i = 0; i < orders.size(); ++i) {
      const auto k = static_cast<int64_t>(i);
      const float s = times[k].item<float>(), t = times[k + 1].item<float>();
      Step step(run, run.x, s);
      ASSIGN_OR_RETURN(const at::Tensor eps, step.Eps());
      RETURN_IF_ERROR(run.Report(i, run.x - SigmaAt(s) * eps));
      if (orders[i] == 1) {
        ASSIGN_OR_RETURN(run.x, step.Order1(t));
      } else if (orders[i] == 2) {
        ASSIGN_OR_RETURN(run.x, step.Order2(t, 0.5f));
      } else {
        ASSIGN_OR_RETURN(run.x, step.Order3(t));
      }
    }
    return run.x;
  }
};
ATELIER_REGISTER_SAMPLER("dpm_fast", 9, DpmFast{});

// Step sizes from the last three errors.
class StepSize {
 public:
  StepSize(const DpmAdaptiveSettings& s, double order)
      : h(s.h_init),
        b1_((s.pcoeff + s.icoeff + s.dcoeff) / order),
        b2_(-(s.pcoeff + 2 * s.dcoeff) / order),
        b3_(s.dcoeff / order),
        accept_(s.accept_safety) {}

  double h;

  // Whether a step with this error counts; h becomes the next step's in both cases.
  bool Propose(double error) {
    const double inverse = 1 / (error + 1e-8);
    if (!started_) last1_ = last2_ = inverse, started_ = true;
    const double wanted = std::pow(inverse, b1_) * std::pow(last1_, b2_) * std::pow(last2_, b3_);
    const double factor = 1 + std::atan(wanted - 1);
    const bool accept = factor >= accept_;
    if (accept) last2_ = last1_, last1_ = inverse;
    h *= factor;
    return accept;
  }

 private:
  double b1_, b2_, b3_, accept_, last1_ = 0, last2_ = 0;
  bool started_ = false;
};

struct DpmAdaptive {
  DpmAdaptiveSettings settings;

  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    constexpr int kTriesMax = 100'000;  // the reference would try for ever
    const float end = TimeOf(LastLevel(run));
    float s = TimeOf(run.sigmas.front());
    const double order = settings.eta != 0 ? 1.5 : static_cast<double>(settings.order);
    StepSize size(settings, order);
    at::Tensor previous = run.x;
    size_t accepted = 0;
    for (int tries = 0; s < end - 1e-5f; ++tries) {
      if (tries == kTriesMax)
        return InvalidArgument("dpm_adaptive took ", kTriesMax, " tries at sigma ", SigmaAt(s),
                               "; use larger rtol and atol or a smaller accept_safety");
      const float t = std::min(end, s + static_cast<float>(size.h));
      float target = t, up = 0;
      if (settings.eta != 0) {
        const float down = Ancestral(SigmaAt(s), SigmaAt(t), static_cast<float>(settings.eta)).down;
        target = std::min(end, TimeOf(down));
        up = std::sqrt(SigmaAt(t) * SigmaAt(t) - SigmaAt(target) * SigmaAt(target));
      }
      Step step(run, run.x, s);
      ASSIGN_OR_RETURN(const at::Tensor eps, step.Eps());
      const at::Tensor denoised = run.x - SigmaAt(s) * eps;
      at::Tensor low, high;
      if (settings.order == 2) {
        ASSIGN_OR_RETURN(low, step.Order1(target));
        ASSIGN_OR_RETURN(high, step.Order2(target, 0.5f));
      } else {
        ASSIGN_OR_RETURN(low, step.Order2(target, 1.0f / 3));
        ASSIGN_OR_RETURN(high, step.Order3(target));
      }
      const at::Tensor bound = (at::maximum(low.abs(), previous.abs()) * settings.rtol).clamp_min(settings.atol);
      const double error = ((low - high) / bound).norm().item<double>() / std::sqrt(static_cast<double>(run.x.numel()));
      if (!std::isfinite(error))
        return InvalidArgument("dpm_adaptive met an error of ", error, " at sigma ", SigmaAt(s),
                               "; the model gives no numbers there, or rtol and atol are 0");
      if (size.Propose(error)) {
        previous = low;
        run.x = high;
        if (up != 0) run.x = run.x + up * static_cast<float>(settings.s_noise) * run.Noise();
        s = t;
        RETURN_IF_ERROR(run.Report(accepted++, denoised));
      }
    }
    return run.x;
  }
};
ATELIER_REGISTER_SAMPLER("dpm_adaptive", 10, DpmAdaptive{});

}  // namespace

SamplerType DpmAdaptiveSampler(const DpmAdaptiveSettings& settings) { return MakeSampler(DpmAdaptive{settings}); }

}  // namespace atelier::engine
