// Exponential and linear Runge-Kutta and multistep solvers in double precision; the plain names replace half of the
// noise in each step, the _ode names none. Source: spec res4lyf.md.
#include "worker/sampling/samplers/res4lyf.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <vector>

#include "worker/sampling/noise.h"
#include "worker/sampling/samplers/res4lyf_tableau.h"

namespace atelier::engine {
namespace {

struct Levels {
  std::vector<double> sigmas;
  size_t steps = 0;  // the step to 0 is not one
  bool final_call = false;
};

// Source: spec res4lyf.md 4.
Levels PrepareLevels(const std::vector<float>& given, double sigma_min) {
  Levels levels;
  std::vector<double>& s = levels.sigmas;
  for (const float sigma : given)
    if (s.empty() || s.back() != sigma) s.push_back(sigma);
  if (s.size() >= 2 && s.back() == 0) {
    double& last = s[s.size() - 2];
    if (last < sigma_min)
      last = sigma_min;
    else if (last - sigma_min > 1e-4)
      s.insert(s.end() - 1, sigma_min);
    levels.steps = s.size() - 2;
    levels.final_call = levels.steps > 0 && s[s.size() - 2] == sigma_min;
  } else {
    levels.steps = s.size() - 1;
  }
  return levels;
}

class Solver {
 public:
  Solver(SampleRun& run, const RkSettings& settings, const RkMethod& method)
      : run_(run),
        settings_(settings),
        method_(method),
        sigma_min_(run.sampling.sigma_min()),
        sigma_max_(run.sampling.sigma_max()),
        step_noise_(MakeGenerator(run.x.device(), settings.step_seed)),
        substep_noise_(MakeGenerator(run.x.device(), settings.substep_seed)) {}

  StatusOr<at::Tensor> Sample() {
    const Levels levels = PrepareLevels(run_.sigmas, sigma_min_);
    if (levels.sigmas.front() == 0)
      return InvalidArgument("sigmas start at 0, which the sampler ", settings_.kind,
                             " cannot leave; set the first one with SetFirstSigma");
    at::Tensor x = run_.x.to(at::kDouble);
    for (size_t i = 0; i < levels.steps; ++i) {
      ASSIGN_OR_RETURN(x, Step(levels.sigmas, i, x));
      RETURN_IF_ERROR(run_.Report(i, data_.front().to(at::kFloat)));
    }
    if (levels.final_call) {
      ASSIGN_OR_RETURN(x, run_.Denoise(x, sigma_min_));
      RETURN_IF_ERROR(run_.Report(levels.steps, data_.front().to(at::kFloat)));
    }
    return x;
  }

 private:
  // Source: spec res4lyf.md 5.1 to 5.3.
  StatusOr<at::Tensor> Step(const std::vector<double>& sigmas, size_t i, const at::Tensor& x) {
    const double from = sigmas[i], to = sigmas[i + 1];
    const double down = run_.flow() ? to / ((sigma_max_ - to) + to) : to;
    const double h = method_.exponential ? -std::log(down / from) : down - from;
    const Tableau t = method_.tableau(sigmas, i, h);
    const std::vector<double> nodes = Nodes(t, from, h);
    const size_t rows = t.c.size(), stages = rows - t.history;

    at::Tensor base = x, stage = x;
    std::vector<at::Tensor> data(rows);
    for (size_t k = 0; k < t.history; ++k) data[k + 1] = data_[k];
    for (size_t r = 0; r < stages; ++r) {
      ASSIGN_OR_RETURN(data[r], run_.Denoise(stage, nodes[r]));
      const bool last = r + 1 == stages;
      const std::vector<double>& weights = last ? t.b : t.a[r + 1];
      const size_t used = t.history > 0 ? rows : r + 1;
      at::Tensor move;
      for (size_t j = 0; j < used; ++j) {
        const at::Tensor slope = method_.exponential ? data[j] - base : (base - data[j]) / from;
        const at::Tensor part = weights[j] * slope;
        move = move.defined() ? move + part : part;
      }
      stage = base + h * move;
      if (last) break;
      const double target = nodes[r + 1];
      if (target > 0) stage = Swap(base, stage, from, target, settings_.eta_substep, substep_noise_);
      if (settings_.bongmath && nodes[r] > sigma_min_ && h < sigma_max_ / 2 && from > 0.03)
        base = Refit(base, stage, data, t.a[r + 1], r + 1, from, h);
    }
    data_.push_front(data[0]);
    if (data_.size() > 2) data_.pop_back();
    return Swap(base, stage, from, to, settings_.eta, step_noise_);
  }

  // Noise levels of the stages, with torch's own exp, whose last bit decides one branch.
  std::vector<double> Nodes(const Tableau& t, double from, double h) const {
    const at::Tensor c = at::tensor(t.c, at::kDouble);
    const at::Tensor nodes = method_.exponential ? (-(c * h - std::log(from))).exp() : c * h + from;
    const at::Tensor whole = nodes.contiguous();
    return {whole.const_data_ptr<double>(), whole.const_data_ptr<double>() + whole.numel()};
  }

  // Takes the noise out of the point that a move from `sigma` to `target` reached, and puts partly fresh one in.
  // Source: spec res4lyf.md 5.4.
  at::Tensor Swap(const at::Tensor& base, const at::Tensor& reached, double sigma, double target, double eta,
                  at::Generator& generator) const {
    if (eta * target == 0) return reached;
    const at::Tensor eps = (base - reached) / (sigma - target);
    const at::Tensor denoised = base - sigma * eps;
    double up = eta * target, down, alpha = 1;
    if (run_.flow()) {
      if (up >= target) up = eta >= 1 ? 0.9999 * target : target * eta;
      const double rest = std::sqrt(target * target - up * up);
      alpha = (sigma_max_ - target) + rest;
      down = rest / alpha;
    } else {
      down = std::sqrt(target * target - up * up);
    }
    if (std::isnan(up)) up = 0;
    if (std::isnan(down)) down = target;
    if (std::isnan(alpha)) alpha = 1;
    return alpha * (denoised + down * eps) + up * NormalizedNoise(base.sizes(), generator, base.device());
  }

  // The base point from which the noised stage would have been reached: a hundred rounds of a fixed-point iteration in
  // closed form. Source: spec res4lyf.md 5.5.
  at::Tensor Refit(const at::Tensor& base, const at::Tensor& stage, const std::vector<at::Tensor>& data,
                   const std::vector<double>& row, size_t used, double sigma, double h) const {
    constexpr double kRounds = 100;
    at::Tensor sum;
    double total = 0;
    for (size_t j = 0; j < used; ++j) {
      const at::Tensor part = row[j] * data[j];
      sum = sum.defined() ? sum + part : part;
      total += row[j];
    }
    const double factor = method_.exponential ? h * total : -h * total / sigma;
    const at::Tensor offset = method_.exponential ? stage - h * sum : stage + h / sigma * sum;
    const at::Tensor fixed = offset / (1 - factor);
    return fixed + std::pow(factor, kRounds) * (base - fixed);
  }

  SampleRun& run_;
  const RkSettings& settings_;
  const RkMethod& method_;
  double sigma_min_, sigma_max_;
  at::Generator step_noise_, substep_noise_;
  std::deque<at::Tensor> data_;  // first-stage predictions of earlier steps, newest first
};

struct Rk {
  RkSettings settings;

  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    const auto method = RkMethods().find(settings.kind);
    if (method == RkMethods().end()) return InvalidArgument("no solver is named \"", settings.kind, "\"");
    return Solver(run, settings, method->second).Sample();
  }
};

Rk Plain(const char* kind) { return Rk{RkSettings{.kind = kind}}; }
Rk Ode(const char* kind) { return Rk{RkSettings{.kind = kind, .eta = 0, .eta_substep = 0}}; }

ATELIER_REGISTER_SAMPLER("rk_beta", 44, Plain("res_2m"));
ATELIER_REGISTER_SAMPLER("deis_3m_ode", 45, Ode("deis_3m"));
ATELIER_REGISTER_SAMPLER("deis_2m_ode", 46, Ode("deis_2m"));
ATELIER_REGISTER_SAMPLER("deis_3m", 47, Plain("deis_3m"));
ATELIER_REGISTER_SAMPLER("deis_2m", 48, Plain("deis_2m"));
ATELIER_REGISTER_SAMPLER("res_6s_ode", 49, Ode("res_6s"));
ATELIER_REGISTER_SAMPLER("res_5s_ode", 50, Ode("res_5s"));
ATELIER_REGISTER_SAMPLER("res_3s_ode", 51, Ode("res_3s"));
ATELIER_REGISTER_SAMPLER("res_2s_ode", 52, Ode("res_2s"));
ATELIER_REGISTER_SAMPLER("res_3m_ode", 53, Ode("res_3m"));
ATELIER_REGISTER_SAMPLER("res_2m_ode", 54, Ode("res_2m"));
ATELIER_REGISTER_SAMPLER("res_6s", 55, Plain("res_6s"));
ATELIER_REGISTER_SAMPLER("res_5s", 56, Plain("res_5s"));
ATELIER_REGISTER_SAMPLER("res_3s", 57, Plain("res_3s"));
ATELIER_REGISTER_SAMPLER("res_2s", 58, Plain("res_2s"));
ATELIER_REGISTER_SAMPLER("res_3m", 59, Plain("res_3m"));
ATELIER_REGISTER_SAMPLER("res_2m", 60, Plain("res_2m"));

}  // namespace

SamplerType RkSampler(const RkSettings& settings) { return MakeSampler(Rk{settings}); }

at::Tensor NormalizedNoise(at::IntArrayRef shape, at::Generator& generator, const at::Device& device) {
  at::Tensor z = at::randn(shape, generator, at::TensorOptions().dtype(at::kDouble).device(device));
  z = (z - z.mean()) / z.std();
  return (z - z.mean({-2, -1}, true)) / at::std(z, at::IntArrayRef{-2, -1}, true, true);
}

}  // namespace atelier::engine
