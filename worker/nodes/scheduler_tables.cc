// SIGMAS by published tables, log-linear between their entries. Source: spec engine.md 4.12.
#include <cmath>
#include <map>

#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

using engine::Sigmas;
using Table = std::vector<double>;

// steps+1 levels of the table from its first to its last entry; with denoise only the last round(steps denoise) steps.
// The last level is 0.
Sigmas FromTable(const Table& table, int64_t steps, double denoise) {
  const auto intervals = static_cast<int64_t>(table.size()) - 1;
  std::vector<double> levels;
  for (int64_t i = 0; i <= steps; ++i) {
    const double at = static_cast<double>(i) * static_cast<double>(intervals) / static_cast<double>(steps);
    const int64_t low = std::min<int64_t>(static_cast<int64_t>(at), intervals - 1);
    const double share = at - static_cast<double>(low);
    const double from = std::log(table[static_cast<size_t>(low)]), to = std::log(table[static_cast<size_t>(low) + 1]);
    levels.push_back(std::exp(from + share * (to - from)));
  }
  const int64_t kept = denoise < 1 ? RoundHalfEven(static_cast<double>(steps) * denoise) : steps;
  levels.erase(levels.begin(), levels.end() - (kept + 1));
  levels.back() = 0;
  return {at::tensor(levels, at::kFloat)};
}

StatusOr<Sigmas> FromTables(const std::map<std::string, Table>& tables, const std::string& type, int64_t steps,
                            double denoise) {
  const auto table = tables.find(type);
  if (table == tables.end()) return InvalidArgument("model_type is \"", type, "\", which has no table");
  if (steps < 1 || steps > 10000) return InvalidArgument("steps is ", steps, ", expected 1..10000");
  return Guard([&] {
    if (!(denoise > 0)) return Sigmas{at::empty({0}, at::kFloat)};
    return FromTable(table->second, steps, denoise);
  });
}

// Align Your Steps (Sabour, Fidler, Kreis, 2024).
struct AlignYourStepsScheduler {
  std::string model_type;
  int64_t steps = 10;
  double denoise = 1.0;

  static void Describe(NodeSchema<AlignYourStepsScheduler>& s) {
    using N = AlignYourStepsScheduler;
    s.Name("AlignYourStepsScheduler")
        .Category("sampling/custom_sampling/schedulers")
        .Description("Levels fitted to a family of models for runs of few steps.");
    s.Input<&N::model_type>("model_type").OneOf({"SD1", "SDXL", "SVD"}).Tooltip("The family that the levels are for.");
    s.Input<&N::steps>("steps").Default(10).Range(1, 10000).Tooltip("How many steps.");
    s.Input<&N::denoise>("denoise").Default(1.0).Range(0.0, 1.0).Step(0.01).Tooltip(
        "Share of the steps that is kept, counted from the end.");
    s.Output<Sigmas>("SIGMAS");
  }
  StatusOr<Sigmas> Run(NodeContext&) const {
    static const std::map<std::string, Table> tables{
        {"SD1",
         {14.61464119, 6.474576, 3.86367464, 2.69461513, 1.88419211, 1.39438045, 0.96425837, 0.65236861, 0.39774564,
          0.15152326, 0.02916716}},
        {"SDXL",
         {14.61464119, 6.31844854, 3.76817894, 2.18114805, 1.34052444, 0.86207211, 0.55506933, 0.37985408, 0.23323642,
          0.11141882, 0.02916716}},
        {"SVD", {700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002}}};
    return FromTables(tables, model_type, steps, denoise);
  }
};
ATELIER_REGISTER_NODE(AlignYourStepsScheduler);

// Optimal Stepsize (Pei et al., 2025).
struct OptimalStepsScheduler {
  std::string model_type;
  int64_t steps = 20;
  double denoise = 1.0;

  static void Describe(NodeSchema<OptimalStepsScheduler>& s) {
    using N = OptimalStepsScheduler;
    s.Name("OptimalStepsScheduler")
        .Category("sampling/custom_sampling/schedulers")
        .Description("Levels fitted to a flow model for runs of few steps.");
    s.Input<&N::model_type>("model_type")
        .OneOf({"FLUX", "Wan", "Chroma"})
        .Tooltip("The family that the levels are for.");
    s.Input<&N::steps>("steps").Default(20).Range(3, 1000).Tooltip("How many steps.");
    s.Input<&N::denoise>("denoise").Default(1.0).Range(0.0, 1.0).Step(0.01).Tooltip(
        "Share of the steps that is kept, counted from the end.");
    s.Output<Sigmas>("SIGMAS");
  }
  StatusOr<Sigmas> Run(NodeContext&) const {
    static const std::map<std::string, Table> tables{
        {"FLUX", {0.9968, 0.9886, 0.9819, 0.975, 0.966, 0.9471, 0.9158, 0.8287, 0.5512, 0.2808, 0.001}},
        {"Wan", {1.0,   0.997, 0.995, 0.993, 0.991, 0.989, 0.987, 0.985, 0.98,  0.975, 0.973,
                 0.968, 0.96,  0.946, 0.927, 0.902, 0.864, 0.776, 0.539, 0.208, 0.001}},
        {"Chroma", {0.992, 0.988, 0.982, 0.973, 0.961, 0.943, 0.917, 0.881, 0.832, 0.769, 0.69,
                    0.599, 0.501, 0.402, 0.311, 0.232, 0.169, 0.12,  0.084, 0.058, 0.001}}};
    return FromTables(tables, model_type, steps, denoise);
  }
};
ATELIER_REGISTER_NODE(OptimalStepsScheduler);

}  // namespace
}  // namespace atelier::nodes
