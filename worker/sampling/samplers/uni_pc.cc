// UniPC: multistep predictor-corrector in variance-preserving coordinates (bh1 and bh2). Source: spec engine.md 5.5.
#include <algorithm>
#include <cmath>
#include <vector>

#include "worker/sampling/sampler.h"

namespace atelier::engine {
namespace {

// x of Rx = b by Gaussian elimination with row pivots; at most 3 x 3.
std::vector<double> Solve(std::vector<std::vector<double>> r, std::vector<double> b) {
  const size_t n = b.size();
  for (size_t col = 0; col < n; ++col) {
    size_t pivot = col;
    for (size_t row = col + 1; row < n; ++row)
      if (std::fabs(r[row][col]) > std::fabs(r[pivot][col])) pivot = row;
    std::swap(r[col], r[pivot]);
    std::swap(b[col], b[pivot]);
    for (size_t row = col + 1; row < n; ++row) {
      const double factor = r[row][col] / r[col][col];
      for (size_t k = col; k < n; ++k) r[row][k] -= factor * r[col][k];
      b[row] -= factor * b[col];
    }
  }
  for (size_t row = n; row-- > 0;) {
    for (size_t k = row + 1; k < n; ++k) b[row] -= r[row][k] * b[k];
    b[row] /= r[row][row];
  }
  return b;
}

struct UniPc {
  bool bh2 = false;

  // A level of the schedule: alpha^2 + std^2 = 1, lambda = ln(alpha / std) = -ln sigma.
  struct Level {
    float sigma;
    double alpha, std, lambda;
    explicit Level(float s)
        : sigma(s),
          alpha(1 / std::sqrt(1 + static_cast<double>(s) * s)),
          std(s * alpha),
          lambda(-std::log(static_cast<double>(s))) {}
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
    const double h = to.lambda - from.lambda, hh = -h;
    std::vector<double> ratios;
    std::vector<at::Tensor> differences;
    for (size_t i = 1; i < order; ++i) {
      ratios.push_back((levels[step - 1 - i].lambda - from.lambda) / h);
      differences.push_back((predictions[predictions.size() - 1 - i] - m0) / ratios.back());
    }
    ratios.push_back(1.0);

    const double phi1 = std::expm1(hh), b_h = bh2 ? phi1 : hh;
    double phi = phi1 / hh - 1, factorial = 1;
    std::vector<std::vector<double>> r;
    std::vector<double> b;
    for (size_t i = 1; i <= order; ++i) {
      std::vector<double> row;
      for (const double ratio : ratios) row.push_back(std::pow(ratio, static_cast<double>(i - 1)));
      r.push_back(row);
      b.push_back(phi * factorial / b_h);
      factorial *= static_cast<double>(i + 1);
      phi = phi / hh - 1 / factorial;
    }

    const at::Tensor base = to.std / from.std * x - to.alpha * phi1 * m0;
    at::Tensor predicted = base;
    if (order == 2) {
      predicted = base - to.alpha * b_h * (0.5 * differences[0]);
    } else if (order == 3) {
      const std::vector<double> rho = Solve({{r[0][0], r[0][1]}, {r[1][0], r[1][1]}}, {b[0], b[1]});
      predicted = base - to.alpha * b_h * (rho[0] * differences[0] + rho[1] * differences[1]);
    }
    if (!correct) return predicted;

    ASSIGN_OR_RETURN(newest, Predict(run, predicted, to));
    const std::vector<double> rho = order == 1 ? std::vector<double>{0.5} : Solve(r, b);
    at::Tensor correction = rho.back() * (newest - m0);
    for (size_t i = 0; i < differences.size(); ++i) correction = correction + rho[i] * differences[i];
    return base - to.alpha * b_h * correction;
  }
};
ATELIER_REGISTER_SAMPLER("uni_pc", 40, UniPc{}, SamplerTraits{.discard_penultimate = true});
ATELIER_REGISTER_SAMPLER("uni_pc_bh2", 41, UniPc{.bh2 = true}, SamplerTraits{.discard_penultimate = true});

}  // namespace
}  // namespace atelier::engine
