// DEIS ("tab" form): slopes extrapolated by a polynomial in the time of a variance-preserving process. Source: spec
// engine.md 5.5.
#include <algorithm>
#include <cmath>
#include <deque>
#include <vector>

#include "worker/sampling/sampler.h"

namespace atelier::engine {
namespace {

// The process whose time stands for a noise level.
class Process {
 public:
  Process() {
    constexpr double kEps = 1e-3, kSigmaMin = 0.002, kSigmaMax = 80;
    const double low = std::log(kSigmaMin * kSigmaMin + 1), high = std::log(kSigmaMax * kSigmaMax + 1);
    slope_ = 2 * (low / kEps - high) / (kEps - 1);
    beta0_ = high - 0.5 * slope_;
  }
  double Time(double sigma) const {
    return (std::sqrt(beta0_ * beta0_ + 2 * slope_ * std::log(sigma * sigma + 1)) - beta0_) / slope_;
  }
  // d sigma / d time.
  double Rate(double t) const {
    const double alpha = std::exp(-0.5 * t * t * slope_ - t * beta0_);
    return 0.5 * (t * slope_ + beta0_) / std::sqrt(alpha * (1 - alpha));
  }

 private:
  double slope_, beta0_;
};

// Weights of the newest, the one before, ... of times.size() - 1 slopes for a move from times[0] to `to`; times[j] is
// where slope j was taken.
std::vector<double> Weights(const Process& process, const std::vector<double>& times, double to) {
  constexpr int kPoints = 10000;
  std::vector<double> weights(times.size(), 0.0);
  const double step = (to - times[0]) / (kPoints - 1);
  for (int i = 0; i < kPoints; ++i) {
    const double t = times[0] + step * i, rate = process.Rate(t);
    for (size_t j = 0; j < times.size(); ++j) {
      double lagrange = 1;
      for (size_t k = 0; k < times.size(); ++k)
        if (k != j) lagrange *= (t - times[k]) / (times[j] - times[k]);
      weights[j] += rate * lagrange;
    }
  }
  for (double& w : weights) w *= (to - times[0]) / kPoints;
  return weights;
}

struct Deis {
  size_t order = 3;

  StatusOr<at::Tensor> Sample(SampleRun& run) const {
    const Process process;
    std::deque<at::Tensor> slopes;  // newest first
    std::vector<double> times;
    for (size_t i = 0; i < run.steps(); ++i) {
      const float sigma = run.sigmas[i], next = run.sigmas[i + 1];
      ASSIGN_OR_RETURN(const at::Tensor denoised, run.DenoiseStep(i));
      slopes.push_front(Slope(run.x, sigma, denoised));
      times.insert(times.begin(), process.Time(sigma));
      if (slopes.size() > order) {
        slopes.pop_back();
        times.pop_back();
      }
      if (slopes.size() == 1 || next <= 0) {
        run.x = run.x + (next - sigma) * slopes[0];
        continue;
      }
      const std::vector<double> weights = Weights(process, times, process.Time(next));
      for (size_t j = 0; j < weights.size(); ++j) run.x = run.x + weights[j] * slopes[j];
    }
    return run.x;
  }
};
ATELIER_REGISTER_SAMPLER("deis", 27, Deis{});

}  // namespace
}  // namespace atelier::engine
