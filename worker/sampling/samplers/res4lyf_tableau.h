// Runge-Kutta and multistep coefficients of the res_* and deis_* solvers. Source: spec res4lyf.md 6.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace atelier::engine {

/// phi_j(z) with phi_0 = exp and phi_j(z) = (phi_{j-1}(z) - 1/(j-1)!) / z; j in 1..3. Thread: any.
double Phi(int j, double z);

/// One explicit step: row r of `a` leads to the point at fraction c[r] of the step, `b` to its end. `history` slots are
/// filled by earlier steps' predictions, newest first after this step's own; then `a` is not used.
struct Tableau {
  std::vector<double> c;
  std::vector<std::vector<double>> a;
  std::vector<double> b;
  size_t history = 0;
};

/// A solver: whether it integrates in log sigma, and its coefficients for the step from sigmas[i] to sigmas[i+1] of
/// width h (log sigma's or sigma's).
struct RkMethod {
  bool exponential;
  Tableau (*tableau)(const std::vector<double>& sigmas, size_t i, double h);
};

/// Solvers by name: res_2s, res_3s, res_5s, res_6s, res_2m, res_3m, deis_2m, deis_3m, euler. Thread: any.
const std::map<std::string, RkMethod, std::less<>>& RkMethods();

}  // namespace atelier::engine
