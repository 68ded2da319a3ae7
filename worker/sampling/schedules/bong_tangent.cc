// Two arc tangent slopes from 1 over 0.5 to 0, whatever the model's own levels are. Source: spec res4lyf.md 2.1.
#include <cmath>

#include "worker/sampling/schedule.h"

namespace atelier::engine {
namespace {

// `count` values from `from` to `to`, steepest at `pivot`.
std::vector<double> Segment(int64_t count, int64_t pivot, double slope, double from, double to) {
  auto f = [&](int64_t t) { return (2 / M_PI * std::atan(-slope * static_cast<double>(t - pivot)) + 1) / 2; };
  const double high = f(0), low = f(count - 1), scale = 1 / (high - low);
  std::vector<double> values;
  for (int64_t t = 0; t < count; ++t) values.push_back((f(t) - low) * scale * (from - to) + to);
  return values;
}

StatusOr<at::Tensor> BongTangent(const ModelSampling&, int64_t steps) {
  if (steps < 2) return InvalidArgument("the scheduler bong_tangent got ", steps, " step, it needs 2 or more");
  const int64_t points = steps + 2;
  const auto n = static_cast<double>(points);
  const auto pivot = static_cast<int64_t>(n * 0.6), middle = static_cast<int64_t>((n * 0.6 + n * 0.6) / 2);
  const double slope = 0.2 / (n / 40);
  std::vector<double> sigmas = Segment(middle, pivot, slope, 1.0, 0.5);
  sigmas.pop_back();
  for (const double sigma : Segment(points - middle, pivot - middle, slope, 0.5, 0.0)) sigmas.push_back(sigma);
  return at::tensor(sigmas, at::kDouble).to(at::kFloat);
}
ATELIER_REGISTER_SCHEDULE(BongTangent, "bong_tangent", 9);

}  // namespace
}  // namespace atelier::engine
