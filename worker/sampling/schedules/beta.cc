// Levels at the quantiles of a Beta(0.6, 0.6) distribution (Lee et al., 2024). Source: spec engine.md 5.2.
#include "worker/sampling/schedules/beta.h"

#include <cmath>

namespace atelier::engine {
namespace {

// Continued fraction of the incomplete beta function (modified Lentz), for x < (a + 1) / (a + b + 2).
double BetaFraction(double a, double b, double x) {
  constexpr double kTiny = 1e-300;
  auto guard = [](double v) { return std::fabs(v) < kTiny ? kTiny : v; };
  double c = 1.0, d = 1.0 / guard(1.0 - (a + b) * x / (a + 1.0)), f = d;
  for (int m = 1; m < 1000; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1.0 / guard(1.0 + even * d);
    c = guard(1.0 + even / c);
    f *= c * d;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1.0 / guard(1.0 + odd * d);
    c = guard(1.0 + odd / c);
    f *= c * d;
    if (std::fabs(c * d - 1.0) < 1e-16) break;
  }
  return f;
}

// Regularised incomplete beta function I_x(a, b).
double BetaCdf(double a, double b, double x) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const double front =
      std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x));
  if (x < (a + 1) / (a + b + 2)) return front * BetaFraction(a, b, x) / a;
  return 1 - front * BetaFraction(b, a, 1 - x) / b;
}

at::Tensor Beta(const ModelSampling& sampling, int64_t steps) { return BetaSigmas(sampling, steps, 0.6, 0.6); }
ATELIER_REGISTER_SCHEDULE(Beta, "beta", 5);

}  // namespace

double BetaQuantile(double p, double a, double b) {
  if (p <= 0) return 0;
  if (p >= 1) return 1;
  if (a == b && p == 0.5) return 0.5;  // exact, since rounding to a table's index may meet a tie there
  double low = 0, high = 1;
  for (int i = 0; i < 200 && low < high; ++i) {
    const double middle = 0.5 * (low + high);
    if (middle <= low || middle >= high) break;
    (BetaCdf(a, b, middle) < p ? low : high) = middle;
  }
  return high;
}

at::Tensor BetaSigmas(const ModelSampling& sampling, int64_t steps, double alpha, double beta) {
  const at::Tensor& table = sampling.sigmas();
  const auto last = static_cast<double>(table.size(0) - 1);
  std::vector<int64_t> index;
  for (int64_t i = 0; i < steps; ++i) {
    const double p = 1.0 - static_cast<double>(i) * (1.0 / static_cast<double>(steps));
    const auto at = static_cast<int64_t>(std::nearbyint(BetaQuantile(p, alpha, beta) * last));
    if (index.empty() || index.back() != at) index.push_back(at);
  }
  return AppendZero(table.index_select(0, at::tensor(index, at::kLong)));
}

}  // namespace atelier::engine
