// UniPC: multistep predictor-corrector in variance-preserving coordinates (bh1 and bh2). Source: spec engine.md 5.5.
#include <algorithm>
#include <cmath>
#include <vector>

#include "worker/sampling/sampler.h"

namespace atelier::engine {
namespace {

// All scalars are float32, as the reference has them: the weights are differences of nearly equal numbers, whose
// rounding shows in the result.

// x of Rx = b, a Vandermonde matrix of at most 3 rows.
std::vector<float> Solve(const std::vector<float>& ratios, const std::vector<float>& b) {
  const auto n = static_cast<int64_t>(b.size());
  const at::Tensor points = at::tensor(at::ArrayRef<float>(ratios.data(), b.size()));
  std::vector<at::Tensor> rows;
  for (int64_t i = 0; i < n; ++i) rows.push_back(at::pow(points, i));
  const at::Tensor x = at::linalg_solve(at::stack(rows), at::tensor(at::ArrayRef<float>(b))).contiguous();
  return {x.const_data_ptr<float>(), x.const_data_ptr<float>() + n};
}

struct UniPc {
  bool bh2 = false;

  // A level of the schedule: alpha^2 + std^2 = 1, lambda = ln(alpha / std) = -ln sigma, through the logarithm of alpha.
  struct Level {
    float sigma;
    float alpha, std, lambda;
    explicit Level(float s) : sigma(s) {
      const float log_alpha = 0.5f * std::log(1.0f / (s * s + 1.0f));
      const float variance = 1.0f - std::exp(2.0f * log_alpha);
      alpha = std::exp(log_alpha);
      std = std::sqrt(variance);
      lambda = log_alpha - 0.5f * std::log(variance);
    }
  };

  // The data prediction for a variance-preserving x.
  static StatusOr<at::Tensor> Predict(SampleRun& run, const at::Tensor& x, const Level& level) {
    const float scale = std::sqrt(level.sigma * level.sigma + 1.0f);
    const at::Tensor input = x * scale;
    ASSIGN_OR_RETURN(const at::Tensor denoised, run.Denoise(input, level.sigma));
    const at::Tensor eps = (input - denoised) / level.sigma;
    return (x - level.std * eps) / level.alpha;
  }

  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    if (run.sigmas.back() == 0) run.sigmas.back() = 0.001f;
    const size_t steps = run.steps();
    const size_t order = std::clamp<size_t>(steps - 1, 1, 3);
    std::vector<Level> levels;
    for (const float sigma : run.sigmas) levels.emplace_back(sigma);

    at::Tensor x = run.x / std::sqrt(1.0f + run.sigmas[0] * run.sigmas[0]);
    ASSIGN_OR_RETURN(at::Tensor first, Predict(run, x, levels[0]));
    std::vector<at::Tensor> predictions{first};  // of levels step-1, step-2, ... newest last
    for (size_t step = 1; step <= steps; ++step) {
      RETURN_IF_ERROR(run.Report(step - 1, predictions.back()));
      const size_t used = step < order ? step : std::min(order, steps + 1 - step);
      const bool correct = step < steps;
      at::Tensor newest;
      ASSIGN_OR_RETURN(x, Update(run, x, predictions, levels, step, used, correct, newest));
      if (correct) predictions.push_back(newest);
      if (predictions.size() > order) predictions.erase(predictions.begin());
    }
    run.x = x / levels.back().alpha;
    return run.x;
  }

  StatusOr<at::Tensor> Update(SampleRun& run, const at::Tensor& x, const std::vector<at::Tensor>& predictions,
                              const std::vector<Level>& levels, size_t step, size_t order, bool correct,
                              at::Tensor& newest) const {
    const Level &to = levels[step], &from = levels[step - 1];
    const at::Tensor& m0 = predictions.back();
    const float h = to.lambda - from.lambda, hh = -h;
    std::vector<float> ratios;
    std::vector<at::Tensor> differences;
    for (size_t i = 1; i < order; ++i) {
      ratios.push_back((levels[step - 1 - i].lambda - from.lambda) / h);
      differences.push_back((predictions[predictions.size() - 1 - i] - m0) / ratios.back());
    }
    ratios.push_back(1.0f);

    const float phi1 = std::expm1(hh), b_h = bh2 ? phi1 : hh;
    float phi = phi1 / hh - 1.0f, factorial = 1.0f;
    std::vector<float> b;
    for (size_t i = 1; i <= order; ++i) {
      b.push_back(phi * factorial / b_h);
      factorial *= static_cast<float>(i + 1);
      phi = phi / hh - 1.0f / factorial;
    }

    const at::Tensor base = x * (to.std / from.std) - m0 * (to.alpha * phi1);
    const auto weighted = [&](const std::vector<float>& rho) {
      at::Tensor sum = differences[0] * rho[0];
      for (size_t i = 1; i < differences.size(); ++i) sum = sum + differences[i] * rho[i];
      return sum;
    };
    at::Tensor predicted = base;
    if (order > 1) {
      const std::vector<float> rho =
          order == 2 ? std::vector<float>{0.5f} : Solve(ratios, std::vector<float>(b.begin(), b.end() - 1));
      predicted = base - weighted(rho) * (to.alpha * b_h);
    }
    if (!correct) return predicted;

    ASSIGN_OR_RETURN(newest, Predict(run, predicted, to));
    const std::vector<float> rho = order == 1 ? std::vector<float>{0.5f} : Solve(ratios, b);
    at::Tensor correction = (newest - m0) * rho.back();
    if (order > 1) correction = weighted(rho) + correction;
    return base - correction * (to.alpha * b_h);
  }
};
ATELIER_REGISTER_SAMPLER("uni_pc", 40, UniPc{}, SamplerTraits{.discard_penultimate = true});
ATELIER_REGISTER_SAMPLER("uni_pc_bh2", 41, UniPc{.bh2 = true}, SamplerTraits{.discard_penultimate = true});

}  // namespace
}  // namespace atelier::engine
