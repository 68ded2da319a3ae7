// SA-Solver: stochastic Adams predictor and corrector over lambda. Source: spec engine.md 5.5.
#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "worker/sampling/sampler.h"
#include "worker/sampling/samplers/makers.h"

namespace atelier::engine {
namespace {

// b with sum_k b_k u_k^p = e_p for p = 0..n-1, by elimination with row pivots.
std::vector<double> SolveMoments(const std::vector<double>& u, std::vector<double> e) {
  const size_t n = u.size();
  std::vector<std::vector<double>> rows(n, std::vector<double>(n, 1.0));
  for (size_t p = 1; p < n; ++p)
    for (size_t k = 0; k < n; ++k) rows[p][k] = rows[p - 1][k] * u[k];
  for (size_t col = 0; col < n; ++col) {
    size_t pivot = col;
    for (size_t row = col + 1; row < n; ++row)
      if (std::fabs(rows[row][col]) > std::fabs(rows[pivot][col])) pivot = row;
    std::swap(rows[col], rows[pivot]);
    std::swap(e[col], e[pivot]);
    for (size_t row = col + 1; row < n; ++row) {
      const double factor = rows[row][col] / rows[col][col];
      for (size_t k = col; k < n; ++k) rows[row][k] -= factor * rows[col][k];
      e[row] -= factor * e[col];
    }
  }
  for (size_t row = n; row-- > 0;) {
    for (size_t k = row + 1; k < n; ++k) e[row] -= rows[row][k] * e[k];
    e[row] /= rows[row][row];
  }
  return e;
}

// e_p = c integral over [from, to] of exp(c (u - to)) (u - to)^p du for p = 0..n-1. Moments about `to`, where the
// reference takes them about 0: the same weights, better conditioned.
std::vector<double> Moments(size_t n, double from, double to, double c) {
  const double h = to - from, decay = std::exp(-c * h);
  std::vector<double> e{-std::expm1(-c * h)};
  for (size_t p = 1; p < n; ++p) {
    const double power = static_cast<double>(p);
    e.push_back(-std::pow(-h, power) * decay - power / c * e.back());
  }
  return e;
}

struct SaSolver {
  SaSolverSettings settings;
  bool own_interval = false;  // the settings' interval instead of 20..80 % of the run's model

  struct Level {
    double sigma, lambda;
  };

  // Weights of the predictions at points[first..last] for a move between two levels.
  std::vector<double> Coefficients(const Level& from, const Level& to, const std::vector<double>& points, double tau,
                                   bool corrector) const {
    const double c = 1 + tau * tau, h = to.lambda - from.lambda, alpha = to.sigma * std::exp(to.lambda);
    std::vector<double> b;
    if (settings.simple_order_2 && points.size() == 2) {
      const double sum = -std::expm1(-c * h);
      const double slope = corrector ? 0.5 * c * h : 0.5 * c * h * h / (points[0] - from.lambda);
      b = corrector ? std::vector<double>{sum - slope, slope} : std::vector<double>{slope, sum - slope};
    } else {
      std::vector<double> shifted;
      for (const double point : points) shifted.push_back(point - to.lambda);
      b = SolveMoments(shifted, Moments(points.size(), from.lambda, to.lambda, c));
    }
    for (double& weight : b) weight *= alpha;
    return b;
  }

  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    run.OffsetFirstSigma();
    const double start = own_interval ? settings.sde_start : run.sampling.PercentToSigma(0.2);
    const double end = own_interval ? settings.sde_end : run.sampling.PercentToSigma(0.8);
    auto tau_at = [&](double sigma) { return sigma <= start && sigma >= end ? settings.eta : 0.0; };
    std::vector<Level> levels;
    for (const float sigma : run.sigmas) levels.push_back({sigma, sigma == 0 ? 0.0 : run.Lambda(sigma)});
    const bool ends_at_zero = run.sigmas.back() == 0;
    const auto steps = static_cast<int64_t>(run.steps());

    std::vector<at::Tensor> predictions;
    const auto kept = static_cast<size_t>(std::max(settings.predictor_order, settings.corrector_order));
    at::Tensor x = run.x, predicted = run.x, noise;  // x: the last corrected latent
    auto weighted = [&](const std::vector<double>& b) {
      at::Tensor sum;
      for (size_t k = 0; k < b.size(); ++k) {
        const at::Tensor part = predictions[predictions.size() - b.size() + k] * b[k];
        sum = sum.defined() ? sum + part : part;
      }
      return sum;
    };
    auto points = [&](int64_t i, int64_t order) {
      std::vector<double> lambdas;
      for (int64_t k = i - order + 1; k <= i; ++k) lambdas.push_back(levels[static_cast<size_t>(k)].lambda);
      return lambdas;
    };
    for (int64_t i = 0; i < steps; ++i) {
      const auto at = static_cast<size_t>(i);
      const Level &level = levels[at], &next = levels[at + 1];
      ASSIGN_OR_RETURN(at::Tensor denoised, run.Denoise(predicted, level.sigma));
      run.x = predicted;
      RETURN_IF_ERROR(run.Report(at, denoised));
      predictions.push_back(denoised);
      if (predictions.size() > kept) predictions.erase(predictions.begin());
      const auto known = static_cast<int64_t>(predictions.size());
      int64_t predictor = std::min(settings.predictor_order, known);
      int64_t corrector = i == 0 || (next.sigma == 0 && !settings.pece) ? 0 : std::min(settings.corrector_order, known);
      if (ends_at_zero) {
        predictor = std::min(predictor, steps - 1 - i);
        corrector = std::min(corrector, steps - i);
      }

      if (corrector == 0) {
        x = predicted;
      } else {
        const Level& from = levels[at - 1];
        const double tau = tau_at(level.sigma), h = level.lambda - from.lambda;
        const std::vector<double> b = Coefficients(from, level, points(i, corrector), tau, true);
        x = level.sigma / from.sigma * std::exp(-tau * tau * h) * x + weighted(b);
        if (noise.defined()) x = x + noise;
        if (settings.pece) {
          ASSIGN_OR_RETURN(denoised, run.Denoise(x, level.sigma));
          predictions.back() = denoised;
        }
      }

      if (next.sigma == 0) {
        x = predicted = denoised;
        continue;
      }
      const double tau = tau_at(next.sigma), h = next.lambda - level.lambda;
      const std::vector<double> b = Coefficients(level, next, points(i, predictor), tau, false);
      predicted = next.sigma / level.sigma * std::exp(-tau * tau * h) * x + weighted(b);
      noise = at::Tensor();
      if (tau > 0 && settings.s_noise > 0) {
        noise = run.Noise() * (next.sigma * std::sqrt(-std::expm1(-2 * tau * tau * h)) * settings.s_noise);
        predicted = predicted + noise;
      }
    }
    run.x = std::move(predicted);
    return run.x;
  }
};
ATELIER_REGISTER_SAMPLER("sa_solver", 37, SaSolver{});
ATELIER_REGISTER_SAMPLER("sa_solver_pece", 38, SaSolver{.settings = {.pece = true}});

}  // namespace

SamplerType SaSolverSampler(const SaSolverSettings& settings) {
  return MakeSampler(SaSolver{settings, /*own_interval=*/true});
}

}  // namespace atelier::engine
