// SIGMAS by formulas. Source: spec engine.md 4.12.
#include <cmath>

#include "worker/nodes/support.h"
#include "worker/sampling/model_sampling.h"
#include "worker/sampling/sample.h"
#include "worker/sampling/schedule.h"
#include "worker/sampling/schedules/beta.h"

namespace atelier::nodes {
namespace {

using engine::AppendZero;
using engine::Sigmas;

constexpr const char* kSchedulersCategory = "sampling/custom_sampling/schedulers";
constexpr double kSigmaMax = 14.614642, kSigmaMin = 0.0291675;

Status CheckSteps(int64_t steps) {
  if (steps < 1 || steps > 10000) return InvalidArgument("steps is ", steps, ", expected 1..10000");
  return OkStatus();
}
Status CheckPositive(const char* name, double value) {
  if (!(value > 0)) return InvalidArgument(name, " is ", value, ", expected more than 0");
  return OkStatus();
}

// How many levels between which.
struct LevelRange {
  int64_t steps = 20;
  double sigma_max = kSigmaMax, sigma_min = kSigmaMin;

  template <typename N>
  static void DescribeLevels(NodeSchema<N>& s) {
    s.template Input<&N::steps>("steps").Default(20).Range(1, 10000).Tooltip("How many steps.");
    s.template Input<&N::sigma_max>("sigma_max")
        .Default(kSigmaMax)
        .Range(0.0, 5000.0)
        .Step(0.01)
        .Tooltip("The first level.");
    s.template Input<&N::sigma_min>("sigma_min")
        .Default(kSigmaMin)
        .Range(0.0, 5000.0)
        .Step(0.01)
        .Tooltip("The last level above 0.");
  }
};

struct BasicScheduler {
  Model model;
  std::string scheduler;
  int64_t steps = 20;
  double denoise = 1.0;

  static void Describe(NodeSchema<BasicScheduler>& s) {
    s.Name("BasicScheduler").Category(kSchedulersCategory).Description("The noise levels that KSampler would use.");
    s.Input<&BasicScheduler::model>("model").Tooltip("The model to sample with.");
    s.Input<&BasicScheduler::scheduler>("scheduler")
        .OneOf(engine::ScheduleNames())
        .Tooltip("How the levels are spaced.");
    s.Input<&BasicScheduler::steps>("steps").Default(20).Range(1, 10000).Tooltip("How many steps.");
    s.Input<&BasicScheduler::denoise>("denoise").Default(1.0).Range(0.0, 1.0).Step(0.01).Tooltip(
        "Below 1: the last steps of a schedule that is longer by as much.");
    s.Output<Sigmas>("SIGMAS");
  }
  StatusOr<Sigmas> Run(NodeContext&) const {
    if (model.sampling == nullptr) return Internal("model without sampling");
    ASSIGN_OR_RETURN(at::Tensor sigmas, engine::RunSigmas(*model.sampling, {}, scheduler, steps, denoise));
    return Sigmas{std::move(sigmas)};
  }
};
ATELIER_REGISTER_NODE(BasicScheduler);

struct KarrasScheduler : LevelRange {
  double rho = 7.0;

  static void Describe(NodeSchema<KarrasScheduler>& s) {
    s.Name("KarrasScheduler").Category(kSchedulersCategory).Description("Levels evenly spaced in sigma^(1/rho).");
    DescribeLevels(s);
    s.Input<&KarrasScheduler::rho>("rho").Default(7.0).Range(0.0, 100.0).Step(0.01).Tooltip("Exponent of the spacing.");
    s.Output<Sigmas>("SIGMAS");
  }
  StatusOr<Sigmas> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSteps(steps));
    RETURN_IF_ERROR(CheckPositive("rho", rho));
    return Guard([&] {
      const double low = std::pow(sigma_min, 1 / rho), high = std::pow(sigma_max, 1 / rho);
      return Sigmas{AppendZero((high + at::linspace(0, 1, steps, at::kFloat) * (low - high)).pow(rho))};
    });
  }
};
ATELIER_REGISTER_NODE(KarrasScheduler);

struct ExponentialScheduler : LevelRange {
  static void Describe(NodeSchema<ExponentialScheduler>& s) {
    s.Name("ExponentialScheduler").Category(kSchedulersCategory).Description("Levels evenly spaced in log sigma.");
    DescribeLevels(s);
    s.Output<Sigmas>("SIGMAS");
  }
  StatusOr<Sigmas> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSteps(steps));
    RETURN_IF_ERROR(CheckPositive("sigma_max", sigma_max));
    RETURN_IF_ERROR(CheckPositive("sigma_min", sigma_min));
    return Guard([&] {
      return Sigmas{AppendZero(at::linspace(std::log(sigma_max), std::log(sigma_min), steps, at::kFloat).exp())};
    });
  }
};
ATELIER_REGISTER_NODE(ExponentialScheduler);

struct PolyexponentialScheduler : LevelRange {
  double rho = 1.0;

  static void Describe(NodeSchema<PolyexponentialScheduler>& s) {
    using N = PolyexponentialScheduler;
    s.Name("PolyexponentialScheduler")
        .Category(kSchedulersCategory)
        .Description("Levels whose log falls by a power of the step.");
    DescribeLevels(s);
    s.Input<&N::rho>("rho").Default(1.0).Range(0.0, 100.0).Step(0.01).Tooltip("Exponent of the spacing.");
    s.Output<Sigmas>("SIGMAS");
  }
  StatusOr<Sigmas> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSteps(steps));
    RETURN_IF_ERROR(CheckPositive("sigma_max", sigma_max));
    RETURN_IF_ERROR(CheckPositive("sigma_min", sigma_min));
    return Guard([&] {
      const double low = std::log(sigma_min), high = std::log(sigma_max);
      return Sigmas{AppendZero((at::linspace(1, 0, steps, at::kFloat).pow(rho) * (high - low) + low).exp())};
    });
  }
};
ATELIER_REGISTER_NODE(PolyexponentialScheduler);

struct LaplaceScheduler : LevelRange {
  double mu = 0.0, beta = 0.5;

  static void Describe(NodeSchema<LaplaceScheduler>& s) {
    s.Name("LaplaceScheduler")
        .Category(kSchedulersCategory)
        .Description("Levels at the quantiles of a Laplace distribution.");
    DescribeLevels(s);
    s.Input<&LaplaceScheduler::mu>("mu").Default(0.0).Range(-10.0, 10.0).Step(0.1).Tooltip("Log of the middle level.");
    s.Input<&LaplaceScheduler::beta>("beta").Default(0.5).Range(0.0, 10.0).Step(0.1).Tooltip("Spread.");
    s.Output<Sigmas>("SIGMAS");
  }
  StatusOr<Sigmas> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSteps(steps));
    return Guard([&] {
      constexpr double kEpsilon = 1e-5;
      const at::Tensor offset = 0.5 - at::linspace(0, 1, steps, at::kFloat);
      const at::Tensor log_sigma = mu - beta * offset.sign() * (1 - 2 * offset.abs() + kEpsilon).log();
      return Sigmas{log_sigma.exp().clamp(sigma_min, sigma_max)};
    });
  }
};
ATELIER_REGISTER_NODE(LaplaceScheduler);

struct VPScheduler {
  int64_t steps = 20;
  double beta_d = 19.9, beta_min = 0.1, eps_s = 0.001;

  static void Describe(NodeSchema<VPScheduler>& s) {
    s.Name("VPScheduler").Category(kSchedulersCategory).Description("Levels of a variance-preserving process.");
    s.Input<&VPScheduler::steps>("steps").Default(20).Range(1, 10000).Tooltip("How many steps.");
    s.Input<&VPScheduler::beta_d>("beta_d")
        .Default(19.9)
        .Range(0.0, 5000.0)
        .Step(0.01)
        .Tooltip("Growth of the process.");
    s.Input<&VPScheduler::beta_min>("beta_min")
        .Default(0.1)
        .Range(0.0, 5000.0)
        .Step(0.01)
        .Tooltip("Start of the process.");
    s.Input<&VPScheduler::eps_s>("eps_s").Default(0.001).Range(0.0, 1.0).Step(0.0001).Tooltip(
        "Time of the last level.");
    s.Output<Sigmas>("SIGMAS");
  }
  StatusOr<Sigmas> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSteps(steps));
    return Guard([&] {
      const at::Tensor t = at::linspace(1, eps_s, steps, at::kFloat);
      return Sigmas{AppendZero((beta_d * t.square() / 2 + beta_min * t).expm1().sqrt())};
    });
  }
};
ATELIER_REGISTER_NODE(VPScheduler);

struct SDTurboScheduler {
  Model model;
  int64_t steps = 1;
  double denoise = 1.0;

  static void Describe(NodeSchema<SDTurboScheduler>& s) {
    s.Name("SDTurboScheduler")
        .Category(kSchedulersCategory)
        .Description("Every hundredth timestep, for distilled models.");
    s.Input<&SDTurboScheduler::model>("model").Tooltip("The model to sample with.");
    s.Input<&SDTurboScheduler::steps>("steps").Default(1).Range(1, 10).Tooltip("How many steps.");
    s.Input<&SDTurboScheduler::denoise>("denoise").Default(1.0).Range(0.0, 1.0).Step(0.01).Tooltip(
        "Share of the steps that is kept, counted from the end.");
    s.Output<Sigmas>("SIGMAS");
  }
  StatusOr<Sigmas> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSteps(steps));
    if (model.sampling == nullptr) return Internal("model without sampling");
    return Guard([&] {
      const int64_t start = 10 - static_cast<int64_t>(10 * denoise);
      std::vector<double> timesteps;
      for (int64_t i = std::max<int64_t>(start, 0); i < std::min<int64_t>(start + steps, 10); ++i)
        timesteps.push_back(static_cast<double>(999 - 100 * i));
      return Sigmas{AppendZero(model.sampling->Sigma(at::tensor(timesteps, at::kFloat)))};
    });
  }
};
ATELIER_REGISTER_NODE(SDTurboScheduler);

struct BetaSamplingScheduler {
  Model model;
  int64_t steps = 20;
  double alpha = 0.6, beta = 0.6;

  static void Describe(NodeSchema<BetaSamplingScheduler>& s) {
    s.Name("BetaSamplingScheduler")
        .Category(kSchedulersCategory)
        .Description("Levels at the quantiles of a beta distribution.");
    s.Input<&BetaSamplingScheduler::model>("model").Tooltip("The model to sample with.");
    s.Input<&BetaSamplingScheduler::steps>("steps").Default(20).Range(1, 10000).Tooltip("How many steps.");
    s.Input<&BetaSamplingScheduler::alpha>("alpha").Default(0.6).Range(0.0, 50.0).Step(0.01).Tooltip(
        "First exponent of the distribution.");
    s.Input<&BetaSamplingScheduler::beta>("beta").Default(0.6).Range(0.0, 50.0).Step(0.01).Tooltip(
        "Second exponent of the distribution.");
    s.Output<Sigmas>("SIGMAS");
  }
  StatusOr<Sigmas> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSteps(steps));
    RETURN_IF_ERROR(CheckPositive("alpha", alpha));
    RETURN_IF_ERROR(CheckPositive("beta", beta));
    if (model.sampling == nullptr) return Internal("model without sampling");
    return Guard([&] { return Sigmas{engine::BetaSigmas(*model.sampling, steps, alpha, beta)}; });
  }
};
ATELIER_REGISTER_NODE(BetaSamplingScheduler);

}  // namespace
}  // namespace atelier::nodes
